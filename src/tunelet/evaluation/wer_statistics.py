"""How far a word error rate, or the reduction of one, can be trusted: the bootstrap. Not here: counting errors.

Words of one utterance, and utterances of one speaker, are not independent, so what is drawn again is the utterance
(Bisani & Ney 2004) or, where speakers are known, the speaker with all that he said: the larger of the two intervals
is the honest one. Pairs stay together: both systems are scored on the same draw.

Example:
    >>> found = paired_wer([1, 0, 2, 1], [0, 0, 1, 1], [5, 5, 5, 5], seed=1)
    >>> found.before, found.after, found.relative
    (0.2, 0.1, 0.5)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tunelet.base.errors import InputError
from tunelet.base.streams import numpy_stream
from tunelet.evaluation.probabilities import Floats
from tunelet.evaluation.transcripts import rate

#: Draws held at a time: 32 MiB of int64.
_CHUNK = 2**22


@dataclass(frozen=True)
class WerInterval:
    """A word error rate with its interval.

    Attributes:
        value: errors by words.
        low, high: percentile interval over resamples.
        errors, words: the counts.
        unit: what was drawn again: "utterances" or "speakers".
        units: how many of them there are.
        samples: resamples.
        level: coverage.
    """

    value: float
    low: float
    high: float
    errors: int
    words: int
    unit: str
    units: int
    samples: int
    level: float = 0.95

    def to_json(self) -> dict[str, float | str]:
        """The fields by name."""
        return dict(vars(self))


@dataclass(frozen=True)
class PairedWer:
    """How much lower a word error rate is after than before, on the same utterances.

    Attributes:
        before, after: the word error rates.
        reduction: ``before - after``; below 0 where it rose.
        low, high: percentile interval of the reduction.
        relative: ``reduction / before``; None if there was no error before.
        relative_low, relative_high: its interval, over the resamples that have errors before.
        p: two-sided p-value of "no reduction", by inverting the interval; at least ``2 / (samples + 1)``.
        words: of the references.
        unit, units, samples, level: as in `WerInterval`.
    """

    before: float
    after: float
    reduction: float
    low: float
    high: float
    relative: float | None
    relative_low: float | None
    relative_high: float | None
    p: float
    words: int
    unit: str
    units: int
    samples: int
    level: float = 0.95

    def to_json(self) -> dict[str, float | str | None]:
        """The fields by name."""
        return dict(vars(self))


def wer_interval(
    errors: ArrayLike,
    words: ArrayLike,
    seed: int,
    *,
    speakers: Sequence[str | None] | None = None,
    samples: int = 10_000,
    level: float = 0.95,
) -> WerInterval:
    """Bootstrap the word error rate of one system.

    Args:
        errors: of each utterance, (U,).
        words: of each reference, (U,).
        seed: of the run; the stream is that of purpose "wer-bootstrap".
        speakers: of each utterance; None: utterances are drawn.

    Raises:
        InputError: shapes that differ, no utterance, no word, an unknown speaker, or settings out of range.
    """
    sums, unit = units_of([errors, words], speakers)
    drawn = resampled(sums, seed, "wer-bootstrap", samples, level)
    low, high = _ends(drawn[:, 0] / np.maximum(drawn[:, 1], 1), level)
    all_errors, all_words = (int(value) for value in sums.sum(axis=0))
    return WerInterval(rate(all_errors, all_words), low, high, all_errors, all_words, unit, len(sums), samples, level)


def paired_wer(
    before: ArrayLike,
    after: ArrayLike,
    words: ArrayLike,
    seed: int,
    *,
    speakers: Sequence[str | None] | None = None,
    samples: int = 10_000,
    level: float = 0.95,
) -> PairedWer:
    """Bootstrap the reduction of the word error rate from one system to another on the same utterances.

    Exactly antisymmetric: swapping the systems negates the reduction and its interval and keeps p.

    Args:
        before, after: errors of each utterance, (U,) each.
        words, seed, speakers, samples, level: as for `wer_interval`.

    Raises:
        InputError: as for `wer_interval`.
    """
    sums, unit = units_of([before, after, words], speakers)
    drawn = resampled(sums, seed, "wer-bootstrap", samples, level)
    first, second, count = sums.sum(axis=0)
    reductions = (drawn[:, 0] - drawn[:, 1]) / np.maximum(drawn[:, 2], 1)
    low, high = _ends(reductions, level)
    relative = relative_low = relative_high = None
    if first:
        relative = float((first - second) / first)
        some = drawn[drawn[:, 0] > 0]
        relative_low, relative_high = _ends((some[:, 0] - some[:, 1]) / some[:, 0], level)
    return PairedWer(
        before=rate(int(first), int(count)),
        after=rate(int(second), int(count)),
        reduction=float((first - second) / count),
        low=low,
        high=high,
        relative=relative,
        relative_low=relative_low,
        relative_high=relative_high,
        p=two_sided(reductions),
        words=int(count),
        unit=unit,
        units=len(sums),
        samples=samples,
        level=level,
    )


def two_sided(differences: Floats) -> float:
    """p-value of "no difference" from resampled differences, by inverting the percentile interval."""
    # a resample counts on both sides when the difference is 0; +1 because the data themselves are one resample
    tail = min((differences <= 0).sum(), (differences >= 0).sum())
    return float(min(1.0, 2 * (int(tail) + 1) / (len(differences) + 1)))


def units_of(columns: Sequence[ArrayLike], speakers: Sequence[str | None] | None) -> tuple[Floats, str]:
    """Counts of each utterance to sums of each unit that is drawn, (units, columns), and what a unit is called.

    Raises:
        InputError: shapes that differ, no utterance, or an utterance without a speaker.
    """
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1 or shapes[0] == (0,):
        raise InputError(f"counts must be of one length U >= 1, found shapes {shapes}")
    table = np.stack(arrays, axis=1)
    if speakers is None:
        return table, "utterances"
    if len(speakers) != len(table):
        raise InputError(f"{len(speakers)} speakers for {len(table)} utterances")
    if None in speakers:
        raise InputError(f"{sum(one is None for one in speakers)} of {len(speakers)} utterances have no speaker")
    names, inverse = np.unique(np.array(speakers, dtype=str), return_inverse=True)
    sums = np.zeros((len(names), table.shape[1]))
    np.add.at(sums, inverse.reshape(-1), table)
    return sums, "speakers"


def resampled(sums: Floats, seed: int, purpose: str, samples: int, level: float) -> Floats:
    """Sums over units drawn with replacement, (units, columns) -> (samples, columns).

    Raises:
        InputError: no resample, or a level outside 0 ... 1.
    """
    if samples < 1 or not 0 < level < 1:
        raise InputError(f"the bootstrap needs samples >= 1 and a level between 0 and 1, found {samples} and {level}")
    generator = numpy_stream(seed, purpose)
    size = max(1, _CHUNK // len(sums))
    parts = []
    for start in range(0, samples, size):
        draws = generator.integers(0, len(sums), (min(size, samples - start), len(sums)))
        parts.append(np.stack([column[draws].sum(axis=1) for column in sums.T], axis=1))
    return np.concatenate(parts)


def _ends(values: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
