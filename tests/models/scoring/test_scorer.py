"""What scorers share: unique texts, batches within a budget."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tunelet.models.scoring.scorer import Unique, budget_on, pad, token_batches


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=4), max_size=4))
def test_unique_texts_go_back_to_where_they_came_from(lists: list[list[str]]) -> None:
    unique = Unique.of(lists)
    assert len(set(unique.texts)) == len(unique.texts)
    values = np.array([float(ord(text)) for text in unique.texts])
    assert [row.tolist() for row in unique.spread(values)] == [[float(ord(text)) for text in row] for row in lists]


@given(st.lists(st.integers(0, 20), max_size=30), st.integers(1, 50))
def test_batches_hold_every_text_once_and_keep_to_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(token_batches(lengths, budget))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= max(budget, len(batch))


def test_budgets() -> None:
    assert budget_on(torch.device("cpu"), 77) == 77
    assert 0 < budget_on(torch.device("cpu"), None) < budget_on(torch.device("cuda"), None)


def test_equal_rows_need_no_mask() -> None:
    rows = [np.array([1, 2]), np.array([3, 4])]
    assert pad(rows, 0, torch.device("cpu"))[1] is None
    ids, mask = pad([*rows, np.array([5])], 9, torch.device("cpu"))
    assert mask is not None
    assert (ids.tolist(), mask.tolist()) == ([[1, 2], [3, 4], [5, 9]], [[1, 1], [1, 1], [1, 0]])
