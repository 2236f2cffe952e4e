"""The curve of word errors against a weight: every point counted again, the least never missed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evaluation.test_line_search import Case, cases, errors_at
from tunelet.base.errors import InputError
from tunelet.evaluation.weight_curve import weight_curve

ONE: Case = (np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1), np.int64), np.ones((1, 1), np.bool_))


@given(case=cases(whole=True), weight=st.floats(0, 5), points=st.integers(2, 30))
@example(case=ONE, weight=5e-324, points=5)  # three times the smallest number there is has no room for five
def test_every_point_is_exact_and_none_is_below_the_least(case: Case, weight: float, points: int) -> None:
    base, slope, errors, present = case
    found = weight_curve(base, slope, errors, weight, present=present, points=points)
    assert all(count == errors_at(case, at) for at, count in found.points)
    assert points <= len(found.points) <= points + 1
    assert (found.weight, found.errors) in found.points
    assert [at for at, _ in found.points] == sorted({at for at, _ in found.points})
    assert found.points[0][0] == 0.0 and math.isclose(found.points[-1][0], found.high, rel_tol=1e-5)
    assert found.least <= min(count for _, count in found.points)
    assert found.least == errors_at(case, found.least_weight) and 0 <= found.least_weight <= found.high


def test_a_stretch_between_two_points_is_still_found() -> None:
    """Only weights from 1 to 1.01 choose the right hypothesis; the points are far apart."""
    base, slope = np.array([[0.0, -1.0, -2.01]]), np.array([[0.0, 1.0, 2.0]])
    found = weight_curve(base, slope, np.array([[3, 0, 5]]), 3.0, points=2)
    assert {count for _, count in found.points} == {3, 5}
    assert found.least == 0 and 1.0 < found.least_weight < 1.01


def test_a_tie_at_the_chosen_weight_alone_is_not_worse_than_the_least() -> None:
    """A first pass without scores: at 0 the first hypothesis is chosen, which any weight above gives up."""
    found = weight_curve(np.zeros((1, 2)), np.array([[0.0, 1.0]]), np.array([[0, 2]]), 0.0)
    assert (found.errors, found.least, found.least_weight) == (0, 0, 0.0) and found.points[-1][1] == 2


def test_of_a_weight_of_zero_the_range_follows_the_scores() -> None:
    base, slope = np.array([[0.0, -8.0]]), np.array([[0.0, 2.0]])
    assert weight_curve(base, slope, np.array([[0, 1]]), 0.0).high == pytest.approx(12.0)
    assert weight_curve(base, 0 * slope, np.array([[0, 1]]), 0.0).least == 0  # a feature that does not vary


@pytest.mark.parametrize(("weight", "points"), [(-0.1, 5), (1.0, 1)])
def test_what_makes_no_curve_is_refused(weight: float, points: int) -> None:
    with pytest.raises(InputError, match="two points"):
        weight_curve(np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1), dtype=int), weight, points=points)
