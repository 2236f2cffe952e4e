"""Which tokens of the hypotheses of a list differ, so that only those need be masked. Not here: scoring.

A token is common if it stands in every hypothesis, in the alignment of each with the first one (fewest insertions,
deletions and replacements). Common tokens next to a difference count as differing, too: they are what tells of a
word that was left out.

Example:
    >>> differing([np.array([1, 2, 3, 4]), np.array([1, 2, 9, 4])], neighbours=0)
    [array([2]), array([2])]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

Places = NDArray[np.int64]


def differing(rows: Sequence[NDArray[np.integer[Any]]], *, neighbours: int = 1) -> list[Places]:
    """Positions, rising, in each row of what is not common to all.

    Args:
        rows: token ids of the hypotheses, without special tokens.
        neighbours: how many common tokens on either side of a difference are taken as well. They are the same
            tokens in every row, so what is left out is the same sequence of tokens for all.

    Returns:
        As many arrays as rows; all empty where the rows are equal.
    """
    if not rows:
        return []
    first = rows[0].tolist()
    # for each row: where each token of the first row stands in it, -1 if nowhere
    homes = np.full((len(rows), len(first)), -1, dtype=np.int64)
    for i, row in enumerate(rows):
        for block in Levenshtein.opcodes(first, row.tolist()):
            if block.tag == "equal":
                homes[i, block.src_start : block.src_end] = np.arange(block.dest_start, block.dest_end)
    common = np.flatnonzero((homes >= 0).all(0))
    edges = np.array([[-1] * len(rows), *homes[:, common].T, [len(row) for row in rows]])  # (common + 2, rows)
    # a gap after edge k: some row has something between it and the next common token
    gap = (np.diff(edges, axis=0) > 1).any(1)
    touched = np.zeros(len(common) + 2, dtype=bool)
    for k in np.flatnonzero(gap):
        touched[max(0, k - neighbours + 1) : k + 1 + neighbours] = True
    kept = edges[1:-1][~touched[1:-1]]
    return [np.setdiff1d(np.arange(len(row)), kept[:, i]) for i, row in enumerate(rows)]
