"""Word errors against one weight, the others held: the exact steps, thinned to what a plot can show.

Not here: choosing a weight (`line_search`, `weight_search`).

Example:
    >>> base, slope = np.array([[0.0, -1.0]]), np.array([[0.0, 1.0]])     # the second one wins from w = 1 on
    >>> found = weight_curve(base, slope, np.array([[2, 0]]), 1.5, high=4.0, points=5)
    >>> found.points
    ((0.0, 2), (1.0, 2), (1.5, 0), (2.0, 0), (3.0, 0), (4.0, 0))
    >>> found.errors, found.least, found.least_weight
    (0, 0, 2.5)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tunelet.base.errors import InputError
from tunelet.evaluation.line_search import choices, search_line
from tunelet.evaluation.probabilities import Floats, Ints
from tunelet.evaluation.transcripts import Bools

#: below it (near the smallest numbers that there are) a range has too few numbers for a grid
_NARROWEST = 1e-300


@dataclass(frozen=True)
class WeightCurve:
    """Word errors of a set of lists against one weight.

    Attributes:
        weight: the one that was chosen.
        errors: of all lists there.
        least, least_weight: the fewest errors of any weight from 0 to `high`, and the middle of the widest stretch of
            weights that has them: exact, not only among the points. Where scores tie at a point, as at 0 over a first
            pass without scores, and that point alone has fewer, it is the point.
        high: the largest weight.
        breakpoints: weights up to there at which the errors change.
        points: (weight, errors) by growing weight, the chosen one among them.
    """

    weight: float
    errors: int
    least: int
    least_weight: float
    high: float
    breakpoints: int
    points: tuple[tuple[float, int], ...]

    def to_json(self) -> dict[str, object]:
        """The fields by name."""
        return {**vars(self), "points": [list(point) for point in self.points]}


def weight_curve(
    base: Floats,
    slope: Floats,
    errors: Ints,
    weight: float,
    *,
    high: float | None = None,
    present: Bools | None = None,
    points: int = 199,
) -> WeightCurve:
    """The word errors for weights from 0 on.

    Args:
        base: scores at weight 0, those of all other features added, (U, N).
        slope: what the weight is multiplied with, (U, N).
        errors: word errors of each hypothesis, (U, N).
        weight: the chosen one, at least 0.
        high: the largest weight; None: three times the chosen one, or, if that is as good as 0, what makes the feature
            vary within lists three times as much as `base` does.
        present: (U, N), False at padding; None: there is none.
        points: evenly spaced weights, at least 2; the chosen one is added to them.

    Raises:
        InputError: a weight below 0, fewer than two points, or what `search_line` refuses.
    """
    if weight < 0 or points < 2:
        raise InputError(f"a curve needs a weight of at least 0 and two points, found {weight} and {points}")
    here = np.ones(np.shape(base), dtype=np.bool_) if present is None else present
    if high is None:
        widths = (3 * weight, 3 * _spread(base, here) / (_spread(slope, here) or 1.0), 1.0)
        high = next(width for width in widths if width > _NARROWEST)
    best = search_line(base, slope, errors, 0.0, high, present=here)
    base, slope = np.where(here, base, -np.inf), np.where(here, slope, 0.0)
    rows = np.arange(len(errors))

    def count(at: float) -> int:
        return int(errors[rows, choices(base, slope, at)].sum())

    # in six digits, and counted at what they are then
    grid = {float(f"{at:.6g}") for at in np.linspace(0.0, high, points).tolist()} | {float(weight)}
    counted = tuple((at, count(at)) for at in sorted(grid))
    tied = [(found, at) for at, found in counted if found < best.errors]
    least, least_weight = min(tied, default=(best.errors, best.weight))
    return WeightCurve(
        weight=float(weight),
        errors=count(weight),
        least=least,
        least_weight=least_weight,
        high=float(high),
        breakpoints=best.breakpoints,
        points=counted,
    )


def _spread(values: Floats, present: Bools) -> float:
    """Root of the mean square distance from the list's mean."""
    counts = present.sum(axis=1, keepdims=True)
    means = np.where(present, values, 0.0).sum(axis=1, keepdims=True) / counts
    return float(np.sqrt((np.where(present, values - means, 0.0) ** 2).sum() / counts.sum()))
