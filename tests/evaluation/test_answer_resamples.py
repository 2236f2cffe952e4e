"""Scores under resampled test examples: exact without a draw, paired under the same draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelet.base.errors import InputError
from tunelet.evaluation.answer_resamples import METRICS, AnswerTable, item_draws, often, resampled_scores
from tunelet.evaluation.understanding import score_answers

LABELS = ("a", "b", "c")
SETS = st.frozensets(st.sampled_from(LABELS))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(SETS, st.one_of(st.none(), SETS)), min_size=1, max_size=9))
def test_without_a_draw_it_is_the_score_of_the_answers(
    rows: list[tuple[frozenset[str], frozenset[str] | None]],
) -> None:
    gold, given_ = [row[0] for row in rows], [row[1] for row in rows]
    ids = [str(place) for place in range(len(rows))]
    expected = score_answers(gold, given_, LABELS, multi_label=True)
    table = AnswerTable.of(ids, gold, given_, LABELS)
    draws = often(item_draws(ids, "task", 1, 3), ids)
    for metric in METRICS:
        found = resampled_scores(table, metric, draws)
        assert found is not None and found[0] == pytest.approx(expected.value(metric)) and len(found) == 4


def test_a_resample_is_the_score_of_the_examples_drawn() -> None:
    ids, gold = ["1", "2", "3"], [("a",), ("b",), ("b",)]
    given_ = [("a",), ("a",), ("b",)]
    draws = often({"1": np.array([1.0, 0.0]), "2": np.array([1.0, 2.0]), "3": np.array([1.0, 1.0])}, ids)
    found = resampled_scores(AnswerTable.of(ids, gold, given_, ("a", "b")), "macro_f1", draws)
    # drawn: 2, 2, 3. a: 0 hits of 2 given; b: 1 hit, 1 given, 3 gold
    assert found is not None and found[1] == pytest.approx((0 + 2 * 1 / 4) / 2)
    accuracy = resampled_scores(AnswerTable.of(ids, gold, given_, ("a", "b")), "accuracy", draws)
    assert accuracy is not None and accuracy.tolist() == pytest.approx([2 / 3, 1 / 3])


def test_draws_are_of_the_examples_of_a_task_whatever_their_order() -> None:
    one, other = item_draws(["x", "y", "z"], "t", 1, 50), item_draws(["z", "x", "y"], "t", 1, 50)
    assert all(np.array_equal(one[name], other[name]) for name in one)
    total = np.sum(list(one.values()), axis=0)
    assert np.all(total == 3) and any(np.any(row[1:] != 1) for row in one.values())
    assert not np.array_equal(item_draws(["x", "y", "z"], "u", 1, 50)["x"], one["x"])


def test_equal_answers_differ_in_no_resample() -> None:
    ids, gold = ["1", "2", "3", "4"], [("a",), ("b",), ("b",), ("c",)]
    draws = item_draws(ids, "t", 1, 30)
    first = AnswerTable.of(ids, gold, [("a",), ("b",), ("c",), None], LABELS)
    second = AnswerTable.of(ids[::-1], gold[::-1], [None, ("c",), ("b",), ("a",)], LABELS)
    scores = [resampled_scores(table, "macro_f1", often(draws, table.ids)) for table in (first, second)]
    assert scores[0] is not None and scores[1] is not None and np.allclose(scores[0], scores[1])


def test_what_is_no_table_of_answers_is_refused() -> None:
    with pytest.raises(InputError, match="found 1 for 2"):
        AnswerTable.of(["1", "2"], [("a",), ("a",)], [("a",)], LABELS)
    with pytest.raises(InputError, match="'d' is no class"):
        AnswerTable.of(["1"], [("a",)], [("d",)], LABELS)
    draws = often(item_draws(["1"], "t", 1, 2), ["1"])
    assert resampled_scores(AnswerTable.of(["1"], [("a",)], [("a",)], LABELS), "mcc", draws) is None
