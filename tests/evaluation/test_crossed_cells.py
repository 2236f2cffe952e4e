"""The bootstrap over a crossed table of tasks, sources and seeds."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelet.base.errors import InputError
from tunelet.evaluation.crossed_cells import CrossedCell, crossed_cells


def table(values: dict[tuple[str, str, int], float]) -> list[CrossedCell]:
    return [CrossedCell(*key, np.array([value])) for key, value in values.items()]


def test_a_pair_of_task_and_source_counts_once_however_many_seeds_it_has() -> None:
    found = crossed_cells(table({("a", "x", 1): 0.2, ("a", "x", 2): 0.4, ("b", "x", 1): 0.9}), seed=1, samples=300)
    assert found.value == pytest.approx((0.3 + 0.9) / 2)
    assert (found.tasks, found.sources, found.cells, found.resampled) == (2, 1, 3, ("tasks", "seeds"))


def test_what_cannot_be_drawn_anew_gives_no_interval() -> None:
    alone = crossed_cells(table({("a", "x", 1): 0.2}), seed=1)
    assert (alone.value, alone.low, alone.high, alone.p, alone.side, alone.resampled) == (0.2, None, None, 1.0, 0, ())


def test_few_cells_that_agree_prove_nothing_and_many_do() -> None:
    few = crossed_cells(table({(task, "x", 1): 0.1 for task in "abcd"}), seed=1, samples=500)
    assert few.low == pytest.approx(0.1) and few.p == 2.0**-3 and few.side == 0
    keys = [(task, source, seed) for task in "abcde" for source in "xyz" for seed in (1, 2)]
    many = table({key: 0.02 + 0.002 * place for place, key in enumerate(keys)})
    assert crossed_cells(many, seed=1, samples=500).side == 1
    turned = [CrossedCell(one.task, one.source, one.seed, -one.values) for one in many]
    assert crossed_cells(turned, seed=1, samples=500).side == -1


def test_luck_of_one_source_widens_the_interval_although_its_tasks_are_many() -> None:
    tasks = "abcdefgh"
    lucky = table({(task, source, 1): 0.1 if source == "x" else -0.1 for task in tasks for source in "xy"})
    even = table({(task, source, 1): 0.1 * (-1) ** place for place, task in enumerate(tasks) for source in "xy"})
    width = [found.high - found.low for found in (crossed_cells(lucky, 1, 800), crossed_cells(even, 1, 800))
             if found.low is not None and found.high is not None]  # fmt: skip
    assert width[0] == pytest.approx(0.2) and width[1] < 0.16


def test_resampled_items_widen_it_and_are_named() -> None:
    stream = np.random.default_rng(3)
    own = [CrossedCell("a", "x", 1, np.concatenate([[0.3], 0.3 + 0.05 * stream.standard_normal(400)]))]
    found = crossed_cells(own, seed=1, samples=800)
    assert found.resampled == ("items",) and found.low is not None and found.high is not None
    assert 0.15 < found.high - found.low < 0.25 and found.low < 0.3 < found.high


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.integers(1, 3)), st.floats(-1, 1),
                       min_size=1, max_size=12), st.randoms(use_true_random=False))  # fmt: skip
def test_order_plays_no_role_and_the_interval_lies_among_the_cells(
    values: dict[tuple[str, str, int], float], shuffle: random.Random
) -> None:
    cells = table(values)
    found = crossed_cells(cells, seed=1, samples=200)
    shuffle.shuffle(cells)
    assert crossed_cells(cells, seed=1, samples=200) == found
    assert min(values.values()) - 1e-9 <= found.value <= max(values.values()) + 1e-9
    if found.low is not None and found.high is not None:
        assert min(values.values()) - 1e-9 <= found.low <= found.high <= max(values.values()) + 1e-9


def test_a_table_without_cells_or_with_one_twice_is_refused() -> None:
    with pytest.raises(InputError, match="needs a cell"):
        crossed_cells([], seed=1)
    with pytest.raises(InputError, match="at most one"):
        crossed_cells([CrossedCell("a", "x", 1, np.zeros(1))] * 2, seed=1)
