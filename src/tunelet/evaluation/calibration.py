"""Is a model right as often as it says? Counts per confidence bin. Not here: temperature scaling, plots.

The expected calibration error is that of Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017), eq. 3:
``ECE = sum_m (|B_m| / n) * |acc(B_m) - conf(B_m)|`` over M bins of equal width, bin m holding confidences in
((m - 1) / M, m / M].

Example:
    >>> bins = calibration_bins(np.array([0.9, 0.7]), np.array([True, False]), bins=2)
    >>> bins[1].count, round(expected_calibration_error(bins), 3)
    (2, 0.3)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Number of bins used by Guo et al. in all their tables.
BINS = 15


@dataclass(frozen=True)
class CalibrationBin:
    """Predictions whose confidence falls into one interval.

    Attributes:
        count: predictions in the bin.
        correct: how many of them are right.
        confidence_sum: sum of their confidences, each in 0 ... 1.
    """

    count: int
    correct: int
    confidence_sum: float

    def to_json(self) -> dict[str, float]:
        """The three fields by name."""
        return {"count": self.count, "correct": self.correct, "confidence_sum": self.confidence_sum}


def calibration_bins(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = BINS
) -> tuple[CalibrationBin, ...]:
    """Count predictions by confidence.

    Args:
        confidence: probability that the model gives to what it predicts, (N,), in 0 ... 1.
        correct: whether it was right, (N,).
        bins: number of bins of equal width.
    """
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    right = np.bincount(index[correct], minlength=bins)
    total = np.bincount(index, weights=confidence, minlength=bins)
    return tuple(CalibrationBin(int(c), int(r), float(t)) for c, r, t in zip(count, right, total, strict=True))


def expected_calibration_error(bins: Sequence[CalibrationBin]) -> float:
    """Mean distance between accuracy and confidence, in 0 ... 1; 0.0 when all bins are empty."""
    n = sum(bin_.count for bin_ in bins)
    return sum(abs(bin_.correct - bin_.confidence_sum) for bin_ in bins) / n if n else 0.0
