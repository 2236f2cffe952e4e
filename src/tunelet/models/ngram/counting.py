"""Counts of all word sequences up to some length, as sorted arrays. Not here: probabilities (`smoothing`).

An n-gram is named by the number of its first n - 1 words in the level below, and its last word; the two make one
64-bit key, and a level is the sorted array of its keys. So a level of ten million n-grams costs eight bytes each and no
Python object, and an n-gram is found by n binary searches. A sentence is <s> w_1 .. w_k </s> with one <s>.

Example:
    >>> counts = count(["a b", "a a"], order=2)
    >>> counts.vocabulary.words, len(counts.levels[1])
    (('<unk>', '<s>', '</s>', 'a', 'b'), 5)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunelet.base.errors import InputError, Problem

Ints = NDArray[np.int64]
UNKNOWN, BEGIN, END = 0, 1, 2
SPECIAL = ("<unk>", "<s>", "</s>")
#: Bits of a key that hold the last word.
WORD_BITS = 22
_CHUNK = 1 << 16


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Words and their numbers; the first three are `SPECIAL`, the rest sorted.

    Attributes:
        words: by number.
        numbers: of each word that is not special: such a word in a text is an unknown one.
    """

    words: tuple[str, ...]
    numbers: dict[str, int]

    @classmethod
    def of(cls, words: Iterable[str]) -> Vocabulary:
        """The vocabulary of `words`, which are different and not special."""
        ordered = (*SPECIAL, *sorted(words))
        if len(ordered) >= 1 << WORD_BITS:
            raise InputError(
                Problem(f"found {len(ordered)} words, at most {1 << WORD_BITS} fit", hint="raise minimum_count")
            )
        return cls(ordered, {word: i for i, word in enumerate(ordered) if i > END})

    def __len__(self) -> int:
        return len(self.words)

    def flat(self, lines: Iterable[str]) -> tuple[Ints, Ints]:
        """All sentences one after the other as numbers, <s> and </s> included; and where each ends (exclusive)."""
        find, parts, lengths = self.numbers.get, [], []
        held: list[int] = []
        for line in lines:
            before = len(held)
            held.append(BEGIN)
            held.extend([find(word, UNKNOWN) for word in line.split()])
            held.append(END)
            lengths.append(len(held) - before)
            if len(held) > _CHUNK:
                parts.append(np.array(held, dtype=np.int32))
                held = []
        parts.append(np.array(held, dtype=np.int32))
        return np.concatenate(parts).astype(np.int64), np.cumsum(np.array(lengths, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Level:
    """The n-grams of one length that occur.

    Attributes:
        keys: (M,) rising; the words themselves at level 1.
        counts: (M,) how often each occurs.
        suffixes: (M,) the number of its last n - 1 words in the level below; empty at level 1.
        at_begin: (M,) whether its first word is <s>.
    """

    keys: Ints
    counts: Ints
    suffixes: NDArray[np.int32]
    at_begin: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def parents(self) -> Ints:
        """(M,) the number of its first n - 1 words in the level below."""
        return self.keys >> WORD_BITS


@dataclass(frozen=True, eq=False)
class Counts:
    """What was counted.

    Attributes:
        vocabulary: of the text.
        levels: of length 1, 2, ... order.
        sentences, words: how many were read, <s> and </s> not among the words.
    """

    vocabulary: Vocabulary
    levels: tuple[Level, ...]
    sentences: int
    words: int


def count(lines: Iterable[str], order: int, *, minimum_count: int = 1) -> Counts:
    """Count the n-grams of a text up to length `order`.

    Args:
        lines: sentences, words parted by blanks. They are read once where `minimum_count` is 1, and held as numbers.
        order: longest n-gram, at least 1.
        minimum_count: rarer words count as the unknown word.

    Raises:
        InputError: there is no word, or there are too many different ones.
    """
    if order < 1 or minimum_count < 1:
        raise InputError(f"order and minimum_count must be at least 1, found {order} and {minimum_count}")
    held = [line for line in lines if line and not line.isspace()]
    frequency: Counter[str] = Counter()
    for line in held:
        frequency.update(line.split())
    if not frequency:
        raise InputError("there is no word to count")
    known = [word for word, number in frequency.items() if number >= minimum_count and word not in SPECIAL]
    vocabulary = Vocabulary.of(known)
    flat, ends = vocabulary.flat(held)
    sentences = len(held)
    del held
    # how many tokens there are from a token to the end of its sentence, itself included
    room = np.repeat(ends, np.diff(ends, prepend=0)) - np.arange(len(flat))
    nodes = flat
    occurs = np.bincount(flat, minlength=len(vocabulary))
    words = np.arange(len(vocabulary), dtype=np.int64)
    levels = [Level(words, occurs, np.empty(0, dtype=np.int32), words == BEGIN)]
    for length in range(2, order + 1):
        starts = np.flatnonzero(room >= length)
        wanted = (nodes[starts] << WORD_BITS) | flat[starts + length - 1]
        keys, inverse, number = np.unique(wanted, return_inverse=True, return_counts=True)
        suffixes = np.empty(len(keys), dtype=np.int32)
        suffixes[inverse] = nodes[starts + 1]
        at_begin = levels[-1].at_begin[keys >> WORD_BITS]
        levels.append(Level(keys, number.astype(np.int64), suffixes, at_begin))
        nodes = np.full(len(flat), -1, dtype=np.int64)
        nodes[starts] = inverse
    return Counts(vocabulary, tuple(levels), sentences, int(occurs.sum()) - 2 * sentences)


def find(keys: Ints, parents: NDArray[np.integer[Any]], words: Ints) -> Ints:
    """The number of each n-gram (parent, word) in a level, -1 where it is not, or the parent is -1."""
    wanted = (parents.astype(np.int64) << WORD_BITS) | words
    # sorted and without repeats, so that neighbouring searches touch neighbouring memory
    unique, back = np.unique(wanted, return_inverse=True)
    places = np.minimum(np.searchsorted(keys, unique), max(0, len(keys) - 1))
    found = np.where(keys[places] == unique, places, -1) if len(keys) else np.full(len(unique), -1)
    answer: Ints = np.where(parents >= 0, found[back], -1)
    return answer
