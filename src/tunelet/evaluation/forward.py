"""Tokenised texts through a model that only answers: batches of like length by their tokens, several at a time.

On a processor each of torch's threads takes a batch of its own, instead of all sharing the products of one: small
products share badly, and badly indeed where another program has one of the cores. Not here: evaluation during training,
whose batches must not hang on the number of threads (`inference.predict_split`).

Example:
    >>> logits = answer(model, split, np.arange(len(split)), pad_id=0)      # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tunelet.data.collate import collate
from tunelet.data.tokens import TokenisedSplit
from tunelet.models.evaluating import evaluating

Indices = NDArray[np.int64]

#: tokens of a batch, padding included, on a processor and on an accelerator
TOKENS, TOKENS_ACCELERATOR = 2048, 1 << 15
#: fewest tokens of a batch: below, calls cost more than products
LEAST = 256
#: batches for each thread, so that none waits long for the last
SHARES = 4


def answer(
    model: torch.nn.Module,
    split: TokenisedSplit,
    indices: Indices,
    *,
    pad_id: int,
    batch_size: int | None = None,
    autocast: torch.dtype | None = None,
) -> NDArray[np.float32]:
    """Logits of some texts.

    Args:
        model: takes ``input_ids`` and ``attention_mask``, gives an object with ``logits`` (batch, C).
        split: the token ids.
        indices: (n,) which texts, n >= 1.
        pad_id: token that fills a batch up to its longest text.
        batch_size: texts in a batch; None: by tokens.
        autocast: compute in this type, or as the weights are if None.

    Returns:
        (n, C) float32, in the order of `indices`.
    """
    place = next(model.parameters()).device
    lengths = split.lengths[indices]
    threads = torch.get_num_threads() if place.type == "cpu" else 1
    most = TOKENS if place.type == "cpu" else TOKENS_ACCELERATOR
    batches = list(cut(lengths, batch_size, max(LEAST, min(most, int(lengths.sum()) // (SHARES * threads)))))

    def run(rows: Indices) -> NDArray[np.float32]:
        batch = collate(split, indices[rows], pad_id=pad_id)
        inputs = {name: batch[name].to(place) for name in ("input_ids", "attention_mask")}
        with torch.inference_mode(), torch.autocast(place.type, dtype=autocast, enabled=autocast is not None):
            found: NDArray[np.float32] = model(**inputs).logits.float().cpu().numpy()
        return found

    with evaluating(model):
        parts = _side_by_side(run, batches, threads) if min(threads, len(batches)) > 1 else list(map(run, batches))
    joined = np.concatenate(parts)
    logits = np.empty_like(joined)
    logits[np.concatenate(batches)] = joined
    return logits


def cut(lengths: NDArray[np.int64], batch_size: int | None, tokens: int) -> Iterator[Indices]:
    """Positions in batches, the longest texts first: `batch_size` each, or as many as have `tokens` when padded."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        fitting = max(1, tokens // max(1, int(lengths[order[start]]))) if batch_size is None else batch_size
        yield order[start : start + fitting]
        start += fitting


def _side_by_side(run: Any, batches: Sequence[Indices], threads: int) -> list[NDArray[np.float32]]:
    """Every batch by one of `threads` threads, each with one thread of torch."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(run, batches))
    finally:
        torch.set_num_threads(before)  # part of the setting belongs to all threads
