"""Variations, invalid answers, classes and label maps of an `understand` sweep, counted by hand; and its sentences."""

from __future__ import annotations

from math import factorial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report.understandings import Model, a_result, a_run, scored
from tunelet.evaluation.crossed_cells import CrossedValue
from tunelet.evaluation.understanding import score_answers
from tunelet.report import understand_controls as controls
from tunelet.report.result_schema import validate_as
from tunelet.report.tables import Table
from tunelet.report.understand_answers import Resampled
from tunelet.report.understand_numbers import UNSEEN, Compared, Numbers
from tunelet.report.understand_schema import LabelMaps, UnderstandResult
from tunelet.report.understand_view import View
from tunelet.report.understand_words import answer, statements

LABELS = ("glad", "sad", "calm")


def a_view(*cells: dict[str, Any]) -> View:
    """One untuned run; each cell says how it differs from a text query at k = 2 with macro-F1 0.5."""
    run = a_run(Model("none", 0), "none", 1)
    own = score_answers([("glad",), ("sad",)], [("glad",), ("glad",)], LABELS, multi_label=False)
    for how in cells:
        run["cells"].append({**scored(run, "mood", 2, own), "value": 0.5, "macro_f1": 0.5, **how})
    return View.of(validate_as(UnderstandResult, a_result([run])))


def numbers(view: View) -> Numbers:
    return Numbers(view, Resampled(view, Path("nowhere")))


def body(table: Table | None) -> list[tuple[str, ...]]:
    assert table is not None
    return [row.cells for row in table.rows]


def test_variations_are_told_against_the_main_table() -> None:
    view = a_view(
        {}, {"demonstrations": "random", "value": 0.4, "main": False}, {"lora_scale": 0.5, "value": 0.6, "main": False},
        {"answers": "calibrated", "value": 0.55, "main": False}, {"query": "speech", "value": 0.35},
        {"query": "speech", "cascade": True, "value": 0.45},
    )  # fmt: skip
    retrieved, scale = controls.variation_tables(numbers(view))
    assert retrieved.caption == "Demonstrations: retrieved minus random, points"
    assert body(retrieved) == [("none", "+10.0", "+10.0")]
    assert scale.caption.endswith("0.5 minus 1.0, points") and body(scale) == [("none", "+10.0", "+10.0")]
    (calibrated,) = controls.answer_tables(numbers(view))
    assert calibrated.caption == "Answers: calibrated minus constrained, points"
    assert body(calibrated) == [("none", "+5.0", "+5.0")]
    gap = controls.heard_table(numbers(view), "text", "speech", "gap")
    assert body(gap) == [("none", "+15.0", "+15.0")]
    cascade = controls.heard_table(numbers(view), "cascade", "speech", "cascade")
    assert body(cascade) == [("none", "+10.0", "+10.0")]


def test_the_spread_over_orders_is_best_minus_worst() -> None:
    view = a_view(
        {}, {"order": "nearest-first", "value": 0.44, "main": False},
        {"order": "shuffled", "value": 0.53, "main": False},
        {"k": 3}, {"k": 3, "order": "shuffled", "value": 0.48, "main": False}, {"k": 4},
    )  # fmt: skip
    assert body(controls.order_table(view)) == [("none", "9.0", "2.0", "9.0", "2")]
    assert controls.order_table(a_view({})) is None


def test_without_variations_and_speech_there_are_no_tables() -> None:
    view = a_view({})
    assert controls.variation_tables(numbers(view)) == () and controls.answer_tables(numbers(view)) == ()
    assert controls.heard_table(numbers(view), "text", "speech", "gap") is None
    assert controls.invalid_table(view) is None


def test_invalid_answers_are_told_by_how_the_answer_was_found() -> None:
    view = a_view(
        {}, {"answers": "free-strict", "invalid_rate": 0.2, "main": False},
        {"answers": "free-strict", "invalid_rate": 0.1, "query": "speech", "main": False},
        {"answers": "free-lenient", "invalid_rate": 0.0, "main": False},
    )  # fmt: skip
    assert body(controls.invalid_table(view)) == [
        ("none", "free-lenient", "0.0", "0.0"), ("none", "free-strict", "15.0", "20.0")
    ]  # fmt: skip


def test_demonstrations_that_did_not_fit_are_counted() -> None:
    assert controls.fit_sentence(a_view({"shown": 0})) == ""
    assert controls.fit_sentence(a_view({"shown": 4})) == "All 4 demonstrations fitted into their prompts."
    assert controls.fit_sentence(a_view({"shown": 3, "dropped": 1})).startswith("1 of 4 demonstrations")


def test_classes_are_scored_by_the_counts_of_all_cells_together() -> None:
    # each cell: gold glad, sad; given glad, glad
    view = a_view({}, {"query": "speech"})
    assert controls.class_scores(view.main) == pytest.approx({"glad": 2 * 2 / (4 + 2), "sad": 0.0, "calm": 0.0})
    assert len(controls.class_records(view)) == 6


def test_label_maps_against_uniform_permutations() -> None:
    run = a_run(Model("random", 0), "mood", 1)
    run["maps"] = {"batches": 8, "different": 2, "maps": [{"shown": list(LABELS), "batches": 2}],
                   "fixed": [{"classes": 0, "batches": 6}, {"classes": 3, "batches": 2}]}  # fmt: skip
    runs = validate_as(UnderstandResult, a_result([run])).runs
    assert body(controls.map_table(runs)) == [("random-mood-seed1", "8", "2", "3", "0.75")]
    found = controls.kept_shares(runs)
    assert found is not None and found[0] == [(0, 0.75), (3, 0.25)]
    assert found[1] == pytest.approx([2 / 6, 3 / 6, 0, 1 / 6])
    assert controls.kept_shares([]) is None
    assert LabelMaps.model_validate({"batches": 0, "different": 0}).maps == []


@given(st.integers(1, 12))
def test_a_uniform_permutation_keeps_one_thing_on_average(size: int) -> None:
    chances = controls.uniform_kept(size)
    assert sum(chances) == pytest.approx(1) and chances[size] == pytest.approx(1 / factorial(size))
    assert sum(kept * chance for kept, chance in enumerate(chances)) == pytest.approx(1)


def compared(value: float, low: float | None, high: float | None, p: float, *, cells: int = 12,
             p_holm: float | None = None) -> Compared:  # fmt: skip
    found = CrossedValue(value, low, high, p, 3, 2, cells, ("tasks",), 100)
    return Compared("random", "regular", "random-regular", UNSEEN, "text", "all k", found, p_holm)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (compared(0.02, 0.01, 0.03, 0.01, p_holm=0.02), "Yes: random is 2.0 points above regular [1.0, 3.0]."),
        (compared(-0.02, -0.03, -0.01, 0.01), "No: random is 2.0 points below regular [1.0, 3.0]."),
        (compared(0.01, -0.01, 0.03, 0.4), "Undecided: +1.0 points [-1.0, +3.0] for random against regular."),
        (compared(0.02, 0.01, 0.03, 0.01, p_holm=0.3), "corrected for all questions (Holm p 0.30) it is not enough"),
        (compared(0.02, 0.01, 0.03, 0.25, cells=3), "but 3 models and tasks are too few to say"),
        (compared(0.02, None, None, 1.0, cells=1), "against regular. No interval: one task, source and seed."),
    ],
)
def test_a_sentence_never_says_more_than_its_interval(row: Compared, told: str) -> None:
    (said,) = statements([row])
    assert told in said and said.startswith("Text: Do random labels beat") and said.endswith("The paper: yes.")
    assert ("Undecided" in said) == (row.side == 0)


def test_an_answer_is_a_sentence() -> None:
    assert answer("Q?", "a", "b", 0.5, 0.4, 0.6, 1) == "Q? Yes: a is 50.0 points above b [40.0, 60.0]."
