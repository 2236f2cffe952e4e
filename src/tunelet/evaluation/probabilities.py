"""Logits, checked, and what they say as probabilities and losses. Not here: metrics, torch.

Everything is computed in float64, so that a score does not depend on the precision of the forward pass twice.

Example:
    >>> class_probabilities(np.array([[0.0, 0.0]]))
    array([[0.5, 0.5]])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from tunelet.base.errors import InputError, TuneletError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def checked_logits(logits: ArrayLike, labels: Sequence[str]) -> Floats:
    """The logits as float64 (N, C), N > 0 and C = number of labels, all finite.

    Raises:
        InputError: there is no row, or the shape does not fit the labels.
        TuneletError: a logit is NaN or infinite; an argmax over such a row would be a silent guess.
    """
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(labels):
        raise InputError(f"logits have shape {values.shape}, expected (N, {len(labels)}): one column per label")
    if not len(values):
        raise InputError("there is no example to score")
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise TuneletError(f"{len(bad)} of {len(values)} examples have NaN or infinite logits, first in row {bad[0]}")
    return values


def checked_gold(gold: ArrayLike, shape: tuple[int, ...], classes: int) -> Ints:
    """The gold labels as int64 of the given shape, each in 0 ... classes - 1.

    Raises:
        InputError: another shape, names or fractions instead of indices, or a label out of range.
    """
    values = np.asarray(gold)
    if values.shape != shape:
        raise InputError(f"gold labels have shape {values.shape}, the logits ask for {shape}")
    if values.dtype.kind not in "biuf":
        raise InputError(f"gold labels are of type {values.dtype}, expected numbers: the position of each label")
    with np.errstate(invalid="ignore"):  # NaN becomes some number, and is then told as unequal to it
        whole = values.astype(np.int64)
    wrong = np.argwhere((whole != values) | (whole < 0) | (whole >= classes))
    if len(wrong):
        first: Any = tuple(wrong[0].tolist())
        raise InputError(f"gold label {values[first]!s} in row {first[0]} is not one of 0 ... {classes - 1}")
    return whole


def class_probabilities(logits: Floats) -> Floats:
    """Softmax over classes, (N, C) -> (N, C): exactly one label is right."""
    result: Floats = special.softmax(np.asarray(logits, dtype=np.float64), axis=1)
    return result


def label_probabilities(logits: Floats) -> Floats:
    """Logistic function of each logit, (N, C) -> (N, C): each label is right or wrong for itself."""
    result: Floats = special.expit(np.asarray(logits, dtype=np.float64))
    return result


def class_losses(logits: Floats, gold: Ints) -> Floats:
    """Cross-entropy of each example in nats, (N, C) and (N,) -> (N,)."""
    logs = special.log_softmax(logits, axis=1)
    result: Floats = -logs[np.arange(len(gold)), gold]
    return result


def label_losses(logits: Floats, gold: Ints) -> Floats:
    """Binary cross-entropy in nats, mean over labels, (N, C) and (N, C) -> (N,)."""
    # log(sigmoid(x)) for a label that is set, log(1 - sigmoid(x)) = log(sigmoid(-x)) for one that is not
    result: Floats = -special.log_expit(np.where(gold == 1, logits, -logits)).mean(axis=1)
    return result
