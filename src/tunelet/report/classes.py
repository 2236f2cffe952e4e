"""What the test predictions of a run say class by class: counts, confusion matrix, calibration bins.

Computed from the per-example rows on disk. Not here: reading them (`results.py`), drawing them (`plots.py`).

Example:
    >>> rows = class_counts(run.predictions, 6)             # doctest: +SKIP
    >>> rows[0].recall                                      # doctest: +SKIP
    0.958
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunelet.evaluation.calibration import CalibrationBin, calibration_bins
from tunelet.report.results import Predictions


@dataclass(frozen=True)
class ClassCounts:
    """One class in one run. A ratio without a denominator is 0, as in `tunelet.evaluation.classification`."""

    support: int
    predicted: int
    correct: int

    @property
    def precision(self) -> float:
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return self.correct / self.support if self.support else 0.0

    @property
    def f1(self) -> float:
        both = self.support + self.predicted
        return 2 * self.correct / both if both else 0.0


def class_counts(predictions: Predictions, classes: int) -> tuple[ClassCounts, ...]:
    """Counts of each of the C classes, in order; single or multi label."""
    gold, guess = _one_hot(predictions.gold, classes), _one_hot(predictions.predicted, classes)
    columns = zip(gold.sum(axis=0), guess.sum(axis=0), (gold & guess).sum(axis=0), strict=True)
    return tuple(ClassCounts(int(support), int(predicted), int(right)) for support, predicted, right in columns)


def confusion(predictions: Predictions, classes: int) -> np.ndarray:
    """(C, C) counts, rows gold, columns predicted.

    Raises:
        ValueError: the predictions are multi label; they have no confusion matrix.
    """
    if predictions.gold.ndim != 1:
        raise ValueError("a confusion matrix needs one label per example")
    cells = np.bincount(predictions.gold * classes + predictions.predicted, minlength=classes * classes)
    return cells.reshape(classes, classes)


def mean_confusion(several: Sequence[Predictions], classes: int) -> np.ndarray:
    """(C, C) mean counts over the runs of a group."""
    return np.asarray(np.mean([confusion(predictions, classes) for predictions in several], axis=0))


def pooled_calibration(several: Sequence[Predictions]) -> tuple[CalibrationBin, ...]:
    """Confidence bins over all rows of all runs. Multi label: every yes-or-no decision is a row."""
    confidence, correct = [], []
    for predictions in several:
        chances = predictions.probabilities.astype(np.float64)
        if predictions.gold.ndim == 1:
            confidence.append(np.take_along_axis(chances, predictions.predicted[:, None], axis=1)[:, 0])
            correct.append(predictions.correct)
        else:
            confidence.append(np.where(predictions.predicted == 1, chances, 1 - chances).ravel())
            correct.append((predictions.gold == predictions.predicted).ravel())
    return calibration_bins(np.concatenate(confidence), np.concatenate(correct))


def _one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """(N, C) bool from indices or from 0/1 rows."""
    rows: np.ndarray = labels.astype(bool) if labels.ndim == 2 else labels[:, None] == np.arange(classes)
    return rows
