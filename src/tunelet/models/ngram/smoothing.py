"""From counts to probabilities: interpolated modified Kneser-Ney (Chen and Goodman 1999, section 4).

    P(w | h) = (a(hw) - D(a(hw))) / sum_v a(hv) + gamma(h) P(w | h'),       h' = h without its first word

a is the count at the highest order and for n-grams that begin with <s>, and below it the number of different words
before the n-gram. D has three values a level, from the numbers of n-grams with a = 1, 2, 3, 4. gamma is the mass
that is left. Below single words stands the uniform distribution over all words, <unk> and </s> among them, <s> not.
Not here: counting, look-up (`model`).

Example:
    >>> tables = smooth(count(["a b", "a a"], order=2))
    >>> round(float(np.exp(tables[0].log_p[2:].astype(float)).sum() + np.exp(tables[0].log_p[0])), 6)
    1.0
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunelet.base.errors import InputError
from tunelet.models.ngram.counting import BEGIN, WORD_BITS, Counts, Ints, Level

Floats = NDArray[np.float64]
#: Discounts where a text is too small to tell them.
_FALLBACK = (0.5, 1.0, 1.5)


@dataclass(frozen=True, eq=False)
class Table:
    """One level, ready for look-up.

    Attributes:
        keys: (M,) rising; the words themselves at level 1.
        log_p: (M,) float32, natural logarithm of P(last word | the words before).
        log_gamma: (M,) float32, of the mass left for shorter contexts when this n-gram is the context; 0 where it
            never is one.
        discounts: D for a = 1, 2, and 3 or more.
    """

    keys: Ints
    log_p: NDArray[np.float32]
    log_gamma: NDArray[np.float32]
    discounts: tuple[float, float, float]


def smooth(counts: Counts, prune: Sequence[int] = ()) -> tuple[Table, ...]:
    """Tables of all levels.

    Args:
        counts: of the text.
        prune: for each level, n-grams that occur at most so often are left out, and their mass goes to the shorter
            context; the numbers may not fall, and the first is 0. Missing ones are as the last.

    Raises:
        InputError: the numbers of `prune` fall or are negative, or single words are to be left out.
    """
    order = len(counts.levels)
    least = [*prune, *[prune[-1] if prune else 0] * (order - len(prune))]
    if least[0] != 0 or any(a > b for a, b in itertools.pairwise(least)) or len(least) > order:
        raise InputError(f"prune must be at most {order} numbers that begin with 0 and do not fall, found {prune}")
    tables: list[Table] = []
    held = np.arange(len(counts.levels[0]))  # the new number of each n-gram of the level below, -1 if left out
    below: Floats = np.empty(0)
    for number, level in enumerate(counts.levels):
        adjusted = _adjusted(counts, number)
        discounts = _discounts(adjusted)
        discount = np.array((0.0, *discounts))[np.minimum(adjusted, 3)]
        parents = level.parents if number else np.zeros(len(level), dtype=np.int64)
        width = len(counts.levels[number - 1]) if number else 1
        total = np.bincount(parents, weights=adjusted, minlength=width)
        kept = level.counts > least[number] if number else np.ones(len(level), dtype=bool)
        mass = (adjusted - discount) / np.where(total > 0, total, 1.0)[parents]
        used = np.bincount(parents, weights=np.where(kept, mass, 0.0), minlength=width)
        gamma = np.where(total > 0, np.maximum(1.0 - used, 0.0), 1.0)
        if number == 0:
            # no word is predicted to be <s>, so the uniform part leaves it out
            whole = mass + gamma[0] / (len(level) - 1)
            whole[BEGIN] = 0.0
        else:
            whole = mass + gamma[parents] * below[level.suffixes]
            tables[-1] = _with_gamma(tables[-1], gamma, held)
        below = whole
        tables.append(_table(level, whole, kept, held, number, discounts))
        held = np.where(kept, np.cumsum(kept) - 1, -1)
    return tuple(tables)


def _adjusted(counts: Counts, number: int) -> Ints:
    """a of each n-gram of a level."""
    level = counts.levels[number]
    if number + 1 == len(counts.levels):
        found = level.counts.copy()
    else:
        before = np.bincount(counts.levels[number + 1].suffixes, minlength=len(level))
        found = np.where(level.at_begin, level.counts, before)
    if number == 0:
        found[BEGIN] = 0
    return found


def _discounts(adjusted: Ints) -> tuple[float, float, float]:
    """D for a = 1, 2, and 3 or more (Chen and Goodman 1999, eq. 17)."""
    one, two, three, four = (int((adjusted == number).sum()) for number in (1, 2, 3, 4))
    if not (one and two and three and four):
        return _FALLBACK
    share = one / (one + 2 * two)
    found = (1 - 2 * share * two / one, 2 - 3 * share * three / two, 3 - 4 * share * four / three)
    return found if all(0 < d <= k for k, d in enumerate(found, start=1)) else _FALLBACK


def _with_gamma(table: Table, gamma: Floats, held: Ints) -> Table:
    """The level below, told what is left for its n-grams as contexts."""
    with np.errstate(divide="ignore"):
        logs = np.log(gamma[held >= 0]).astype(np.float32)
    return Table(table.keys, table.log_p, logs, table.discounts)


def _table(
    level: Level,
    whole: Floats,
    kept: NDArray[np.bool_],
    held: Ints,
    number: int,
    discounts: tuple[float, float, float],
) -> Table:
    keys = level.keys[kept]
    if number:
        # what is kept has kept first words: they occur at least as often
        keys = (held[keys >> WORD_BITS] << WORD_BITS) | (keys & ((1 << WORD_BITS) - 1))
    with np.errstate(divide="ignore"):
        logs = np.log(whole[kept]).astype(np.float32)
    return Table(keys, logs, np.zeros(len(keys), dtype=np.float32), discounts)
