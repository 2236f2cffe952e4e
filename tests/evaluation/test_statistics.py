"""Intervals and exact tests against closed forms and scipy; Holm against the closed test that it abbreviates."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tunelet.base.errors import InputError
from tunelet.evaluation.statistics import holm, mcnemar, seed_interval, wilson

LEVELS = st.sampled_from([0.8, 0.9, 0.95, 0.99])


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), LEVELS)
def test_wilson_is_scipys(case: tuple[int, int], level: float) -> None:
    correct, n = case
    interval = wilson(correct, n, level=level)
    expected = stats.binomtest(correct, n).proportion_ci(level, method="wilson")
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= interval.low <= correct / n <= interval.high <= 1
    assert interval.low < interval.high


def test_wilson_of_the_papers_test_set_is_wider_than_the_papers_differences() -> None:
    interval = wilson(1860, 2000)
    assert 100 * (interval.high - interval.low) / 2 == pytest.approx(1.12, abs=0.01)
    assert interval.low < 0.9225
    assert interval.to_json() == {"low": interval.low, "high": interval.high, "level": 0.95, "method": "wilson"}


@given(st.integers(0, 100))
def test_wilson_is_symmetric(correct: int) -> None:
    one, other = wilson(correct, 100), wilson(100 - correct, 100)
    assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low))


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_what_is_no_proportion(correct: int, n: int) -> None:
    with pytest.raises(InputError, match=f"correct = {correct}, n = {n}"):
        wilson(correct, n)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_levels_are_shares(level: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        wilson(1, 2, level=level)
    with pytest.raises(InputError, match="between 0 and 1"):
        seed_interval([1.0], level=level)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), LEVELS)
def test_seed_interval_is_students(values: list[float], level: float) -> None:
    interval = seed_interval(values, level=level)
    assert interval is not None
    error = stats.sem(values)
    low, high = (
        stats.t.interval(level, len(values) - 1, np.mean(values), error) if error > 0 else (np.mean(values),) * 2
    )
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-9)


def test_one_seed_has_no_interval_and_none_is_an_error() -> None:
    assert seed_interval([0.93]) is None
    for values in ([], [0.9, math.nan]):
        with pytest.raises(InputError, match="finite scores"):
            seed_interval(values)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 5), st.integers(0, 5))
def test_mcnemar_is_the_binomial_sum(b: int, c: int, both: int, none: int) -> None:
    if b + c + both + none == 0:
        both = 1
    first = [True] * b + [False] * c + [True] * both + [False] * none
    second = [False] * b + [True] * c + [True] * both + [False] * none
    found = mcnemar(first, second)
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1))
    assert (found.b, found.c) == (b, c)
    assert found.p == pytest.approx(float(min(Fraction(1), Fraction(2 * tail, 2 ** (b + c)))), rel=1e-9)
    if b + c:
        assert found.p == pytest.approx(stats.binomtest(b, b + c).pvalue, rel=1e-7)
    assert mcnemar(second, first).p == found.p


def test_mcnemar_at_large_counts() -> None:
    first = np.repeat([True, False], [4000, 4200])
    assert mcnemar(first, ~first).p == pytest.approx(stats.binomtest(4000, 8200).pvalue, rel=1e-7)
    assert set(mcnemar(first, ~first).to_json()) == {"b", "c", "p"}


@pytest.mark.parametrize(("first", "second"), [([], []), ([True], [True, False]), ([[True]], [[True]])])
def test_mcnemar_needs_the_same_examples(first: list[bool], second: list[bool]) -> None:
    with pytest.raises(InputError, match="same examples"):
        mcnemar(first, second)


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_is_the_closed_bonferroni_test(pvalues: list[float]) -> None:
    # a hypothesis falls if every set of hypotheses that holds it falls, each set by Bonferroni (Marcus et al. 1976)
    everyone = range(len(pvalues))
    expected = [
        max(
            min(1.0, size * min(pvalues[member] for member in group))
            for size in range(1, len(pvalues) + 1)
            for group in combinations(everyone, size)
            if index in group
        )
        for index in everyone
    ]
    assert holm(pvalues) == pytest.approx(expected)


def test_holm_by_hand_and_out_of_range() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([]) == ()
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(InputError, match="p-values lie in"):
            holm([0.5, wrong])
