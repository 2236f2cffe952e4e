"""Texts to token ids, once: flat arrays, kept on disk by the hash of what they depend on. Not here: padding.

A split of N texts with T tokens is two arrays: ``ids`` (T,) and ``offsets`` (N + 1,); text i is
``ids[offsets[i]:offsets[i + 1]]``. That is 4 bytes a token, without a Python object for each.

Example:
    >>> splits = tokenise(dataset, tokenizer, max_length=128, cache_dir=None)       # doctest: +SKIP
    >>> splits["train"].row(0), splits["train"].lengths.max()                       # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunelet.base.errors import DataError, Problem
from tunelet.data.records import Dataset, Task, TextExample
from tunelet.data.token_cache import TokenCache, tokenizer_sha256

# Texts that go to the tokenizer at once: enough to keep it busy, few enough to keep its objects small.
_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class TokenisedSplit:
    """The token ids of a split. The arrays are read-only.

    Attributes:
        ids: (T,) int32, the tokens of all texts one after the other, special tokens included.
        offsets: (N + 1,) int64, where each text begins, and the end.
        labels: (N,) int64 positions of the labels, or (N, C) float32 of zeros and ones in a multi-label task.
        example_ids: N ids.
        truncated: how many texts were cut to fit `max_length`.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64] | NDArray[np.float32]
    example_ids: tuple[str, ...]
    truncated: int

    def __len__(self) -> int:
        return len(self.example_ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) tokens of each text."""
        return np.diff(self.offsets)

    def row(self, index: int) -> NDArray[np.int32]:
        """The tokens of text `index`; an IndexError beyond the last, as of a list."""
        start, end = self.offsets[range(len(self))[index]], self.offsets[range(len(self))[index] + 1]
        return self.ids[start:end]


def tokenise(dataset: Dataset, tokenizer: Any, max_length: int, cache_dir: Path | None) -> dict[str, TokenisedSplit]:
    """Tokenise every split of a labelled dataset.

    Args:
        dataset: its examples.
        tokenizer: a fast tokenizer of `transformers`.
        max_length: tokens that a text may have, special tokens included; longer ones are cut at their end.
        cache_dir: where token ids are kept, or None. A file there that is damaged is made again.

    Raises:
        DataError: an example has no label in a single-label task, or gives no token; or `max_length` leaves no room.
    """
    special = int(tokenizer.num_special_tokens_to_add())
    if max_length <= special:
        raise DataError(
            Problem(
                f"{max_length} tokens leave no room for a text: {special} are special tokens",
                field="model.max_length",
                hint=f"give at least {special + 1}",
            )
        )
    cache = None if cache_dir is None else TokenCache(cache_dir, tokenizer_sha256(tokenizer), max_length)
    return {
        split: tokenise_examples(examples, dataset.task, tokenizer, max_length, cache, split)
        for split, examples in dataset.splits.items()
    }


def tokenise_examples(
    examples: Sequence[TextExample],
    task: Task,
    tokenizer: Any,
    max_length: int,
    cache: TokenCache | None = None,
    split: str = "examples",
) -> TokenisedSplit:
    """Tokenise one split; `split` is its name in messages and in the cache."""
    labels = label_array(examples, task, split)
    texts = [example.text for example in examples]
    found = None if cache is None else cache.read(split, texts)
    if found is None:
        ids, offsets, truncated = _encode(texts, tokenizer, max_length)
        if cache is not None:
            cache.write(split, texts, ids, offsets, truncated)
    else:
        ids, offsets, truncated = found
    empty = np.flatnonzero(np.diff(offsets) == 0)
    if len(empty):
        first = examples[int(empty[0])]
        raise DataError(Problem(f"the tokenizer gives no token for {first.text!r} (id {first.id})", split))
    for array in (ids, offsets, labels):
        array.setflags(write=False)
    return TokenisedSplit(ids, offsets, labels, tuple(example.id for example in examples), truncated)


def label_array(
    examples: Sequence[TextExample], task: Task, split: str = "examples"
) -> NDArray[np.int64] | NDArray[np.float32]:
    """The labels of examples as numbers: (N,) int64 positions, or (N, C) float32 zeros and ones.

    Raises:
        DataError: a label is not of the task, or an example of a single-label task has not exactly one.
    """
    if task.multi_label:
        many = np.zeros((len(examples), len(task.labels)), dtype=np.float32)
        for row, example in enumerate(examples):
            for name in example.labels:
                many[row, task.index(name)] = 1.0
        return many
    for example in examples:
        if len(example.labels) != 1:
            raise DataError(Problem(f"example {example.id} has {len(example.labels)} labels, expected one", split))
    return np.array([task.index(example.labels[0]) for example in examples], dtype=np.int64)


def _encode(texts: Sequence[str], tokenizer: Any, max_length: int) -> tuple[NDArray[np.int32], NDArray[np.int64], int]:
    parts: list[NDArray[np.int32]] = []
    lengths: list[int] = []
    truncated = 0
    for start in range(0, len(texts), _CHUNK):
        batch = tokenizer(
            list(texts[start : start + _CHUNK]),
            truncation=True,
            max_length=max_length,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        parts.extend(np.asarray(row, dtype=np.int32) for row in batch["input_ids"])
        lengths.extend(len(row) for row in batch["input_ids"])
        # the fast tokenizer keeps what it cut off; that tells a cut text from one that just fits
        truncated += sum(bool(encoding.overflowing) for encoding in batch.encodings)
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return (np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)), offsets, truncated
