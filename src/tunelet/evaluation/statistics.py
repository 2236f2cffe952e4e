"""How far a score, or a difference of two scores, can be trusted. Not here: the scores, and any drawing.

Which question takes which function:

    one system, one test set             `wilson` interval of its accuracy
    one setting, several seeds           `seed_interval` of the mean over seeds
    two systems, same test examples      `mcnemar` for accuracy, `paired_bootstrap` for accuracy or F1
    two settings, several seeds each     `compare_over_seeds`
    several such tests in one table      `holm`

Example:
    >>> interval = wilson(1860, 2000)      # 93.0 % of 2,000
    >>> round(100 * interval.low, 1), round(100 * interval.high, 1)
    (91.8, 94.0)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from tunelet.base.errors import InputError
from tunelet.evaluation.bootstrap import METRICS, PairedDifference, compare_over_seeds, paired_bootstrap

__all__ = [
    "METRICS",
    "Interval",
    "McNemar",
    "PairedDifference",
    "compare_over_seeds",
    "holm",
    "mcnemar",
    "paired_bootstrap",
    "seed_interval",
    "wilson",
]


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Attributes:
        low, high: its ends, in the unit of the score.
        level: coverage, 0.95 for 95 %.
        method: how it was made: "wilson" or "t".
    """

    low: float
    high: float
    level: float
    method: str

    def to_json(self) -> dict[str, float | str]:
        """The fields by name."""
        return dict(vars(self))


@dataclass(frozen=True)
class McNemar:
    """Two systems on the same examples, where only one of them is right.

    Attributes:
        b: examples that the first has right and the second wrong.
        c: examples that the second has right and the first wrong.
        p: two-sided exact p-value of "both are equally often right".
    """

    b: int
    c: int
    p: float

    def to_json(self) -> dict[str, float]:
        """The fields by name."""
        return dict(vars(self))


def wilson(correct: int, n: int, *, level: float = 0.95) -> Interval:
    """Score interval of a proportion, in 0 ... 1 (Wilson 1927; without continuity correction).

    It stays inside 0 ... 1 and has a width at 0 and at n, where the usual ``p ± z * sqrt(p (1 - p) / n)`` has none.

    Args:
        correct: successes, 0 ... n.
        n: trials, at least 1.
        level: coverage.

    Raises:
        InputError: no trial, more successes than trials, or a level outside 0 ... 1.
    """
    if n < 1 or not 0 <= correct <= n:
        raise InputError(f"a proportion needs 0 <= correct <= n and n >= 1, found correct = {correct}, n = {n}")
    z = NormalDist().inv_cdf((1 + _checked(level)) / 2)
    share, spread = correct / n, z * z / n
    center = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    # at correct = 0 or n one end is exactly 0 or 1; rounding would leave it 1e-18 beside
    low = 0.0 if correct == 0 else center - half
    high = 1.0 if correct == n else center + half
    return Interval(low, high, level, "wilson")


def seed_interval(values: Sequence[float], *, level: float = 0.95) -> Interval | None:
    """Student's t interval of the mean over seeds: ``mean ± t * s / sqrt(k)`` with k - 1 degrees of freedom.

    It speaks of the seeds (initial weights, order, dropout) on this test set, not of other test sets. It is not
    clipped to 0 ... 1.

    Args:
        values: one score per seed.
        level: coverage.

    Returns:
        The interval, or None for a single value, from which no spread can be known.

    Raises:
        InputError: no value, or one that is not finite, or a level outside 0 ... 1.
    """
    if not values or not all(map(math.isfinite, values)):
        raise InputError(f"an interval over seeds needs finite scores, found {list(values)}")
    quantile = (1 + _checked(level)) / 2
    if len(values) == 1:
        return None
    half = float(special.stdtrit(len(values) - 1, quantile)) * stdev(values) / math.sqrt(len(values))
    return Interval(fmean(values) - half, fmean(values) + half, level, "t")


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> McNemar:
    """Exact test whether two systems are right equally often on the same examples (McNemar 1947).

    Under the null hypothesis each example that only one has right is a fair coin:
    ``p = min(1, 2 * P(X <= min(b, c)))``, X binomial with b + c trials of 1/2. No approximation by chi-square, which
    fails for small b + c.

    Args:
        correct_a: whether the first system is right, (n,) of bool.
        correct_b: the same for the second, example by example, (n,).

    Raises:
        InputError: no example, or the two do not have the same examples.
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise InputError(f"McNemar's test needs the same examples twice, found shapes {a.shape} and {b.shape}")
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    p = 2 * float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5))
    return McNemar(only_a, only_b, min(1.0, p))


def holm(pvalues: Sequence[float]) -> tuple[float, ...]:
    """p-values adjusted for being several (Holm 1979): the chance of any false alarm stays below the level.

    With p sorted upwards, ``adjusted_i = max over j <= i of min(1, (m - j + 1) * p_j)``, j from 1.

    Args:
        pvalues: m p-values, each in 0 ... 1, in any order.

    Returns:
        The adjusted p-values in the order given.

    Raises:
        InputError: a value is not in 0 ... 1.
    """
    if wrong := [p for p in pvalues if not 0 <= p <= 1]:
        raise InputError(f"p-values lie in 0 ... 1, found {wrong}")
    adjusted = [0.0] * len(pvalues)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(pvalues)), key=pvalues.__getitem__)):
        highest = max(highest, min(1.0, (len(pvalues) - rank) * pvalues[index]))
        adjusted[index] = highest
    return tuple(adjusted)


def _checked(level: float) -> float:
    if not 0 < level < 1:
        raise InputError(f"the level of an interval lies between 0 and 1, as in 0.95; found {level}")
    return level
