"""Links between pages lead somewhere: files exist, anchors are headings. Links to other sites are not followed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.pages import PAGES, ROOT, names, prose

_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_TEST = re.compile(r"`(?P<file>tests/[\w/]+\.py)(?:::(?P<name>\w+))?`")
_PATH = re.compile(r"`(?P<path>(?:src|docs|tests|benchmarks)/[\w./-]*\w)`")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: dict[str, int] = {}
    result = set()
    for heading in re.findall(r"^#+ +(.+?) *$", prose(page), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        count = found.get(slug, 0)
        found[slug] = count + 1
        result.add(slug if not count else f"{slug}-{count}")
    return result


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    wrong = []
    for match in _LINK.finditer(prose(page)):
        target = match["target"]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and (file.suffix != ".md" or anchor not in anchors(file))):
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("name", names())
def test_links_lead_somewhere(name: str) -> None:
    assert broken(PAGES[names().index(name)]) == []


@pytest.mark.parametrize("name", names())
def test_tests_that_a_page_names_exist(name: str) -> None:
    for match in _TEST.finditer(prose(PAGES[names().index(name)])):
        file = ROOT / match["file"]
        assert file.is_file(), match[0]
        defined = re.search(rf"^ *def {match['name']}\(", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert match["name"] is None or defined, match[0]


@pytest.mark.parametrize("name", names())
def test_paths_that_a_page_names_exist(name: str) -> None:
    missing = [match["path"] for match in _PATH.finditer(prose(PAGES[names().index(name)]))]
    assert [path for path in missing if not (ROOT / path).exists()] == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for match in _LINK.finditer(prose(page)):
            file = (page.parent / match["target"].partition("#")[0]).resolve()
            if file in PAGES:
                waiting.append(file)
    assert set(PAGES) - reached == set()


def test_a_broken_link_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `a.b`\n[a](#one-ab) [b](#two) [c](none.md) [d](https://example.org) [e](page.md#one-ab)\n")
    assert broken(page) == ["#two", "none.md"]
