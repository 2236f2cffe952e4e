"""Collating: what stands where, and that nothing of the split is shared or changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelet.data.collate import collate
from tunelet.data.tokens import TokenisedSplit


def split_of(rows: list[list[int]], labels: np.ndarray | None = None) -> TokenisedSplit:
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    ids = np.array([token for row in rows for token in row], dtype=np.int32)
    given_labels = np.arange(len(rows), dtype=np.int64) if labels is None else labels
    return TokenisedSplit(ids, offsets, given_labels, tuple(map(str, range(len(rows)))), 0)


SPLIT = split_of([[1, 2, 3], [4], [5, 6]])


def test_a_batch_is_padded_to_its_longest() -> None:
    batch = collate(SPLIT, np.array([2, 1]), pad_id=9)
    assert batch["input_ids"].tolist() == [[5, 6], [4, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert batch["labels"].tolist() == [2, 1]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_a_batch_is_padded_to_a_number() -> None:
    batch = collate(SPLIT, [1], pad_id=0, pad_to=4)
    assert batch["input_ids"].tolist() == [[4, 0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 0, 0, 0]]


def test_multi_label_targets_are_floats() -> None:
    labels = np.eye(3, dtype=np.float32)
    batch = collate(split_of([[1], [2], [3]], labels), [2, 0], pad_id=0)
    assert batch["labels"].dtype == torch.float32
    assert batch["labels"].tolist() == [[0, 0, 1], [1, 0, 0]]


def test_the_split_is_not_shared() -> None:
    batch = collate(SPLIT, [0], pad_id=0)
    batch["input_ids"].zero_()
    batch["labels"].fill_(7)
    assert SPLIT.row(0).tolist() == [1, 2, 3]
    assert SPLIT.labels.tolist() == [0, 1, 2]


def test_what_cannot_be_collated() -> None:
    with pytest.raises(ValueError, match="3 tokens, more than the 2"):
        collate(SPLIT, [0], pad_id=0, pad_to=2)
    with pytest.raises(ValueError, match="at least one"):
        collate(SPLIT, [], pad_id=0)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=9), min_size=1, max_size=8), st.data())
def test_masked_tokens_are_the_rows(rows: list[list[int]], data: st.DataObject) -> None:
    indices = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6))
    batch = collate(split_of(rows), np.array(indices), pad_id=0)
    kept = [ids[mask == 1].tolist() for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    assert kept == [rows[i] for i in indices]
    assert int(batch["input_ids"][batch["attention_mask"] == 0].sum()) == 0
