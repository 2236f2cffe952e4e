"""Token ids of a batch to padded tensors. Not here: choosing the batch (`data.batching`), devices.

Example:
    >>> batch = collate(splits["train"], np.array([5, 2]), pad_id=0)        # doctest: +SKIP
    >>> batch["input_ids"].shape, batch["attention_mask"].sum()             # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from tunelet.data.tokens import TokenisedSplit


def collate(
    split: TokenisedSplit,
    indices: NDArray[np.integer[Any]] | Sequence[int],
    *,
    pad_id: int,
    pad_to: Literal["batch"] | int = "batch",
) -> dict[str, torch.Tensor]:
    """Pad a batch on the right.

    Args:
        split: the token ids.
        indices: (B,) positions of the examples, B >= 1.
        pad_id: the token that fills.
        pad_to: "batch": the longest text of the batch; a number: that many tokens.

    Returns:
        ``input_ids`` (B, L) int64, ``attention_mask`` (B, L) int64 (1 at tokens), ``labels`` (B,) int64 or
        (B, C) float32. The tensors share no memory with `split`.

    Raises:
        ValueError: the batch is empty, or a text is longer than `pad_to`.
    """
    rows = np.asarray(indices, dtype=np.int64)
    if not len(rows):
        raise ValueError("a batch needs at least one example")
    lengths = split.offsets[rows + 1] - split.offsets[rows]
    longest = int(lengths.max())
    width = longest if pad_to == "batch" else pad_to
    if longest > width:
        raise ValueError(f"a text has {longest} tokens, more than the {width} that it is to be padded to")
    mask_BL = np.arange(width)[None, :] < lengths[:, None]
    ids_BL = np.full((len(rows), width), pad_id, dtype=np.int64)
    # a boolean mask is filled row by row, left to right: the order in which the tokens are joined
    ids_BL[mask_BL] = np.concatenate([split.ids[split.offsets[row] : split.offsets[row + 1]] for row in rows])
    return {
        "input_ids": torch.from_numpy(ids_BL),
        "attention_mask": torch.from_numpy(mask_BL.astype(np.int64)),
        "labels": torch.from_numpy(split.labels[rows]),
    }
