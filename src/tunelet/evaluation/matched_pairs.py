"""The matched-pairs test of two recognisers on the same speech (Gillick & Cox 1989). Not here: the bootstrap.

The speech is cut into segments such that errors of different segments are nearly independent. With Z_i the errors of
the first system minus those of the second in segment i, and the n segments in which either has an error,

    W = mean(Z) / (sd(Z) / sqrt(n)),    p = 2 (1 - Phi(|W|))

Two ways to cut, and the result says which:

    "good words"   as in the paper: wherever both systems have `buffer` or more reference words in a row right (and
                   nothing inserted between them), a segment ends; an utterance's end is one, too
    "utterances"   the simplification: an utterance is a segment

Alignments are those of `transcripts`; a word that was inserted belongs to the place before the next reference word.
The normal approximation asks for some fifty segments; with fewer, read the bootstrap.

Example:
    >>> found = matched_pairs(["a b c d e f g"], ["a x c d e f y"], ["a b c d e f y"], lambda text: text)
    >>> found.segments, found.errors_a, found.errors_b
    (2, 2, 1)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from rapidfuzz.distance import Levenshtein
from scipy import special

from tunelet.base.errors import InputError
from tunelet.data.normalise import Normaliser
from tunelet.evaluation.probabilities import Ints

Cut = Literal["good words", "utterances"]


@dataclass(frozen=True)
class MatchedPairs:
    """The test's result.

    Attributes:
        segments: n, those with an error of either system.
        errors_a, errors_b: all errors of either system.
        mean: mean of Z over the segments; above 0 where the first system has more errors.
        w: the statistic; None where Z does not vary.
        p: two-sided; 1.0 where both have the same errors in each segment, None where Z does not vary otherwise.
        cut: how the segments were cut.
    """

    segments: int
    errors_a: int
    errors_b: int
    mean: float
    w: float | None
    p: float | None
    cut: Cut

    def to_json(self) -> dict[str, float | str | None]:
        """The fields by name."""
        return dict(vars(self))


def matched_pairs(
    refs: Sequence[str],
    hyps_a: Sequence[str],
    hyps_b: Sequence[str],
    normalise: Normaliser,
    *,
    cut: Cut = "good words",
    buffer: int = 2,
) -> MatchedPairs:
    """Test whether two systems make equally many errors on the same utterances.

    Args:
        refs, hyps_a, hyps_b: of each utterance.
        normalise: applied to all three.
        cut: how segments are cut, as said above.
        buffer: how many words both must have right between two segments.

    Raises:
        InputError: lengths that differ, no utterance, a buffer below 1, or an unknown cut.
    """
    if not refs or not len(refs) == len(hyps_a) == len(hyps_b):
        raise InputError(f"the test needs the same utterances, found {len(refs)}, {len(hyps_a)} and {len(hyps_b)}")
    if buffer < 1 or cut not in ("good words", "utterances"):
        raise InputError(f"cut is 'good words' or 'utterances' and buffer at least 1, found {cut!r} and {buffer}")
    pairs: list[tuple[int, int]] = []
    for texts in zip(refs, hyps_a, hyps_b, strict=True):
        ref, a, b = (normalise(text).split() for text in texts)
        first, second = errors_by_place(ref, a), errors_by_place(ref, b)
        if cut == "utterances":
            pairs.append((int(first.sum()), int(second.sum())))
        else:
            pairs += _segments(first, second, buffer)
    kept = [pair for pair in pairs if pair != (0, 0)]
    z = np.array([a - b for a, b in kept], dtype=np.float64)
    mean = float(z.mean()) if len(z) else 0.0
    w = p = None
    if not z.any():
        p = 1.0
    elif len(z) > 1 and z.std(ddof=1) > 0:
        w = mean / (float(z.std(ddof=1)) / math.sqrt(len(z)))
        p = 2 * float(special.ndtr(-abs(w)))
    return MatchedPairs(len(z), sum(a for a, _ in kept), sum(b for _, b in kept), mean, w, p, cut)


def errors_by_place(ref: Sequence[str], hyp: Sequence[str]) -> Ints:
    """Errors at the 2 R + 1 places of a reference of R words.

    Place 2 i + 1 is word i (1 if it is substituted or deleted), place 2 i the gap before it (how many words are
    inserted there).
    """
    places = np.zeros(2 * len(ref) + 1, dtype=np.int64)
    for edit in Levenshtein.editops(ref, hyp):
        places[2 * edit.src_pos + (edit.tag != "insert")] += 1
    return places


def _segments(first: Ints, second: Ints, buffer: int) -> list[tuple[int, int]]:
    """Errors of either system in each stretch between `buffer` or more good words in a row."""
    bad = np.flatnonzero(first + second)
    if not len(bad):
        return []
    # between the places p and q of two errors lie the reference words at the odd places strictly between them
    good = bad[1:] // 2 - (bad[:-1] + 1) // 2
    ends = [*np.flatnonzero(good >= buffer).tolist(), len(bad) - 1]
    found, start = [], 0
    for end in ends:
        places = bad[start : end + 1]
        found.append((int(first[places].sum()), int(second[places].sum())))
        start = end + 1
    return found
