"""The line search against trying the middle of every gap between all crossings, and against a grid."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelet.base.errors import InputError
from tunelet.evaluation.line_search import NARROW, choices, search_line

Case = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@st.composite
def cases(draw: st.DrawFn, whole: bool = False) -> Case:
    """Scores, slopes, errors and which hypotheses there are; whole numbers make many ties."""
    lists, most = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    number = st.integers(-4, 4).map(float) if whole else st.floats(-9, 9, allow_nan=False).map(lambda x: round(x, 3))
    table = st.lists(st.lists(number, min_size=most, max_size=most), min_size=lists, max_size=lists)
    base, slope = np.array(draw(table)), np.array(draw(table))
    errors = np.array(
        draw(st.lists(st.lists(st.integers(0, 5), min_size=most, max_size=most), min_size=lists, max_size=lists))
    )
    sizes = draw(st.lists(st.integers(1, most), min_size=lists, max_size=lists))
    return base, slope, errors, np.arange(most)[None] < np.array(sizes)[:, None]


def errors_at(case: Case, weight: float) -> int:
    """Straightforward: the first of the highest scores of each list."""
    total = 0
    for base, slope, errors, present in zip(*case, strict=True):
        scores = [b + weight * s if here else -math.inf for b, s, here in zip(base, slope, present, strict=True)]
        total += int(errors[scores.index(max(scores))])
    return total


def middles(case: Case, low: float, high: float) -> list[float]:
    """The middle of every gap that is wide enough, between the crossings of any two lines of any list."""
    points = {low, high}
    for base, slope, _, present in zip(*case, strict=True):
        for i, j in itertools.combinations(np.flatnonzero(present), 2):
            if slope[i] != slope[j]:
                points.add(float((base[i] - base[j]) / (slope[j] - slope[i])))
    inside = sorted(point for point in points if low <= point <= high)
    return [(a + b) / 2 for a, b in itertools.pairwise(inside) if b - a > 10 * NARROW * max(1, abs(a), abs(b))]


@pytest.mark.parametrize("whole", [False, True])
@given(data=st.data(), low=st.floats(-5, 0), width=st.floats(0.5, 10))
def test_nothing_between_two_ends_is_better(whole: bool, data: st.DataObject, low: float, width: float) -> None:
    case = data.draw(cases(whole))
    found = search_line(*case[:3], low, low + width, present=case[3])
    assert low <= found.weight <= low + width
    assert found.errors == errors_at(case, found.weight)
    assert found.errors == min(errors_at(case, weight) for weight in middles(case, low, low + width))


@pytest.mark.parametrize("whole", [False, True])
@given(data=st.data())
def test_nothing_anywhere_is_better(whole: bool, data: st.DataObject) -> None:
    case = data.draw(cases(whole))
    found = search_line(*case[:3], present=case[3])
    assert found.errors == errors_at(case, found.weight)
    assert found.errors == min(errors_at(case, weight) for weight in middles(case, -1e5, 1e5))


@given(cases())
def test_the_whole_interval_has_these_errors(case: Case) -> None:
    found = search_line(*case[:3], -3.0, 3.0, present=case[3])
    inside = [weight for weight in middles(case, -3.0, 3.0) if found.low < weight < found.high]
    assert {errors_at(case, weight) for weight in inside} <= {found.errors}
    assert found.low <= found.weight <= found.high


def test_of_equally_good_intervals_the_widest_is_taken_then_the_nearest_to_zero() -> None:
    # hypothesis 2 is right between two corners of each list
    base = np.array([[0.0, -1.0, -3.0], [0.0, -5.0, -15.0]])
    slope = np.array([[0.0, 1.0, 2.0]] * 2)
    errors = np.array([[1, 0, 1]] * 2)
    found = search_line(base, slope, errors, 0.0, 20.0)
    assert (found.errors, found.low, found.high, found.weight) == (1, 5.0, 10.0, 7.5)  # 1 ... 2 is as good
    mirrored = search_line(
        np.array([[0.0, -1.0, -1.0]]), np.array([[0.0, 1.0, -1.0]]), np.array([[1, 0, 0]]), -4.0, 3.0
    )
    assert (mirrored.low, mirrored.high, mirrored.weight) == (-4.0, -1.0, -2.5)  # wider than 1 ... 3
    even = search_line(np.array([[0.0, -1.0, -1.0]]), np.array([[0.0, 1.0, -1.0]]), np.array([[1, 0, 0]]), -3.0, 3.5)
    assert (even.low, even.high) == (1.0, 3.5)


def test_without_ends_the_outer_interval_reaches_a_little_beyond() -> None:
    base, slope = np.array([[0.0, -2.0], [0.0, -4.0]]), np.array([[0.0, 1.0]] * 2)
    found = search_line(base, slope, np.array([[1, 0]] * 2))
    assert (found.low, found.high, found.breakpoints) == (4.0, 4.1, 2)
    alone = search_line(np.zeros((3, 1)), np.ones((3, 1)), np.full((3, 1), 2))
    assert (alone.weight, alone.errors, alone.breakpoints) == (0.0, 6, 0)


def test_equal_lines_choose_the_first() -> None:
    base, slope = np.array([[0.0, -1.0, -1.0]]), np.array([[0.0, 1.0, 1.0]])
    assert search_line(base, slope, np.array([[3, 2, 0]]), 0.0, 9.0).errors == 2
    assert choices(base, slope, 5.0).tolist() == [1]


def test_padding_may_hold_anything() -> None:
    case = np.array([[0.0, np.nan]]), np.array([[1.0, np.inf]]), np.array([[2, -9]]), np.array([[True, False]])
    assert search_line(*case[:3], present=case[3]).errors == 2


def test_many_lists_are_no_worse_than_a_fine_grid() -> None:
    generator = np.random.default_rng(0)
    errors = generator.integers(0, 8, (500, 10))
    base, slope = generator.normal(size=(500, 10)), -errors + generator.normal(size=(500, 10)) * 4
    found = search_line(base, slope, errors, 0.0, 4.0)
    rows = np.arange(500)
    grid = [int(errors[rows, choices(base, slope, w)].sum()) for w in np.linspace(0, 4, 2001)]
    assert found.errors <= min(grid) < grid[0]


@pytest.mark.parametrize(
    ("base", "slope", "low", "high", "message"),
    [
        ([[0.0]], [[0.0, 1.0]], 0, 1, r"\(1, 1\), \(1, 2\)"),
        ([0.0], [0.0], 0, 1, "shape"),
        ([[0.0]], [[0.0]], 1, 1, "low < high"),
        ([[np.nan]], [[0.0]], 0, 1, "NaN"),
        ([[0.0]], [[np.inf]], 0, 1, "infinite"),
    ],
)
def test_what_cannot_be_searched_is_refused(base: object, slope: object, low: float, high: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        search_line(np.array(base), np.array(slope), np.zeros(np.shape(base), dtype=int), low, high)


def test_a_list_without_hypotheses_is_refused() -> None:
    with pytest.raises(InputError, match="no hypothesis"):
        search_line(
            np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 2), dtype=int), present=np.zeros((1, 2), dtype=bool)
        )
