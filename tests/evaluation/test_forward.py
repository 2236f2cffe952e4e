"""Batches of a model that only answers: every text once, by tokens, and the same answers by one thread or several."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tunelet.data.tokens import TokenisedSplit
from tunelet.evaluation import forward
from tunelet.evaluation.forward import answer, cut


class Sums(torch.nn.Module):
    """Answers with the sum and the number of a text's tokens, and notes who asked, with how many threads."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.seen: list[tuple[int, int, tuple[int, ...]]] = []

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        assert not self.training and torch.is_inference_mode_enabled()
        self.seen.append((threading.get_ident(), torch.get_num_threads(), tuple(input_ids.shape)))
        sums = (input_ids * attention_mask).sum(1), attention_mask.sum(1)
        return SimpleNamespace(logits=torch.stack(sums, 1) * self.weight)


def split_of(lengths: list[int]) -> TokenisedSplit:
    ids = np.random.default_rng(0).integers(1, 90, sum(lengths)).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenisedSplit(ids, offsets, np.zeros(len(lengths), dtype=np.int64), tuple(map(str, lengths)), 0)


@pytest.fixture
def threads() -> Any:
    """Set torch's threads; they are put back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [None, 1, 4])
def test_row_i_is_text_i_whoever_answers_it(threads: Any, count: int, batch_size: int | None) -> None:
    threads(count)
    split = split_of([int(n) for n in np.random.default_rng(1).integers(1, 60, 40)])
    model = Sums()
    indices = np.array([3, 39, 0, 17, *range(20, 35)])
    found = answer(model, split, indices, pad_id=0, batch_size=batch_size)
    assert found.dtype == np.float32
    assert found.tolist() == [[float(split.row(i).sum()), float(len(split.row(i)))] for i in indices]
    assert sum(shape[0] for _, _, shape in model.seen) == len(indices)
    assert torch.get_num_threads() == count
    if count > 1:
        assert {used for _, used, _ in model.seen} == {1}


def test_one_batch_keeps_all_threads(threads: Any) -> None:
    threads(2)
    model = Sums()
    answer(model, split_of([5, 6]), np.arange(2), pad_id=0)
    assert [(who, used) for who, used, _ in model.seen] == [(threading.get_ident(), 2)]


def test_an_error_comes_through_and_threads_are_put_back(threads: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    threads(2)
    model = Sums()
    monkeypatch.setattr(model, "forward", lambda **inputs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        answer(model, split_of([300, 300, 300]), np.arange(3), pad_id=0)
    assert torch.get_num_threads() == 2 and model.training


@given(st.lists(st.integers(1, 200), min_size=1, max_size=80), st.integers(1, 600))
def test_batches_hold_their_tokens_and_every_text_once(lengths: list[int], tokens: int) -> None:
    known = np.array(lengths, dtype=np.int64)
    batches = list(cut(known, None, tokens))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * known[batch].max() <= tokens for batch in batches)
    ordered = known[np.concatenate(batches)]
    assert (np.diff(ordered) <= 0).all()


def test_long_streams_come_in_larger_batches_than_short_ones(threads: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    threads(1)
    monkeypatch.setattr(forward, "TOKENS", 400)
    monkeypatch.setattr(forward, "LEAST", 100)
    for texts, rows in ((8, 10), (40, 20), (400, 40)):
        model = Sums()
        answer(model, split_of([10] * texts), np.arange(texts), pad_id=0)
        assert max(shape[0] for _, _, shape in model.seen) == min(rows, texts, max(10, texts // 4))
