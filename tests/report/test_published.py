"""The paper's numbers: spot checks against the printed tables, and against each other."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tunelet.report.published import EXAMPLES, NOTES, PLANNED_STEPS, RUNS, TESTS, TRAINABLE, find_runs


def test_every_cell_of_the_grid_is_there() -> None:
    assert [sum(run.table == table for run in RUNS) for table in (2, 3, 4)] == [6, 6, 6]
    assert len({(run.table, run.r, run.learning_rate, run.weight_decay) for run in RUNS}) == 18


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ((2, None, 5e-5, 0.001), (0.2906, 94.05, 94.07, 94.02, 8754, 5250, 1.142, 13.4, "108M", 99)),
        ((2, None, 2e-5, 0.01), (0.1901, 93.90, 94.11, 93.83, 7234, 4000, 1.382, 13.4, "108M", 99)),
        ((3, 8, 3e-4, 0.001), (0.1994, 93.95, 94.43, 93.99, 5169, 3500, 1.935, 11.208, "304K", 0.277)),
        ((3, 32, 1e-3, 0.001), (0.2426, 92.20, 92.46, 92.27, 3093, 2250, 3.234, 11.238, "1.189M", 1.074)),
        ((4, 2, 1e-3, 0.001), (0.2929, 91.20, 91.35, 91.23, 4473, 2500, 2.236, 13.930, "344K", 0.313)),
        ((4, 32, 3e-4, 0.001), (0.1681, 93.90, 94.33, 93.93, 6354, 5250, 1.574, 14.066, "5.367M", 4.673)),
    ],
)
def test_spot_checks(key: tuple[object, ...], expected: tuple[object, ...]) -> None:
    (run,) = [run for run in RUNS if (run.table, run.r, run.learning_rate, run.weight_decay) == key]
    found = (run.loss, run.accuracy, run.precision, run.f1, run.runtime, run.steps, run.steps_per_second,
             run.memory_gb, run.trainable, run.trainable_percent)  # fmt: skip
    assert found == expected


def test_test_scores_and_the_runs_they_belong_to() -> None:
    assert [(row.accuracy, row.f1, row.loss) for row in TESTS] == [
        (93.00, 92.90, 0.3259),
        (92.25, 92.27, 0.2220),
        (92.70, 92.68, 0.2102),
    ]
    assert [(run.table, run.accuracy) for run in RUNS if run.is_best] == [(2, 94.05), (3, 93.95), (4, 94.10)]


def test_weighted_recall_is_accuracy_in_every_column() -> None:
    assert [run for run in RUNS if run.recall != run.accuracy] == []


def test_printed_speed_is_planned_steps_over_runtime_but_for_two_cells() -> None:
    odd = [run for run in RUNS if abs(PLANNED_STEPS / run.runtime - run.steps_per_second) > 0.003]
    assert [run.steps_per_second for run in odd] == [2.221, 1.172]
    assert any("2.221 and 1.172" in note.printed for note in NOTES)


def test_true_speed_of_the_tables() -> None:
    speeds = {table: [run.true_steps_per_second for run in RUNS if run.table == table] for table in (2, 3, 4)}
    assert min(speeds[2]) >= 0.55 and max(speeds[2]) <= 0.605
    assert min(speeds[3]) >= 0.67 and max(speeds[3]) <= 0.735
    assert sorted(speeds[4])[-1] > 0.82 and sorted(speeds[4])[-2] <= 0.605


@pytest.mark.parametrize(("table", "per_rank"), [(3, 36_864), (4, 167_424)])
def test_trainable_counts_are_linear_in_rank_plus_one_head(table: int, per_rank: int) -> None:
    assert {r: TRAINABLE[table, r] for r in (2, 8, 32)} == {r: per_rank * r + 4_614 for r in (2, 8, 32)}


def test_one_sentence_of_table_6_has_three_gold_labels() -> None:
    assert [sum(row.table == table for row in EXAMPLES) for table in (6, 7)] == [11, 11]
    gold: dict[str, set[str]] = {}
    for row in EXAMPLES:
        gold.setdefault(row.text_sha256, set()).add(row.gold)
    assert [labels for labels in gold.values() if len(labels) > 1] == [{"love", "sadness", "fear"}]


@pytest.mark.parametrize(
    ("setting", "table", "reading"),
    [
        (("full", "", 8, 3e-5, 0.01), 2, ""),
        (("lora", "qv", 8, 1e-3, 0.001), 3, "as the code did"),
        (("lora", "qkv", 8, 1e-3, 0.001), 3, "as the text says"),
        (("lora", "attention", 8, 1e-3, 0.001), 3, "as the text says"),
        (("lora", "qkv+dense", 32, 3e-4, 0.001), 4, "as the code did"),
    ],
)
def test_settings_find_their_cell(setting: tuple[str, str, int, float, float], table: int, reading: str) -> None:
    found = find_runs(*setting)
    assert found is not None
    assert (found[0].table, found[1]) == (table, reading)
    assert found[0].learning_rate == setting[3]


@pytest.mark.parametrize(
    "setting",
    [
        ("dora", "qv", 8, 1e-3, 0.001),
        ("lora", "qv", 4, 1e-3, 0.001),
        ("lora", "qv", 8, 5e-4, 0.001),
        ("lora", "all-linear", 8, 1e-3, 0.001),
        ("full", "", 8, 3e-5, 0.0),
    ],
)
def test_other_settings_find_none(setting: tuple[str, str, int, float, float]) -> None:
    assert find_runs(*setting) is None


def test_sentences_of_the_examples_are_in_the_real_test_set(real_data: Path) -> None:
    rows = [json.loads(line) for line in (real_data / "emotion/test.jsonl").open(encoding="utf-8")]
    gold = {hashlib.sha256(row["text"].encode()).hexdigest()[:16]: row["label"] for row in rows}
    assert {row.text_sha256 for row in EXAMPLES} <= set(gold)
    # the sentence that is printed three times stands once, with the label love
    assert [row.gold for row in EXAMPLES if gold[row.text_sha256] != row.gold] == ["sadness", "fear"]
