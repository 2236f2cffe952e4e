"""The files of a report: complete, half-way, hostile, multi label, and equal when made twice."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from report.sweeps import FakeGroup, write_sweep
from tunelet.report import build_report
from tunelet.report.page import ReportFiles, escape_markdown

CSVS = ["groups", "runs", "curves", "memory", "pareto", "confusion", "comparisons", "per_class", "calibration"]
HOSTILE = "<script>alert(1)</script> | <img src=x onerror=alert(2)> `x` [a](javascript:b) {{ 7*7 }} $\\alpha$"


@pytest.fixture(scope="module")
def report(small_sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> ReportFiles:
    return build_report(shutil.copytree(small_sweep, tmp_path_factory.mktemp("page") / "sweep"))


def _table(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.open(newline="")))


class _Page(HTMLParser):
    """Ids, heading levels, scripts, outside links, and whether every tag is closed."""

    VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.headings: list[int] = []
        self.scripts = 0
        self.fetched: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        self.scripts += tag == "script"
        self.ids += [values["id"] or ""] if "id" in values else []
        self.handlers += [name for name in values if name.startswith("on")]
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        self.fetched += [values[name] or "" for name in ("src", "srcset") if name in values]
        self.fetched += [values["href"] or ""] if tag in {"link", "image", "use"} and "href" in values else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"


def test_writes_page_markdown_and_all_csvs(report: ReportFiles) -> None:
    assert [file.stem for file in report.csv] == CSVS
    assert all(file.stat().st_size for file in (report.html, report.md, *report.csv))
    assert report.html.parent == report.md.parent == report.csv[0].parent.parent


def test_page_is_well_formed_and_fetches_nothing(report: ReportFiles) -> None:
    page = _Page(report.html.read_text())
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert page.scripts == 0 and page.handlers == []
    assert [link for link in page.fetched if not link.startswith(("#", "data:"))] == []
    assert "url(http" not in report.html.read_text() and "@import" not in report.html.read_text()
    assert page.headings[0] == 1 and page.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(page.headings, page.headings[1:], strict=False))


def test_headline_stands_first_with_the_paper_beside_it(report: ReportFiles) -> None:
    text = report.html.read_text()
    groups = {row["group"]: row for row in _table(report.csv[0])}
    ours = f"{100 * float(groups['lora-qkv-r8']['test_accuracy']):.2f}"
    body = text[text.index("<main") :]
    assert body.index(ours) < body.index("93.00") < body.index("Settings compared")
    assert "times fewer trained parameters" in body[: body.index("Settings compared")]


def test_every_svg_has_a_title_and_no_marker_colour_is_left(report: ReportFiles) -> None:
    text = report.html.read_text()
    plots = re.findall(r'<svg class="(?:flat|halo)[^>]*role="img".*?</svg>', text, flags=re.S)
    assert len(plots) == 7
    assert all("<title id=" in plot and "<desc id=" in plot for plot in plots)
    assert re.findall(r"#01[0-9a-f]{4}", "".join(plots)) == []
    assert all("var(--ink)" in plot for plot in plots)


def test_markdown_holds_the_same_numbers(report: ReportFiles) -> None:
    text = report.md.read_text()
    for row in _table(report.csv[0]):
        assert f"| {100 * float(row['test_accuracy']):.2f} ± " in text
    assert "published: Gjer 2023, Table 5 | 0.3259 | 93.00" in text
    widths = [line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("|")]
    blocks = re.split(r"\n(?!\|)", text)
    for block in blocks:
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.replace("\\|", "").count("|") for line in lines}) <= 1
    assert len(widths) > 40


def test_csv_numbers_are_those_of_result_json(report: ReportFiles) -> None:
    result = json.loads((report.html.parent / "result.json").read_text())
    runs = {row["run"]: row for row in _table(report.csv[1])}
    assert len(runs) == len(result["runs"])
    for run in result["runs"]:
        row = runs[run["name"]]
        assert float(row["test_accuracy"]) == run["metrics"]["test"]["accuracy"]
        assert float(row["tokens_per_second"]) == run["resources"]["tokens_per_second"]
    pareto = _table(report.csv[4])
    assert {row["group"] for row in pareto if row["on_front"] == "True"} == {"lora-qv-r2", "lora-qkv-r8"}
    memory = {row["group"]: row for row in _table(report.csv[3])}
    assert float(memory["full"]["optimizer"]) == 8 * 22_700_000
    confusion = [float(row["mean_count"]) for row in _table(report.csv[5]) if row["group"] == "full"]
    assert sum(confusion) == pytest.approx(300)
    assert {row["what"] for row in _table(report.csv[2])} == {
        "train_loss",
        "validation_accuracy",
        "validation_loss",
    }


def test_same_files_give_the_same_bytes(report: ReportFiles) -> None:
    before = {file: file.read_bytes() for file in (report.html, report.md, *report.csv)}
    build_report(report.html.parent)
    assert {file: file.read_bytes() for file in before} == before


def test_half_way_says_what_is_missing(tmp_path: Path) -> None:
    groups = [FakeGroup("full", "full", "", 8, 0.9, 9_000), FakeGroup("lora-qv", "lora", "qv", 8, 0.8, 900)]
    skip = ("lora-qv-seed1", "lora-qv-seed2", "full-seed2")
    write_sweep(tmp_path, groups, seeds=(1, 2), n=60, skip=skip)
    begun = tmp_path / "runs/full-seed2-aaaaaaaaaa"
    begun.mkdir()
    (begun / "metrics.jsonl").write_text('{"step": 700, "train_loss": 0.4}\n{"step": 750, "tr')
    files = build_report(tmp_path)
    for text in (files.html.read_text(), files.md.read_text()):
        assert "1 of 4 runs have finished" in text
        assert "full-seed2 (in progress, step 700)" in text
        assert all(name in text for name in ("lora-qv-seed1", "lora-qv-seed2"))
    assert "1 of 2" in files.html.read_text()  # seeds of the group


def test_many_that_are_missing_are_folded_away(tmp_path: Path) -> None:
    groups = [FakeGroup("full", "full", "", 8, 0.9, 9_000), FakeGroup("lora-qv", "lora", "qv", 8, 0.8, 900)]
    seeds = tuple(range(1, 16))
    write_sweep(tmp_path, groups, seeds=seeds, n=20, skip=tuple(f"lora-qv-seed{seed}" for seed in seeds))
    files = build_report(tmp_path)
    page = files.html.read_text()
    folded = page[page.index("<summary>15 runs</summary>") : page.index("</details>")]
    assert all(f"<li>lora-qv-seed{seed}</li>" in folded for seed in seeds)
    line = next(line for line in files.md.read_text().splitlines() if "Still missing" in line)
    assert line.count("lora-qv-seed") == 12 and line.endswith(", and 3 more.")


def test_no_run_yet_is_still_a_report(tmp_path: Path) -> None:
    groups = [FakeGroup("full", "full", "", 8, 0.9, 9_000)]
    write_sweep(tmp_path, groups, seeds=(1,), n=30, skip=("full-seed1",))
    files = build_report(tmp_path)
    assert "No run has finished yet" in files.html.read_text()
    assert "No run has finished yet" in files.md.read_text()
    assert _Page(files.html.read_text()).open == []


def test_hostile_text_is_shown_not_run(tmp_path: Path) -> None:
    groups = [FakeGroup("full <b>", "full", "", 8, 0.5, 9_000), FakeGroup("$x_1$", "lora", "qv", 8, 0.4, 900)]
    labels = ("joy", "<i>fear</i> & $y$")
    texts = [f"{HOSTILE} {row}" for row in range(40)]
    write_sweep(tmp_path, groups, seeds=(1,), n=40, labels=labels, texts=texts, finding=HOSTILE)
    files = build_report(tmp_path)
    page = _Page(files.html.read_text())
    assert page.open == [] and page.scripts == 0 and page.handlers == []
    assert "&lt;script&gt;alert(1)" in files.html.read_text()
    assert "{{ 7*7 }}" in files.html.read_text()
    markdown = files.md.read_text()
    assert "<script" not in markdown and "<img" not in markdown and "&lt;script&gt;" in markdown
    assert "\\[a\\](javascript:b)" in markdown


def test_markdown_escape_survives_a_table_cell() -> None:
    escaped = escape_markdown("a | b\n<b> & `c` \\ *d*")
    assert escaped == "a \\| b &lt;b&gt; &amp; \\`c\\` \\\\ \\*d\\*"


def test_multi_label_works(tmp_path: Path) -> None:
    groups = [FakeGroup("full", "full", "", 8, 0.9, 9_000), FakeGroup("lora-qv", "lora", "qv", 8, 0.7, 900)]
    labels = ("calm", "tired", "hungry")
    write_sweep(tmp_path, groups, seeds=(1, 2), n=80, labels=labels, task="states", multi_label=True)
    files = build_report(tmp_path)
    text = files.html.read_text()
    assert "3 labels, several each" in text
    assert "Confusion matrix" not in text and "Calibration" in text
    assert "Gjer 2023, Table" not in text  # the paper knows nothing of this task
    assert _table(files.csv[5]) == []
    classes = [row for row in _table(files.csv[7]) if row["run"] == "full-seed1"]
    rows = [json.loads(line) for line in (tmp_path / "runs/full-seed1-0123456789/predictions/test.jsonl").open()]
    for row in classes:
        assert int(row["support"]) == sum(row["class"] in r["labels"] for r in rows)
        assert int(row["correct"]) == sum(row["class"] in r["labels"] and row["class"] in r["predicted"] for r in rows)
    comparison = _table(files.csv[6])[0]
    assert "macro_f1_difference" not in comparison and float(comparison["accuracy_difference"]) > 0


def test_other_data_are_not_set_against_the_papers_score(tmp_path: Path) -> None:
    groups = [FakeGroup("full", "full", "", 8, 0.9, 9_000)]
    write_sweep(tmp_path, groups, seeds=(1,), n=120, splits={"train": 480, "validation": 120, "test": 120})
    text = build_report(tmp_path).html.read_text()
    assert "The data are not the paper" in text
    assert '<div class="theirs">' not in text


def test_report_needs_no_torch() -> None:
    """The report reads files: it must start fast, and on a machine without a training stack."""
    code = "import sys, tunelet.report.page; print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
