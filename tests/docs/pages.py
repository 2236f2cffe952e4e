"""The pages of the documentation, for the tests that hold them."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
_FENCE = re.compile(r"^```(?P<language>[\w]*)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def names() -> list[str]:
    """Paths of the pages from the root of the project, as ids of tests."""
    return [page.relative_to(ROOT).as_posix() for page in PAGES]


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """The fenced blocks of a page in any of `languages`."""
    for match in _FENCE.finditer(page.read_text(encoding="utf-8")):
        if match["language"] in languages:
            yield match["text"]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def make_reference() -> ModuleType:
    """The script that writes the tables."""
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
