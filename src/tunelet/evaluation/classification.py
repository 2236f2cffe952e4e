"""Scores of a classifier with one label per example: a confusion matrix, and what follows from it.

Not here: several labels per example (`multilabel`, reached through `score`), intervals and tests (`statistics`).
A score keeps counts, so that it can be added up, resampled and checked; every ratio is a property.

Conventions, those of scikit-learn with ``zero_division=0`` over *all* labels of the task: precision of a label never
predicted, recall of a label that no example has, and F1 of a label with neither, are 0; macro averages count such
labels. The Matthews coefficient is 0 where it is undefined. Equal logits: the label that comes first is predicted.

Example:
    >>> scores = score_single(np.array([[2.0, 0.0], [1.0, 0.0]]), np.array([0, 1]), ["sad", "glad"])
    >>> scores.accuracy, scores.confusion
    (0.5, ((1, 0), (1, 0)))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tunelet.evaluation.calibration import CalibrationBin, calibration_bins, expected_calibration_error
from tunelet.evaluation.multilabel import MultiLabelScores, score_multi
from tunelet.evaluation.probabilities import Ints, checked_gold, checked_logits, class_losses, class_probabilities

__all__ = ["ClassScores", "ClassificationScores", "MultiLabelScores", "score", "score_multi", "score_single"]


@dataclass(frozen=True)
class ClassScores:
    """One label's row of the table: ratios in 0 ... 1, and the counts they come from.

    Attributes:
        label: its name.
        support: examples that have it.
        predicted: examples that were given it.
        correct: examples that have it and were given it.
        precision, recall, f1: ``correct / predicted``, ``correct / support``, ``2 correct / (predicted + support)``.
    """

    label: str
    support: int
    predicted: int
    correct: int
    precision: float
    recall: float
    f1: float

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return dict(vars(self))


@dataclass(frozen=True)
class ClassificationScores:
    """What n predictions were worth.

    Attributes:
        labels: names of the C labels, in order.
        confusion: C x C counts; row = gold label, column = predicted label.
        loss_sum: sum over examples of the cross-entropy, in nats.
        calibration: confidence bins of the predicted labels.
    """

    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    loss_sum: float
    calibration: tuple[CalibrationBin, ...]

    @property
    def n(self) -> int:
        """Number of examples."""
        return sum(map(sum, self.confusion))

    @property
    def correct(self) -> int:
        """Number of examples whose predicted label is the gold label."""
        return sum(row[index] for index, row in enumerate(self.confusion))

    @property
    def accuracy(self) -> float:
        """``correct / n``."""
        return self.correct / self.n

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        return self.loss_sum / self.n

    @property
    def ece(self) -> float:
        """Expected calibration error (see `calibration`)."""
        return expected_calibration_error(self.calibration)

    @property
    def mcc(self) -> float:
        """Matthews correlation coefficient for C classes, in -1 ... 1 (Gorodkin 2004, eq. 8)."""
        from sklearn.metrics import matthews_corrcoef  # a second of imports, so only when asked for

        gold, predicted, counts = self._rows()
        return float(matthews_corrcoef(gold, predicted, sample_weight=counts))

    @property
    def macro_precision(self) -> float:
        """Mean precision over labels."""
        return self._average("macro")[0]

    @property
    def macro_recall(self) -> float:
        """Mean recall over labels (balanced accuracy, when every label has an example)."""
        return self._average("macro")[1]

    @property
    def macro_f1(self) -> float:
        """Mean F1 over labels."""
        return self._average("macro")[2]

    @property
    def weighted_precision(self) -> float:
        """Mean precision over labels, weighted by support."""
        return self._average("weighted")[0]

    @property
    def weighted_recall(self) -> float:
        """Mean recall over labels, weighted by support: the accuracy by another name."""
        return self._average("weighted")[1]

    @property
    def weighted_f1(self) -> float:
        """Mean F1 over labels, weighted by support."""
        return self._average("weighted")[2]

    @property
    def per_class(self) -> tuple[ClassScores, ...]:
        """One row per label, in order."""
        table = self._precision_recall_f1(None)
        matrix = np.array(self.confusion)
        counts = zip(matrix.sum(axis=1).tolist(), matrix.sum(axis=0).tolist(), matrix.diagonal().tolist(), strict=True)
        return tuple(
            ClassScores(label, *count, *ratios)
            for label, count, ratios in zip(self.labels, counts, table.T.tolist(), strict=True)
        )

    def to_json(self) -> dict[str, Any]:
        """All ratios and all counts; `from_json` needs the counts alone."""
        macro, weighted = self._average("macro"), self._average("weighted")
        return {
            "n": self.n,
            "correct": self.correct,
            "accuracy": self.accuracy,
            "loss": self.loss,
            **{f"macro_{name}": value for name, value in zip(("precision", "recall", "f1"), macro, strict=True)},
            **{f"weighted_{name}": value for name, value in zip(("precision", "recall", "f1"), weighted, strict=True)},
            "mcc": self.mcc,
            "ece": self.ece,
            "per_class": [row.to_json() for row in self.per_class],
            "labels": list(self.labels),
            "confusion": [list(row) for row in self.confusion],
            "loss_sum": self.loss_sum,
            "calibration": [bin_.to_json() for bin_ in self.calibration],
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ClassificationScores:
        """The scores that `to_json` wrote, equal to the ones before."""
        return cls(
            labels=tuple(row["labels"]),
            confusion=tuple(tuple(counts) for counts in row["confusion"]),
            loss_sum=row["loss_sum"],
            calibration=tuple(CalibrationBin(**bin_) for bin_ in row["calibration"]),
        )

    def _rows(self) -> tuple[Ints, Ints, Ints]:
        """The matrix as C * C weighted examples: scikit-learn's metrics from counts, without the examples."""
        classes = len(self.labels)
        gold, predicted = np.divmod(np.arange(classes * classes), classes)
        return gold, predicted, np.array(self.confusion, dtype=np.int64).ravel()

    def _precision_recall_f1(self, average: str | None) -> Any:
        from sklearn.metrics import precision_recall_fscore_support

        gold, predicted, counts = self._rows()
        labels = list(range(len(self.labels)))
        values = precision_recall_fscore_support(
            gold, predicted, labels=labels, average=average, sample_weight=counts, zero_division=0
        )
        return np.array(values[:3], dtype=np.float64)

    def _average(self, kind: str) -> list[float]:
        values: list[float] = self._precision_recall_f1(kind).tolist()
        return values


def score_single(logits: ArrayLike, gold: ArrayLike, labels: Sequence[str]) -> ClassificationScores:
    """Score logits where each example has exactly one label.

    Args:
        logits: (N, C), before the softmax.
        gold: indices of the right labels, (N,).
        labels: names of the C labels, in order.

    Raises:
        InputError: no example, or shapes or gold labels that do not fit.
        TuneletError: a logit is NaN or infinite.
    """
    values = checked_logits(logits, labels)
    right = checked_gold(gold, values.shape[:1], len(labels))
    probabilities = class_probabilities(values)
    predicted = values.argmax(axis=1)  # not of the probabilities: those can tie where logits do not
    cells = np.bincount(right * len(labels) + predicted, minlength=len(labels) ** 2)
    return ClassificationScores(
        labels=tuple(labels),
        confusion=tuple(map(tuple, cells.reshape(len(labels), len(labels)).tolist())),
        loss_sum=float(class_losses(values, right).sum()),
        calibration=calibration_bins(probabilities.max(axis=1), predicted == right),
    )


def score(
    logits: ArrayLike, gold: ArrayLike, labels: Sequence[str], *, multi_label: bool
) -> ClassificationScores | MultiLabelScores:
    """`score_single` or `score_multi`, as the task asks."""
    return score_multi(logits, gold, labels) if multi_label else score_single(logits, gold, labels)
