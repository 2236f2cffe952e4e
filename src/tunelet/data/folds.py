"""Parts of a set of N-best lists with no speaker in two of them. Not here: who speaks (`data.speakers`).

A rescorer that has heard a speaker's other sentences looks better than it is, so lists are parted by speaker, never by
utterance. Parts are balanced by words, because a word error rate counts words.

Example:
    >>> from tunelet.data.nbest import Hypothesis, NBest
    >>> lists = [NBest(str(i), (Hypothesis("a b"),), speaker=str(i // 3)) for i in range(12)]
    >>> [len(fold) for fold in speaker_folds(lists, 2, seed=1)]
    [6, 6]
"""

from __future__ import annotations

from collections.abc import Sequence

from tunelet.base.errors import DataError, Problem
from tunelet.base.streams import numpy_stream
from tunelet.data.nbest import NBest


def speaker_folds(lists: Sequence[NBest], folds: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Positions of the lists in each of several folds; every list is in exactly one.

    The speakers come in an order drawn from the stream (seed, "speaker-folds"), each to the fold that has the fewest
    words so far; so two folds differ by at most the words of one speaker.

    Raises:
        DataError: a list has no speaker, or there are fewer speakers than folds.
    """
    words = _words(lists)
    if folds < 2 or folds > len(words):
        raise DataError(
            Problem(
                f"{len(words)} speakers cannot be parted into {folds} folds, expected 2 to {len(words)}",
                hint="speakers stay whole, so that no fold knows another's voices",
            )
        )
    sizes = [0] * folds
    fold_of: dict[str, int] = {}
    for speaker in _drawn(words, seed, "speaker-folds"):
        fold_of[speaker] = min(range(folds), key=sizes.__getitem__)
        sizes[fold_of[speaker]] += words[speaker]
    parts: list[list[int]] = [[] for _ in range(folds)]
    for position, one in enumerate(lists):
        parts[fold_of[str(one.speaker)]].append(position)
    return tuple(map(tuple, parts))


def held_out(lists: Sequence[NBest], share: float, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Positions of the lists that are kept and of those that are held out.

    Speakers are held out in an order drawn from the stream (seed, "held-out") as long as that brings the words that
    are held out nearer to `share` of all; at least one speaker is held out and one is kept.

    Raises:
        DataError: a list has no speaker, there are fewer than two speakers, or `share` is not between 0 and 1.
    """
    words = _words(lists)
    if not 0 < share < 1 or len(words) < 2:
        raise DataError(
            f"holding out needs a share between 0 and 1 and two speakers, found {share} and {len(words)} speakers"
        )
    wanted, have = share * sum(words.values()), 0
    held: set[str] = set()
    for speaker in _drawn(words, seed, "held-out"):
        nearer = abs(have + words[speaker] - wanted) < abs(have - wanted)
        if len(held) < len(words) - 1 and (not held or nearer):
            held.add(speaker)
            have += words[speaker]
    kept = tuple(i for i, one in enumerate(lists) if one.speaker not in held)
    return kept, tuple(i for i, one in enumerate(lists) if one.speaker in held)


def _words(lists: Sequence[NBest]) -> dict[str, int]:
    unknown = [one.id for one in lists if one.speaker is None]
    if unknown:
        raise DataError(
            Problem(
                f"{len(unknown)} of {len(lists)} lists have no speaker, such as {unknown[0]!r}",
                field="speaker",
                hint="give each list a speaker, or speaker: librispeech if the ids are LibriSpeech's",
            )
        )
    words: dict[str, int] = {}
    for one in lists:
        words[str(one.speaker)] = words.get(str(one.speaker), 0) + one.words
    return words


def _drawn(words: dict[str, int], seed: int, purpose: str) -> list[str]:
    speakers = sorted(words)  # the order of the lists must not matter
    return [speakers[i] for i in numpy_stream(seed, purpose).permutation(len(speakers))]
