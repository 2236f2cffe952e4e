"""Kendall's τ-b of two scorings of the same hypotheses, for many lists at once. Not here: what scored them.

τ-b = (concordant - discordant) / sqrt(pairs that the first does not tie * pairs that the second does not tie).
SciPy has it for one list at a time, which takes a second for a few thousand lists; tests hold the two together.

Example:
    >>> kendall(np.array([[3.0, 2.0, 1.0]]), np.array([[3.0, 1.0, 2.0]])).round(3).tolist()
    [0.333]
"""

from __future__ import annotations

import numpy as np

from tunelet.evaluation.probabilities import Floats
from tunelet.evaluation.transcripts import Bools

#: Pairs of hypotheses compared at a time.
_CHUNK = 2**20


def kendall(first: Floats, second: Floats, present: Bools | None = None) -> Floats:
    """τ-b of each list.

    Args:
        first, second: scores, (U, N).
        present: (U, N), False at padding; None: there is none.

    Returns:
        (U,), in -1 ... 1; NaN where a scoring gives all hypotheses of a list the same score, or there is only one.
    """
    present = np.ones(first.shape, dtype=np.bool_) if present is None else present
    # a number too large for a difference is not expected; what stands at padding may be anything
    first, second = np.where(present, first, 0.0), np.where(present, second, 0.0)
    size = max(1, _CHUNK // first.shape[1] ** 2)
    parts = [
        _kendall(first[start : start + size], second[start : start + size], present[start : start + size])
        for start in range(0, len(first), size)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def _kendall(first: Floats, second: Floats, present: Bools) -> Floats:
    pairs = present[:, :, None] & present[:, None, :]
    a = np.sign(first[:, :, None] - first[:, None, :]) * pairs
    b = np.sign(second[:, :, None] - second[:, None, :]) * pairs
    # each pair is counted twice everywhere, which the ratio does not notice
    agreement = (a * b).sum(axis=(1, 2))
    untied = np.sqrt((a != 0).sum(axis=(1, 2)) * (b != 0).sum(axis=(1, 2)).astype(np.float64))
    result = np.full(len(first), np.nan)
    np.divide(agreement, untied, out=result, where=untied > 0)
    return result
