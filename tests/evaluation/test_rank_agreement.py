"""Kendall's τ-b of many lists against SciPy's of one."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from tunelet.evaluation.rank_agreement import kendall

SCORES = arrays(np.float64, (3, 5), elements=st.integers(-3, 3).map(float))


@given(SCORES, SCORES, st.lists(st.integers(1, 5), min_size=3, max_size=3))
def test_it_is_that_of_scipy(first: np.ndarray, second: np.ndarray, sizes: list[int]) -> None:
    present = np.arange(5)[None] < np.array(sizes)[:, None]
    found = kendall(np.where(present, first, np.nan), np.where(present, second, np.inf), present)
    for row, size in enumerate(sizes):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a list of one, or of equal scores, is not defined there either
            expected = stats.kendalltau(first[row, :size], second[row, :size]).statistic
        assert found[row] == pytest.approx(expected, nan_ok=True)


def test_many_lists_in_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 50, 4))
    whole = kendall(first, second)
    monkeypatch.setattr("tunelet.evaluation.rank_agreement._CHUNK", 100)
    assert (kendall(first, second) == whole).all()
    assert kendall(np.zeros((0, 4)), np.zeros((0, 4))).shape == (0,)


def test_order_and_reverse() -> None:
    scores = np.array([[1.0, 2.0, 3.0, 4.0]])
    assert kendall(scores, 10 * scores + 3).tolist() == [1.0]
    assert kendall(scores, -scores).tolist() == [-1.0]
