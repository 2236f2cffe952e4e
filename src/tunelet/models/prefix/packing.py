"""Prompts that begin alike, side by side in one row: what they share is read once, in training, too.

    row:   block 0 · rest of prompt 1 · rest of prompt 2 · ...

A prompt that is read in blocks (`blocks`) sees its own rest and block 0, so nothing changes for it, whoever stands
beside it. Attention over a row of T places costs T^2, so a row is not made as long as can be (`row_places`), unless the
model computes no scores between prompts (`tuning.fast.segments`): then it has up to `LONGEST` places. Not here: the
tensors of a batch (`batch`), reading without gradients (`blocks.BlockStates`).

Example:
    >>> [row.members for row in pack([[7, 7, 1], [8, 2], [7, 7, 3, 3]], [[0, 0, 1], [0, 1], [0, 0, 1, 1]], width=384)]
    [(0, 2), (1,)]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64] | list[int]
#: Places of a row at most, whatever they cost: its mask has the square of that.
LONGEST = 4096


@dataclass(frozen=True)
class Row:
    """Prompts in one row.

    Attributes:
        members: their numbers.
        shared: places of block 0, which they share.
        starts: where the rest of each begins.
        length: places in all.
    """

    members: tuple[int, ...]
    shared: int
    starts: tuple[int, ...]
    length: int

    def place(self, member: int, token: int) -> int:
        """Where in the row a token of the member with this number in it stands."""
        return token if token < self.shared else self.starts[member] + token - self.shared


def alone(lengths: Sequence[int]) -> list[Row]:
    """Each prompt of these lengths in a row of its own."""
    return [Row((number,), 0, (0,), length) for number, length in enumerate(lengths)]


def pack(ids: Sequence[Numbers], blocks: Sequence[Numbers], width: int, *, apart: bool = False) -> list[Row]:
    """Rows of prompts with the same block 0, in the order of their first members.

    Args:
        ids: (T,) tokens of each prompt.
        blocks: (T,) the block of each token; block 0 stands first.
        width: H of the model.
        apart: whether it computes no scores between the prompts of a row.
    """
    groups: dict[bytes, list[int]] = {}
    shared = [int((np.asarray(block) == 0).sum()) for block in blocks]
    for number, own in enumerate(ids):
        groups.setdefault(np.asarray(own[: shared[number]], dtype=np.int64).tobytes(), []).append(number)
    rows = []
    for members in groups.values():
        first = shared[members[0]]
        rests = [len(ids[number]) - first for number in members]
        count = ceil(sum(rests) / (max(1, LONGEST - first) if apart else row_places(first, width)))
        for part in np.array_split(np.arange(len(members)), min(count, len(members))):
            starts = first + np.concatenate([[0], np.cumsum([rests[place] for place in part.tolist()])])
            chosen = tuple(members[place] for place in part.tolist())
            rows.append(Row(chosen, first, tuple(starts[:-1].tolist()), int(starts[-1])))
    return rows


def row_places(shared: int, width: int) -> float:
    """How many places beside D `shared` ones make a place cheapest.

    A row with R more places costs about D + R + (D + R)^2 / 3H, in units of the products of one place with the weights
    (24 H^2 a layer) and with 8 H a layer for each pair of places, which run at half the rate; over R that is least at
    R^2 = D^2 + 3 H D.
    """
    return sqrt(shared * shared + 3 * width * shared)
