"""The exact best weight along one line, for scores that are linear in it. Not here: several weights (`weight_search`).

Hypothesis i of a list scores ``base_i + w * slope_i``. As w grows, the list's choice walks along the upper envelope of
these lines, so the word errors of a whole corpus are piecewise constant in w, and they change only where two lines of
one list cross on that envelope (Och 2003). `search_line` visits every such point of every list, so nothing between
grid points can be missed: the errors it reports are the least that any w between `low` and `high` gives.

Chosen is the middle of the interval with the fewest errors; of several the widest, then the one nearest to 0. At the
middle of an interval no two hypotheses tie unless they always do; then the first one counts, as in `ErrorTable.choice`.
Intervals narrower than 1e-9 of the weight are passed over: rounding decides them, not the data.

Example:
    >>> base, slope = np.array([[0.0, -1.0]]), np.array([[0.0, 1.0]])     # the second one wins from w = 1 on
    >>> search_line(base, slope, np.array([[2, 0]]), 0.0, 4.0)
    Line(weight=2.5, errors=0, low=1.0, high=4.0, breakpoints=1)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tunelet.base.errors import InputError
from tunelet.evaluation.probabilities import Floats, Ints
from tunelet.evaluation.transcripts import Bools

#: Least width of an interval, relative to the size of its weight.
NARROW = 1e-9


@dataclass(frozen=True)
class Line:
    """The best weight along a line.

    Attributes:
        weight: the middle of the best interval.
        errors: word errors of all lists there.
        low, high: ends of the interval.
        breakpoints: weights at which the errors of the corpus can change.
    """

    weight: float
    errors: int
    low: float
    high: float
    breakpoints: int


def search_line(
    base: Floats,
    slope: Floats,
    errors: Ints,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    present: Bools | None = None,
) -> Line:
    """Find the weight with the fewest errors.

    Args:
        base: scores at weight 0, (U, N).
        slope: what the weight is multiplied with, (U, N).
        errors: word errors of each hypothesis, (U, N).
        low, high: range of the weight. Where it has no end, the outermost interval is taken to reach beyond the
            outermost breakpoint by a twentieth of the distance between the first and the last.
        present: (U, N), False at padding; None: there is none.

    Raises:
        InputError: shapes that differ, an empty range, or a number that is not finite.
    """
    base, slope, errors = _checked(base, slope, errors, present)
    if not low < high:
        raise InputError(f"the range of a weight needs low < high, found {low} and {high}")
    start, where, change = _events(base, slope, errors, low, high)
    order = np.argsort(where, kind="stable")
    where, change = where[order], change[order]
    last = np.flatnonzero(np.append(where[1:] != where[:-1], True)) if len(where) else np.zeros(0, dtype=np.int64)
    points = where[last]
    totals = start + np.concatenate([[0], np.cumsum(change)[last]]).astype(np.int64)
    edges = np.concatenate([[_beyond(points, low, -1)], points, [_beyond(points, high, 1)]])
    return _best(base, slope, errors, edges, totals)


def choices(base: Floats, slope: Floats, weight: float) -> Ints:
    """Index of the highest score of each list at a weight, the first of several, (U,); -inf in `base` is padding."""
    result: Ints = (base + weight * slope).argmax(axis=1)
    return result


def _checked(base: Floats, slope: Floats, errors: Ints, present: Bools | None) -> tuple[Floats, Floats, Ints]:
    present = np.ones(np.shape(base), dtype=np.bool_) if present is None else present
    shapes = [np.shape(array) for array in (base, slope, errors, present)]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2 or 0 in shapes[0]:
        raise InputError(f"base, slope and errors must be of one shape (U, N), found {shapes[:3]}")
    if not (np.isfinite(base[present]).all() and np.isfinite(slope[present]).all()):
        raise InputError("a score is NaN or infinite: every hypothesis needs a finite number from every scorer")
    if not present[:, 0].all():
        raise InputError("a list has no hypothesis at its first place")
    # padding can never win: it starts below everything and never rises
    return np.where(present, base, -np.inf), np.where(present, slope, 0.0), np.asarray(errors)


def _events(base: Floats, slope: Floats, errors: Ints, low: float, high: float) -> tuple[int, Floats, Ints]:
    """Errors just above `low`, and then each weight at which a list's choice changes, with the change of its errors.

    All lists walk along their envelopes at the same time, one corner a step.
    """
    real = np.isfinite(base)
    if math.isinf(low):
        first = np.where(real, slope, np.inf)
        lowest = first == first.min(axis=1, keepdims=True)
        current = np.where(lowest & real, base, -np.inf).argmax(axis=1)
    else:
        value = base + low * slope
        highest = value == value.max(axis=1, keepdims=True)
        current = np.where(highest & real, slope, -np.inf).argmax(axis=1)
    rows = np.arange(len(base))
    total = int(errors[rows, current].sum())
    at = np.full(len(base), low)
    found_where, found_change = [], []
    while len(rows):
        here = np.arange(len(rows))
        rise = slope - slope[here, current][:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = np.where((rise > 0) & real, (base[here, current][:, None] - base) / rise, np.inf)
        # a line that ties at the start, or was passed by rounding, is crossed at once
        crossing = np.where(np.isfinite(crossing), np.maximum(crossing, at[:, None]), np.inf)
        nearest = crossing.min(axis=1)
        following = np.where(crossing == nearest[:, None], slope, -np.inf)
        # of the lines that cross there, the steepest; of equal lines the one that scores higher, then the first
        steepest = following == following.max(axis=1, keepdims=True)
        chosen = np.where(steepest, base, -np.inf).argmax(axis=1)
        change = errors[here, chosen] - errors[here, current]
        goes_on = nearest < high
        counts = goes_on & (change != 0)
        found_where.append(nearest[counts])
        found_change.append(change[counts])
        base, slope, errors, real = base[goes_on], slope[goes_on], errors[goes_on], real[goes_on]
        current, at, rows = chosen[goes_on], nearest[goes_on], rows[goes_on]
    return total, np.concatenate(found_where), np.concatenate(found_change)


def _beyond(points: Floats, end: float, sign: int) -> float:
    if math.isfinite(end):
        return end
    if not len(points):
        return float(sign)
    outermost, span = float(points[0] if sign < 0 else points[-1]), float(points[-1] - points[0])
    return outermost + sign * (span / 20 if span > 0 else max(1.0, abs(outermost)))


def _best(base: Floats, slope: Floats, errors: Ints, edges: Floats, totals: Ints) -> Line:
    left, right = edges[:-1], edges[1:]
    wide = right - left > NARROW * np.maximum(1.0, np.maximum(np.abs(left), np.abs(right)))
    if not wide.any():
        wide = right - left >= (right - left).max()
    least = totals[wide].min()
    middles, widths = (left + right) / 2, right - left
    candidates = np.flatnonzero(wide & (totals == least))
    index = min(candidates.tolist(), key=lambda i: (-widths[i], abs(middles[i]), middles[i]))
    rows = np.arange(len(base))
    for part in (0.5, 0.382, 0.618, 0.25, 0.75):
        # three lines may meet in the very middle, though the choice between them does not change the errors
        weight = float(left[index] + part * widths[index])
        counted = int(errors[rows, choices(base, slope, weight)].sum())
        if counted == least:
            break
    return Line(weight, counted, float(left[index]), float(right[index]), len(edges) - 2)
