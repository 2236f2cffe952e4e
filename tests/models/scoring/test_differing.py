"""What differs between the hypotheses of a list, by hand and by properties."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tunelet.models.scoring.differing import differing

some_rows = st.lists(st.lists(st.integers(1, 4), max_size=7), min_size=1, max_size=5)


def places(*rows: list[int], neighbours: int = 0) -> list[list[int]]:
    return [
        found.tolist() for found in differing([np.array(row, dtype=np.int64) for row in rows], neighbours=neighbours)
    ]


def test_replaced_inserted_left_out() -> None:
    assert places([1, 2, 3], [1, 9, 3]) == [[1], [1]]
    assert places([1, 2, 3], [1, 3]) == [[1], []]
    assert places([1, 2, 3], [1, 3], neighbours=1) == [[0, 1, 2], [0, 1]]
    assert places([1, 3], [1, 2, 3], [1, 3, 4]) == [[], [1], [2]]
    assert places([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 7], neighbours=1) == [[4, 5], [4, 5]]
    assert places([9, 2, 3, 4], [1, 2, 3, 4], neighbours=2) == [[0, 1, 2], [0, 1, 2]]


def test_equal_rows_and_empty_ones() -> None:
    assert places([1, 2], [1, 2], neighbours=3) == [[], []]
    assert places([]) == [[]]
    assert places([], [1, 2]) == [[], [0, 1]]
    assert differing([]) == []


@given(some_rows, st.integers(0, 2))
def test_what_is_left_out_is_the_same_in_every_row(rows: list[list[int]], neighbours: int) -> None:
    found = places(*rows, neighbours=neighbours)
    left = [[token for i, token in enumerate(row) if i not in set(some)] for row, some in zip(rows, found, strict=True)]
    assert all(row == left[0] for row in left)
    if len({tuple(row) for row in rows}) > 1 and neighbours == 0:
        assert any(found)
