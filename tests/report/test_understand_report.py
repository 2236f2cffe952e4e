"""The report of `understand` from results made by hand: finished, half-way, without k = 0, without speech, damaged."""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from report.understandings import MODELS, Model, sweep, write
from tunelet.base.errors import InputError
from tunelet.report.content import Report, Section
from tunelet.report.page import build_report
from tunelet.report.result_schema import model_of
from tunelet.report.tables import Table
from tunelet.report.understand import make


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished sweep with everything."""
    place = tmp_path_factory.mktemp("understand")
    runs = sweep(place, tasks=("mood", "acts"), ks=(0, 2), n=24, queries=("text", "speech"), more=True)
    return write(place, runs)


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    return make(folder)


def section(report: Report, anchor: str) -> Section:
    return next(one for one in report.sections if one.anchor == anchor)


def records(report: Report, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(report.csv[name])))


def column(table: Table, label: str) -> list[str]:
    place = [one.label.replace("\u00a0", " ") for one in table.columns].index(label)
    return [row.cells[place] for row in table.rows]


def test_the_table_is_that_of_the_paper(report: Report) -> None:
    spoken, text, heard = section(report, "table").tables
    assert [one.label.replace("\u00a0", " ") for one in text.columns] == [
        "tuned on, labels", "mood, k 0", "mood, k 2", "acts, k 0", "acts, k 2"
    ]  # fmt: skip
    names = [row.cells[0] for row in text.rows]
    assert names == [
        "untuned", "kNN on embeddings", "nearest definition", "mood, regular", "mood, symbol", "mood, random",
        "acts, regular", "acts, symbol", "acts, random",
    ]  # fmt: skip
    assert "kNN on embeddings" not in [row.cells[0] for row in spoken.rows] and len(heard.rows) == 9
    mood = dict(zip(names, column(text, "mood, k 0"), strict=True))
    assert mood["kNN on embeddings"] == "–" and mood["mood, random"].endswith(" •") and " ± " in mood["untuned"]
    assert not mood["acts, random"].endswith("•") and "±" not in mood["nearest definition"]


def test_numbers_of_the_table_are_means_of_the_cells(report: Report) -> None:
    cells = [row for row in records(report, "cells") if row["main"] == "True" and row["cascade"] == "False"]
    own = [
        float(row["value"])
        for row in cells
        if (row["source"], row["group"], row["task"], row["k"], row["query"]) == ("mood", "random", "acts", "2", "text")
    ]
    shown = column(section(report, "table").tables[1], "acts, k 2")[5]
    assert len(own) == 2 and shown.startswith(f"{50 * sum(own):.1f} ± ")
    assert shown == f"{50 * sum(own):.1f} ± {100 * abs(own[0] - own[1]) / 2**0.5:.1f}"


def test_every_part_has_its_place(report: Report) -> None:
    anchors = [one.anchor for one in report.sections]
    assert anchors == [
        "held", "table", "differences", "curves-speech", "curves-text", "curves-cascade", "classes", "modality",
        "asked", "answers", "maps", "cost", "paper", "data", "provenance",
    ]  # fmt: skip
    assert len(section(report, "curves-text").figures) == 2  # a panel for each task
    assert [table.caption for table in section(report, "modality").tables] == [
        "Text minus speech", "Heard by a recogniser minus speech", "Text minus what a recogniser heard"
    ]  # fmt: skip
    captions = [table.caption for table in (*section(report, "asked").tables, *section(report, "answers").tables)]
    for told in ("Demonstrations: retrieved minus random, points", "Answers: calibrated minus constrained, points",
                 "Order of the demonstrations: nearest-last minus shuffled, points", "Answers that mean nothing",
                 "Factor on the adapter while asking: 0.5 minus 1.0, points",
                 "Order of the demonstrations: how far scores lie apart"):  # fmt: skip
        assert told in captions
    assert report.headline is not None and report.headline.group == "random minus regular labels"
    assert report.headline.paper == "+9.6" and len(section(report, "held").figures) == 2


def test_calibrated_answers_stand_apart(report: Report, folder: Path) -> None:
    runs = json.loads((folder / "result.json").read_text(encoding="utf-8"))["runs"]
    for run in runs:
        run["cells"] = [one for one in run["cells"] if one["answers"] != "calibrated"]
    result = json.loads((folder / "result.json").read_text(encoding="utf-8")) | {"runs": runs}
    (folder / "without").mkdir()
    shutil.copytree(folder / "runs", folder / "without" / "runs")
    (folder / "without" / "result.json").write_text(json.dumps(result), encoding="utf-8")
    other = make(folder / "without")
    for anchor in ("table", "asked", "modality", "classes"):
        assert section(other, anchor).tables == section(report, anchor).tables


def test_permuting_runs_and_cells_changes_nothing(tmp_path: Path) -> None:
    runs = sweep(tmp_path, tasks=("mood", "acts"), seeds=(1,), ks=(0, 1), n=12)
    before = build_report(write(tmp_path, runs))
    files = (before.html, before.md, *before.csv)
    kept = [file.read_bytes() for file in files]
    planned = [run["name"] for run in runs]
    shuffle = random.Random(3)
    shuffle.shuffle(runs)
    for run in runs:
        shuffle.shuffle(run["cells"])
    build_report(write(tmp_path, runs, planned=planned))
    assert [file.read_bytes() for file in files] == kept


def half(tmp_path: Path, **how: Any) -> Report:
    planned = [f"{way}-seed{seed}" for way in ("none", "random-mood") for seed in (1, 2)]
    report = make(write(tmp_path, sweep(None, **how), planned=planned, finished=False))
    build_report(tmp_path)
    return report


def test_without_a_run_there_is_a_page_all_the_same(tmp_path: Path) -> None:
    report = half(tmp_path, models=())
    assert report.headline is None and len(report.missing) == 4
    assert [one.anchor for one in report.sections] == ["paper", "data", "provenance"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "No run has finished yet" in page and "toy/mood &lt;b&gt;" in page


def test_half_way_it_speaks_of_what_there_is(tmp_path: Path) -> None:
    report = half(tmp_path, models=MODELS[:1], tasks=("mood", "acts"), seeds=(1,), ks=(1,), n=12)
    assert (report.done, report.planned) == (1, 4) and report.missing[0] == "none-seed2"
    assert report.headline is not None and "cannot be compared yet" in report.headline.chosen_by
    assert report.headline.paper == "" and report.headline.group == "none"
    anchors = [one.anchor for one in report.sections]
    assert "held" not in anchors and "differences" not in anchors and "maps" not in anchors
    assert section(report, "answers").tables == () and "curves-text" in anchors


def test_a_tuned_model_alone_on_its_own_task_has_no_curve(tmp_path: Path) -> None:
    report = half(
        tmp_path, models=(Model("random", 0.5),), sources=("mood",), tasks=("mood",), seeds=(1,), ks=(0,), n=9
    )
    assert "curves-text" not in [one.anchor for one in report.sections]
    assert report.headline is not None and report.headline.group == "random"


def test_a_missing_k_leaves_a_gap(tmp_path: Path) -> None:
    runs = sweep(None, models=MODELS[:2], sources=("mood",), tasks=("acts",), seeds=(1,), ks=(0, 1), n=12)
    runs[1]["cells"] = runs[1]["cells"][:1]
    report = make(write(tmp_path, runs))
    assert column(section(report, "table").tables[0], "acts, k 1")[1] == "–"
    rows = records(report, "comparisons")
    assert [(row["first"], row["second"], row["cells"]) for row in rows] == [
        ("regular", "none", "1"), ("none, k above 0", "none, k = 0", "1")
    ]  # fmt: skip
    assert {row["verdict"] for row in rows} == {"undecided"}


def test_further_blocks_of_a_regime_have_rows_of_their_own(tmp_path: Path) -> None:
    models = (Model("regular", 0.5), Model("random", 0.6, label="random-pool4"), Model("random", 0.6))
    report = make(
        write(tmp_path, sweep(None, models=models, sources=("mood",), tasks=("acts",), seeds=(1,), ks=(0,), n=9))
    )
    names = [row.cells[0] for row in section(report, "table").tables[0].rows]
    assert names == ["mood, regular", "mood, random", "mood, random-pool4"]
    assert {(row["first"], row["second"]) for row in records(report, "comparisons")} >= {("random-pool4", "regular")}
    assert not any("random-pool4" in told for told in section(report, "held").text)


def test_what_is_wrong_in_a_result_is_named(tmp_path: Path) -> None:
    runs = sweep(None, models=MODELS[:1], tasks=("mood",), seeds=(1,), ks=(0, 1), n=9)
    runs[0]["cells"][1] |= {"regime": "shouted", "k": -1, "macro_f1": 1.5}
    del runs[0]["cells"][0]["n"]
    with pytest.raises(InputError) as told:
        make(write(tmp_path, runs))
    for field in ("cells[1].regime", "cells[1].k", "cells[1].macro_f1", "cells[0].n"):
        assert f"runs[0].{field}" in str(told.value)
    assert model_of("understand").__name__ == "UnderstandResult"


def test_findings_of_the_audit_are_told(tmp_path: Path) -> None:
    finding = {"severity": "note", "message": "mood: 2 texts of test stand in train, too"}
    (tmp_path / "audit.json").write_text(json.dumps({"findings": [finding]}), encoding="utf-8")
    report = make(write(tmp_path, sweep(None, models=MODELS[:1], tasks=("mood",), seeds=(1,), ks=(0,), n=9)))
    assert section(report, "data").findings == (("note", finding["message"]),)
