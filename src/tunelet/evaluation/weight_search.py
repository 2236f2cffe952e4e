"""Weights of several scorers at once: coordinate ascent over exact lines. Not here: one line (`line_search`).

A hypothesis scores ``s = a + sum_k w_k g_k``: the first pass with weight 1, and K features (a second pass, an n-gram,
the number of words). The search goes round the weights, each time to the exact optimum of one of them, then along some
random directions, until a whole round brings nothing. It begins from 0 (the first pass alone, so the result is never
worse than that on the lists it is tuned on), from starts that are given, and from random ones. Word errors are not
convex in the weights: the result is a local optimum, the best of all starts; of equals the first.

Tune on one set, report on another: the errors found here are those of the set that was searched.

Example:
    >>> base, better = np.array([[0.0, -1.0]]), np.array([[-3.0, -1.0]])
    >>> found = search_weights(base, {"second pass": better}, np.array([[2, 0]]), {"second pass": (0.0, 2.0)}, seed=1)
    >>> found.weights, found.errors, found.errors_before
    ({'second pass': 1.25}, 0, 2)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunelet.base.errors import InputError
from tunelet.base.streams import numpy_stream
from tunelet.evaluation.line_search import Line, search_line
from tunelet.evaluation.probabilities import Floats, Ints
from tunelet.evaluation.transcripts import Bools

#: Range of a weight.
Bounds = tuple[float, float]

_ROUNDS = 100
_DIRECTIONS = 2


@dataclass(frozen=True)
class Tuned:
    """Weights found on a set of lists.

    Attributes:
        weights: by feature.
        errors: word errors with them, on the lists that were searched.
        errors_before: word errors of all weights at 0.
        starts: errors that each start ended with, the one from 0 first.
        lines: lines that were searched.
    """

    weights: Mapping[str, float]
    errors: int
    errors_before: int
    starts: tuple[int, ...]
    lines: int

    def to_json(self) -> dict[str, object]:
        """The fields by name."""
        return {**vars(self), "weights": dict(self.weights)}


def combined(base: Floats, features: Mapping[str, Floats], weights: Mapping[str, float]) -> Floats:
    """Scores of all hypotheses, ``base + sum of weight * feature``, (U, N).

    Raises:
        InputError: weights and features do not have the same names.
    """
    if features.keys() != weights.keys():
        raise InputError(f"weights for {sorted(weights)}, but the features are {sorted(features)}")
    result = base.astype(np.float64)
    for name, weight in weights.items():
        result = result + weight * features[name]
    return result


def search_weights(
    base: Floats,
    features: Mapping[str, Floats],
    errors: Ints,
    bounds: Mapping[str, Bounds] | None = None,
    *,
    seed: int,
    present: Bools | None = None,
    starts: Sequence[Mapping[str, float]] = (),
    restarts: int = 8,
) -> Tuned:
    """Find the weights with the fewest word errors.

    Args:
        base: first-pass scores, (U, N).
        features: what each weight is multiplied with, (U, N), by name; they are searched in this order.
        errors: word errors of each hypothesis, (U, N).
        bounds: range of a weight; without one it has no end. 0 must lie in it.
        seed: of the run; the stream is that of purpose "weight-search".
        present: (U, N), False at padding; None: there is none.
        starts: weights to begin from, beside 0.
        restarts: random starts beside these.

    Raises:
        InputError: no feature, a name that is not among them, a range without 0, or what `search_line` refuses.
    """
    names = list(features)
    limits = [_limits(name, bounds or {}) for name in names]
    for given in (bounds or {}, *starts):
        if unknown := set(given) - set(names):
            raise InputError(f"{sorted(unknown)} are not among the features {names}")
    if not names:
        raise InputError("there is no feature to weigh")
    search = _Search(base, [features[name] for name in names], errors, limits, present)
    generator = numpy_stream(seed, "weight-search")
    before = search.errors_at(np.zeros(len(names)))
    found = []
    for start in search.starts([[start.get(name, 0.0) for name in names] for start in starts], restarts, generator):
        found.append(search.climb(start, generator))
    weights, least = min(found, key=lambda end: end[1])
    return Tuned(
        weights=dict(zip(names, weights.tolist(), strict=True)),
        errors=least,
        errors_before=before,
        starts=tuple(end[1] for end in found),
        lines=search.lines,
    )


class _Search:
    def __init__(
        self, base: Floats, features: list[Floats], errors: Ints, limits: list[Bounds], present: Bools | None
    ) -> None:
        if any(np.shape(feature) != np.shape(base) for feature in features):
            raise InputError(f"features have shapes {[np.shape(f) for f in features]}, expected {np.shape(base)}")
        self.present = np.ones(np.shape(base), dtype=np.bool_) if present is None else present
        # padding may hold anything, even NaN, which would spread by 0 * NaN
        self.base = np.where(self.present, base, 0.0)
        self.features = np.stack([np.where(self.present, feature, 0.0) for feature in features])
        self.errors, self.limits, self.lines = errors, limits, 0
        # how large a weight must be for a feature to count as much as the first pass
        spread = _spread(self.base, self.present)
        self.scales = np.array([spread / (_spread(f, self.present) or 1.0) or 1.0 for f in self.features])

    def starts(self, given: list[list[float]], restarts: int, generator: np.random.Generator) -> Iterator[Floats]:
        low, high = np.array(self.limits).T
        yield np.zeros(len(self.limits))
        for start in given:
            yield np.clip(np.array(start, dtype=np.float64), low, high)
        for _ in range(restarts):
            yield np.clip(generator.normal(size=len(self.limits)) * self.scales, low, high)

    def climb(self, weights: Floats, generator: np.random.Generator) -> tuple[Floats, int]:
        """The weights that are reached from `weights`, and their errors."""
        least, count = self.errors_at(weights), len(weights)
        for _ in range(_ROUNDS):
            before = least
            axes = list(np.eye(count))
            if count > 1:
                axes += list(generator.normal(size=(_DIRECTIONS, count)) * self.scales)
            for direction in axes:
                step = self.line(weights, direction)
                # equal errors: the middle of an interval is better than its edge
                if step is not None and step.errors <= least:
                    moved = weights + step.weight * direction
                    if self.errors_at(moved) == step.errors:  # not so only where rounding decides
                        weights, least = moved, step.errors
            if least == before:
                break
        return weights, least

    def line(self, weights: Floats, direction: Floats) -> Line | None:
        """The best step from `weights` along `direction`; None where the bounds leave no room."""
        low, high = -math.inf, math.inf
        for weight, slope, (least, most) in zip(weights.tolist(), direction.tolist(), self.limits, strict=True):
            if slope:
                ends = sorted([(least - weight) / slope, (most - weight) / slope])
                low, high = max(low, ends[0]), min(high, ends[1])
        if not low < high:
            return None
        self.lines += 1
        base = self.base + np.tensordot(weights, self.features, axes=1)
        slopes = np.tensordot(direction, self.features, axes=1)
        return search_line(base, slopes, self.errors, low, high, present=self.present)

    def errors_at(self, weights: Floats) -> int:
        scores = np.where(self.present, self.base + np.tensordot(weights, self.features, axes=1), -np.inf)
        return int(self.errors[np.arange(len(scores)), scores.argmax(axis=1)].sum())


def _limits(name: str, bounds: Mapping[str, Bounds]) -> Bounds:
    low, high = bounds.get(name, (-math.inf, math.inf))
    if not low <= 0 <= high or not low < high:
        raise InputError(f"the range of the weight {name!r} must hold 0, found {low} to {high}")
    return low, high


def _spread(values: Floats, present: Bools) -> float:
    """Mean over lists of the standard deviation within a list."""
    counts = present.sum(axis=1)
    means = values.sum(axis=1) / counts
    squares = np.where(present, (values - means[:, None]) ** 2, 0.0).sum(axis=1) / counts
    return float(np.sqrt(squares).mean())
