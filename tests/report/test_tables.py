"""Values in tables, examples and comparisons, against direct computation from the prediction files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from report.sweeps import EMOTIONS, FakeGroup, write_sweep
from tunelet.report import formats, paper_tables, tables
from tunelet.report.classes import confusion, mean_confusion, pooled_calibration
from tunelet.report.compare import compare_groups
from tunelet.report.examples import confident_errors, per_class_examples
from tunelet.report.groups import Group, best_group, group_runs, ranked
from tunelet.report.results import Predictions, Sweep, read_sweep


@pytest.fixture(scope="module")
def sweep(small_sweep: Path) -> Sweep:
    return read_sweep(small_sweep)


@pytest.fixture(scope="module")
def groups(sweep: Sweep) -> tuple[Group, ...]:
    return ranked(group_runs(sweep), sweep)


def _rows(sweep: Sweep, group: str) -> list[list[dict[str, Any]]]:
    """The prediction rows of each seed, straight from disk."""
    files = sorted((sweep.folder / "runs").glob(f"{group}-seed*/predictions/test.jsonl"))
    return [[json.loads(line) for line in file.open()] for file in files]


def test_groups_table_agrees_with_the_rows(sweep: Sweep, groups: tuple[Group, ...]) -> None:
    best = best_group(groups, sweep)
    assert best is not None
    table = tables.groups_table(groups, best)
    names = [column.label for column in table.columns]
    assert [row.kind for row in table.rows] == ["best", "", ""]
    for row in table.rows:
        seeds = [([r["label"] for r in rows], [r["predicted"] for r in rows]) for rows in _rows(sweep, row.cells[0])]
        accuracy = np.mean([metrics.accuracy_score(*pair) for pair in seeds])
        macro = np.mean([metrics.f1_score(*pair, average="macro") for pair in seeds])
        assert row.cells[names.index("test accuracy %")].split(" ± ")[0] == f"{100 * accuracy:.2f}"
        assert row.cells[names.index("macro F1 %")].split(" ± ")[0] == f"{100 * macro:.2f}"
        assert row.cells[names.index("seeds")] == "3"


def test_per_class_table_agrees_with_sklearn(sweep: Sweep, groups: tuple[Group, ...]) -> None:
    table = tables.per_class_table(groups[0], EMOTIONS)
    scores = [
        metrics.precision_recall_fscore_support(
            [r["label"] for r in rows], [r["predicted"] for r in rows], labels=EMOTIONS, zero_division=0
        )
        for rows in _rows(sweep, groups[0].name)
    ]
    mean = np.mean(scores, axis=0)
    for number, row in enumerate(table.rows):
        assert row.cells[0] == EMOTIONS[number]
        assert row.cells[1] == str(int(mean[3][number]))
        assert row.cells[2:4] == (f"{100 * mean[0][number]:.2f}", f"{100 * mean[1][number]:.2f}")
        assert row.cells[4].startswith(f"{100 * mean[2][number]:.2f} ± ")


def test_confusion_and_calibration_agree_with_direct_counts(sweep: Sweep, groups: tuple[Group, ...]) -> None:
    several = [run.predictions for run in groups[0].predicted_runs() if run.predictions]
    rows = _rows(sweep, groups[0].name)
    expected = np.mean(
        [metrics.confusion_matrix([r["label"] for r in s], [r["predicted"] for r in s], labels=EMOTIONS) for s in rows],
        axis=0,
    )
    assert mean_confusion(several, 6) == pytest.approx(expected)
    bins = pooled_calibration(several)
    flat = [row for seed in rows for row in seed]
    assert sum(b.count for b in bins) == len(flat)
    assert sum(b.correct for b in bins) == sum(r["label"] == r["predicted"] for r in flat)
    top = [max(r["probabilities"].values()) for r in flat]
    assert sum(b.confidence_sum for b in bins) == pytest.approx(sum(top), rel=1e-5)


def test_confusion_of_multi_label_is_refused() -> None:
    both = np.ones((2, 3), int)
    with pytest.raises(ValueError, match="one label per example"):
        confusion(Predictions(("1", "2"), ("a", "b"), both, both, both.astype(float)), 3)


def test_comparisons_agree_with_the_rows(sweep: Sweep, groups: tuple[Group, ...]) -> None:
    rows = compare_groups(groups, groups[0], sweep)
    assert [(row.first, row.second) for row in rows] == [
        ("lora-qkv-r8", "full"),
        ("lora-qkv-r8", "lora-qv-r2"),
        ("full", "lora-qv-r2"),
    ]
    for row in rows:
        right = [
            np.mean([[r["label"] == r["predicted"] for r in seed] for seed in _rows(sweep, name)])
            for name in (row.first, row.second)
        ]
        assert row.accuracy.difference == pytest.approx(right[0] - right[1])
        assert row.accuracy.low <= row.accuracy.difference <= row.accuracy.high
        assert row.p_holm >= row.accuracy.p
    # 12 points on 300 shared rows are no luck, in either test
    assert rows[1].p_holm < 0.05 and rows[1].mcnemar_p_holm < 0.05
    one = {run.name: run.predictions for run in sweep.runs}
    first, second = (one[name] for name in rows[1].runs)
    assert first is not None and second is not None
    assert rows[1].mcnemar.b == int((first.correct & ~second.correct).sum())
    table = tables.comparisons_table(rows)
    assert table.rows[1].cells[-1] == "lora-qkv-r8 better"


def test_examples_are_what_they_are_called(sweep: Sweep) -> None:
    predictions = sweep.runs[0].predictions
    assert predictions is not None
    errors = confident_errors(predictions, EMOTIONS, 5)
    confidence = predictions.probabilities.max(axis=1)
    wrong = np.sort(confidence[~predictions.correct])[::-1]
    assert [row.confidence for row in errors] == pytest.approx(wrong[:5].tolist())
    for label, rows in per_class_examples(predictions, EMOTIONS, right=2, wrong=2).items():
        assert rows and all(row.gold == label for row in rows)
        assert all(row.right == (row.predicted == row.gold) for row in rows)
        assert [row.right for row in rows] == sorted((row.right for row in rows), reverse=True)


def test_our_runs_stand_under_the_cells_they_repeat(sweep: Sweep, groups: tuple[Group, ...]) -> None:
    shown = paper_tables.validation_tables(groups, sweep)
    assert [table.caption[:7] for table in shown] == ["Table 2", "Table 3"]
    for table, cell, ours in (
        (shown[0], "lr 5e-5, weight decay 0.001", "full"),
        (shown[1], "r 8, lr 1e-3", "lora-qkv-r8 (as the text says)"),
        (shown[1], "r 2, lr 3e-4", "lora-qv-r2 (as the code did)"),
    ):
        names = [row.cells[0] for row in table.rows]
        place = names.index(cell)
        assert names[place + 1] == ours
        assert [row.kind for row in table.rows[place : place + 2]] == ["published", "ours"]
    assert all("Gjer 2023, Table" in row.cells[1] for table in shown for row in table.rows if row.kind == "published")


def test_test_table_has_intervals_on_both_sides(sweep: Sweep, groups: tuple[Group, ...]) -> None:
    table = paper_tables.test_table(groups, groups[0])
    assert table.rows[0].cells[2:] == ("0.3259", "93.00", "[91.8, 94.0]", "92.90")
    assert [row.kind for row in table.rows] == ["published"] * 3 + ["best", "ours", "ours"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (formats.duration(7.25), "7.2 s"),
        (formats.duration(59.7), "1 min 00 s"),
        (formats.duration(7543), "2 h 05 min"),
        (formats.binary(0), "0 B"),
        (formats.binary(9.5 * 2**30), "9.50 GiB"),
        (formats.binary(868 * 2**20), "868 MiB"),
        (formats.compact(109_486_854), "109 M"),
        (formats.learning_rate(3e-4), "3e-4"),
        (formats.learning_rate(0.00125), "1.25e-3"),
        (formats.p_value(0.00099), "< 0.001"),
        (formats.percent(None), "–"),
    ],
)
def test_formats(text: str, expected: str) -> None:
    assert text == expected


def test_test_table_of_a_grid_shows_the_best_of_each_family(tmp_path: Path) -> None:
    members = [
        FakeGroup(f"lora-{targets}-r{r}-{rate}", "lora", targets, r, 0.6 + r / 200 + 100 * rate, 1_000, rate)
        for targets in ("qv", "qkv")
        for r in (2, 8, 16, 32)
        for rate in (3e-4, 1e-3)
    ]
    sweep = read_sweep(write_sweep(tmp_path, members, seeds=(1,), n=400))
    order = ranked(group_runs(sweep), sweep)
    table = paper_tables.test_table(order, order[0])
    ours = [row.cells[0] for row in table.rows if row.kind != "published"]
    first = {targets: next(g.name for g in order if f"-{targets}-" in g.name) for targets in ("qv", "qkv")}
    assert sorted(ours) == sorted(first.values())
    assert table.rows[3].kind == "best"
