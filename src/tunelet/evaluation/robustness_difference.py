"""Is one rescorer more robust than another? A paired bootstrap of the difference of their RD. Not here: RD itself.

Both are measured on the same lists with the same perturbations. A draw takes utterances (or speakers) with
replacement; in it RD of either rescorer is computed from the errors before and after, summed over seeds. The seeds are
held fixed.

Example:
    >>> counts = {"before": np.array([2, 2, 1]), "after": np.array([3, 3, 2])}
    >>> rd_difference([counts["before"]], [counts["after"]], [counts["before"]], [counts["before"]], seed=1).difference
    0.6
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunelet.base.errors import InputError
from tunelet.evaluation.probabilities import Floats, Ints
from tunelet.evaluation.robustness import Robustness
from tunelet.evaluation.wer_statistics import resampled, two_sided, units_of


@dataclass(frozen=True)
class RdDifference:
    """How much more the first rescorer degrades than the second.

    Attributes:
        difference: ``rd_a - rd_b``.
        low, high: percentile interval over resamples.
        p: two-sided p-value of "no difference"; at least ``2 / (samples + 1)``.
        rd_a, rd_b: of the errors summed over seeds.
        unit: what was drawn again: "utterances" or "speakers".
        units, samples, level: how many, how often, and the coverage.
    """

    difference: float
    low: float
    high: float
    p: float
    rd_a: float
    rd_b: float
    unit: str
    units: int
    samples: int
    level: float = 0.95

    def to_json(self) -> dict[str, float | str]:
        """The fields by name."""
        return dict(vars(self))


def compare_robustness(
    a: Robustness,
    b: Robustness,
    seed: int,
    *,
    speakers: Sequence[str | None] | None = None,
    samples: int = 10_000,
    level: float = 0.95,
) -> RdDifference:
    """Compare two rescorers under the same perturbations.

    Raises:
        InputError: they were perturbed differently, or what `rd_difference` refuses.
    """
    if [(row.which, row.p, row.seed) for row in a.rows] != [(row.which, row.p, row.seed) for row in b.rows]:
        raise InputError("two rescorers are compared under the same perturbations: the same S, p and seeds")
    before_a, after_a = [row.each_before for row in a.rows], [row.each_after for row in a.rows]
    before_b, after_b = [row.each_before for row in b.rows], [row.each_after for row in b.rows]
    return rd_difference(before_a, after_a, before_b, after_b, seed, speakers=speakers, samples=samples, level=level)


def rd_difference(
    before_a: Sequence[Ints],
    after_a: Sequence[Ints],
    before_b: Sequence[Ints],
    after_b: Sequence[Ints],
    seed: int,
    *,
    speakers: Sequence[str | None] | None = None,
    samples: int = 10_000,
    level: float = 0.95,
) -> RdDifference:
    """Bootstrap the difference of two RD.

    Args:
        before_a, after_a: errors of each utterance, (U,), one array per seed, of the first rescorer.
        before_b, after_b: of the second.
        seed: of the run; the stream is that of purpose "rd-bootstrap".
        speakers: of each utterance; None: utterances are drawn.

    Raises:
        InputError: shapes that differ, a rescorer without an error before, or settings out of range.
    """
    columns = [np.sum(np.stack(part), axis=0) for part in (before_a, after_a, before_b, after_b)]
    sums, unit = units_of(columns, speakers)
    if not sums[:, 0].sum() or not sums[:, 2].sum():
        raise InputError("RD is not defined for a rescorer that makes no error before the perturbation")
    drawn = resampled(sums, seed, "rd-bootstrap", samples, level)
    drawn = drawn[(drawn[:, 0] > 0) & (drawn[:, 2] > 0)]
    differences = _rd(drawn[:, :2]) - _rd(drawn[:, 2:])
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    rd_a, rd_b = (float(_rd(sums[:, part].sum(axis=0, keepdims=True))[0]) for part in (slice(0, 2), slice(2, 4)))
    return RdDifference(
        difference=rd_a - rd_b,
        low=float(low),
        high=float(high),
        p=two_sided(differences),
        rd_a=rd_a,
        rd_b=rd_b,
        unit=unit,
        units=len(sums),
        samples=samples,
        level=level,
    )


def _rd(errors: Floats) -> Floats:
    """Errors before and after, (samples, 2), to RD, (samples,)."""
    result: Floats = (errors[:, 1] - errors[:, 0]) / errors[:, 0]
    return result
