"""Test sentences worth reading: for each class some right and wrong answers, and the errors made with most confidence.

The choice depends on the predictions alone, so a report made twice is the same. Not here: layout; the paper's
examples as data (`published.py`).

Example:
    >>> shown = per_class_examples(run.predictions, ("sadness", "joy"))   # doctest: +SKIP
    >>> shown["joy"][0].right                                             # doctest: +SKIP
    True
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from tunelet.report.published import EXAMPLES, PublishedExample
from tunelet.report.results import Predictions

#: Longest text shown, in characters.
LONGEST = 240


@dataclass(frozen=True)
class Example:
    """One test row. For multi label, `gold` and `predicted` are the labels joined by a comma, or "none"."""

    id: str
    text: str
    gold: str
    predicted: str
    confidence: float
    right: bool


@dataclass(frozen=True)
class SideBySide:
    """A row of the paper's Table 6 or 7 with our answer to the same sentence."""

    published: PublishedExample
    ours: Example


def per_class_examples(
    predictions: Predictions, labels: tuple[str, ...], *, right: int = 2, wrong: int = 3
) -> dict[str, tuple[Example, ...]]:
    """For each gold class, right answers nearest to the class's median confidence (typical ones), then wrong answers
    by falling confidence. A text is shown once a class."""
    confidence, correct = _confidence(predictions), predictions.correct
    shown: dict[str, tuple[Example, ...]] = {}
    for number, label in enumerate(labels):
        member = predictions.gold == number if predictions.gold.ndim == 1 else predictions.gold[:, number] == 1
        hits, misses = np.flatnonzero(member & correct), np.flatnonzero(member & ~correct)
        middle = float(np.median(confidence[hits])) if len(hits) else 0.0
        typical = hits[np.argsort(np.abs(confidence[hits] - middle), kind="stable")]
        worst = misses[np.argsort(-confidence[misses], kind="stable")]
        rows = _distinct(predictions, typical, right) + _distinct(predictions, worst, wrong)
        shown[label] = tuple(_example(predictions, row, labels, confidence) for row in rows)
    return shown


def confident_errors(predictions: Predictions, labels: tuple[str, ...], count: int = 10) -> tuple[Example, ...]:
    """The wrong answers given with most confidence: often a wrong gold label, or a text with two readings."""
    confidence = _confidence(predictions)
    misses = np.flatnonzero(~predictions.correct)
    worst = misses[np.argsort(-confidence[misses], kind="stable")]
    rows = _distinct(predictions, worst, count)
    return tuple(_example(predictions, row, labels, confidence) for row in rows)


def beside_published(predictions: Predictions, labels: tuple[str, ...]) -> tuple[SideBySide, ...]:
    """The rows of Tables 6 and 7 whose sentence is in this test set (known by its sha256), with our answer."""
    place = {hashlib.sha256(text.encode()).hexdigest()[:16]: row for row, text in enumerate(predictions.texts)}
    confidence = _confidence(predictions)
    return tuple(
        SideBySide(row, _example(predictions, place[row.text_sha256], labels, confidence))
        for row in EXAMPLES
        if row.text_sha256 in place
    )


def _confidence(predictions: Predictions) -> np.ndarray:
    """(N,) probability of what was predicted; for multi label the least sure of its decisions."""
    chances = predictions.probabilities
    if predictions.gold.ndim == 1:
        chosen: np.ndarray = np.take_along_axis(chances, predictions.predicted[:, None], axis=1)[:, 0]
        return chosen
    least: np.ndarray = np.where(predictions.predicted == 1, chances, 1 - chances).min(axis=1)
    return least


def _distinct(predictions: Predictions, rows: np.ndarray, count: int) -> list[int]:
    chosen: dict[str, int] = {}
    for row in rows:
        if len(chosen) == count:
            break
        chosen.setdefault(predictions.texts[row], int(row))
    return list(chosen.values())


def _example(predictions: Predictions, row: int, labels: tuple[str, ...], confidence: np.ndarray) -> Example:
    text = predictions.texts[row]
    return Example(
        id=predictions.ids[row],
        text=text if len(text) <= LONGEST else text[: LONGEST - 1].rstrip() + "…",
        gold=_names(predictions.gold[row], labels),
        predicted=_names(predictions.predicted[row], labels),
        confidence=float(confidence[row]),
        right=bool(predictions.correct[row]),
    )


def _names(value: np.ndarray, labels: tuple[str, ...]) -> str:
    if value.ndim == 0:
        return labels[int(value)]
    return ", ".join(label for label, chosen in zip(labels, value, strict=True) if chosen) or "none"
