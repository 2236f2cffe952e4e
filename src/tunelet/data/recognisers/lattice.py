"""The word lattice of a decoder, and the N best word sequences in it. Not here: decoding, or where lattices come from.

A lattice is a graph of words in time. A path from its first to its last node is a hypothesis; its score is

    acoustic + weight * language + penalty * words

in nats, where the language model sees words only, never silences. Paths that say the same words are one hypothesis,
with the score of the best of them.

Example:
    >>> edges = {0: [(1, -5.0), (2, -4.0)], 1: [(3, -1.0)], 2: [(3, -3.0)]}
    >>> lattice = Lattice((None, "sea", "see", None), edges, 0, 3)
    >>> [(path.text, path.total) for path in n_best(lattice, 2, lambda history, word: 0.0)]
    [('sea', -6.0), ('see', -7.0)]
"""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tunelet.base.errors import DataError, Problem

#: Log probability, in nats, of a word after the words before it: ``(("<s>", "the"), "sea")``. The end of a sentence is
#: the word ``</s>``. At most two words are told; fewer, without ``<s>``, where what was before them is left open.
Language = Callable[[tuple[str, ...], str], float]

START, END = "<s>", "</s>"

_FILLER = re.compile(r"<.*>|\[.*\]|\+\+.*\+\+")
_VARIANT = re.compile(r"\(\d+\)$")


@dataclass(frozen=True)
class Lattice:
    """Words and how they may follow each other.

    Attributes:
        words: of each node; None: silence, noise, the start or the end.
        exits: for each node the nodes that may follow, with the acoustic score (nats) of this node when they do.
        start: the first node.
        end: the last node.
    """

    words: tuple[str | None, ...]
    exits: Mapping[int, Sequence[tuple[int, float]]]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Path:
    """A word sequence and its scores in nats; `total` is weighted as the module says."""

    words: tuple[str, ...]
    total: float
    acoustic: float
    language: float

    @property
    def text(self) -> str:
        """The words with single spaces."""
        return " ".join(self.words)


def plain_word(word: str) -> str | None:
    """A word of a pronouncing dictionary as one writes it: without ``(2)``; None for silence, noise and ``<s>``."""
    word = _VARIANT.sub("", word)
    return None if not word or _FILLER.fullmatch(word) else word


def plain_text(text: str) -> str:
    """The words of a recogniser's answer without fillers and marks of pronunciation."""
    return " ".join(word for part in text.split() if (word := plain_word(part)) is not None)


def parse_lattice(text: str, name: str = "lattice") -> Lattice:
    """A lattice in the text format of Sphinx.

    Raises:
        DataError: it does not have that format.
    """
    words: dict[int, str | None] = {}
    exits: dict[int, list[tuple[int, float]]] = {}
    marks: dict[str, int] = {}
    nats = math.log(1.0001)  # scores are integers in this base
    part = ""
    for number, line in enumerate(text.split("\n"), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            if fields[0] == "#":
                if fields[1:2] == ["-logbase"]:
                    nats = math.log(float(fields[2]))
            elif fields[0] in ("Nodes", "Edges", "End"):
                part = fields[0]
            elif fields[0] in ("Initial", "Final"):
                marks[fields[0]] = int(fields[1])
            elif part == "Nodes" and fields[0].isdigit():
                words[int(fields[0])] = plain_word(fields[1])
            elif part == "Edges":
                exits.setdefault(int(fields[0]), []).append((int(fields[1]), int(fields[2]) * nats))
        except (ValueError, IndexError):
            raise DataError(Problem(f"not a line of a Sphinx lattice: {line[:60]!r}", name, number)) from None
    known = len(words)
    places = [*marks.values(), *exits, *(to for following in exits.values() for to, _ in following)]
    if part != "End" or len(marks) != 2 or sorted(words) != list(range(known)) or max(places) >= known:
        raise DataError(Problem("not a whole Sphinx lattice: nodes, edges or the end are missing", name))
    nodes = tuple(words[node] for node in range(known))
    return Lattice(nodes, exits, marks["Initial"], marks["Final"])


def n_best(
    lattice: Lattice,
    n: int,
    language: Language,
    *,
    weight: float = 1.0,
    penalty: float = 0.0,
    width: int | None = None,
    beam: float = 200.0,
    only: Sequence[str] | None = None,
) -> list[Path]:
    """The `n` best word sequences, best first; fewer where the lattice has no more.

    A first pass with pairs of words drops what lies `beam` below the best path. Then, at each node, the `width` best
    partial sequences are kept, with the exact scores of three words. It is exact where neither is a limit.

    Args:
        language: scores a word after the words before it.
        weight: of the language score.
        penalty: added for each word.
        width: None: the larger of 20 and `n`.
        beam: in the units of the total.
        only: look for this word sequence alone.
    """
    width = max(20, n) if width is None else width
    wanted = None if only is None else tuple(only)
    order = _in_order(lattice)
    exits = lattice.exits if wanted is not None else _pruned(lattice, order, language, weight, penalty, beam)
    known: dict[tuple[tuple[str, ...], str], float] = {}

    def likely(words: tuple[str, ...], word: str) -> float:
        key = (words[-2:] if len(words) > 1 else (START, *words), word)
        if key not in known:
            known[key] = language(*key)
        return known[key]

    partial: dict[int, dict[tuple[str, ...], _Score]] = {lattice.start: {(): (0.0, 0.0, 0.0)}}
    for node in order:
        here = partial.pop(node, {})
        if node == lattice.end:
            paths = [
                Path(words, total + weight * (end := likely(words, END)), heard, said + end)
                for words, (total, heard, said) in here.items()
                if wanted is None or words == wanted
            ]
            # ties by the words, so that the list does not hang on the order of the file
            return sorted(paths, key=lambda path: (-path.total, path.words))[:n]
        best = heapq.nlargest(width, here.items(), key=_total) if len(here) > width else list(here.items())
        for to, acoustic in exits.get(node, ()):
            word, there = lattice.words[to], partial.setdefault(to, {})
            for words, (total, heard, said) in best:
                new, longer = total + acoustic, words
                if word is not None:
                    longer = (*words, word)
                    if wanted is not None and longer != wanted[: len(longer)]:
                        continue
                    language_score = likely(words, word)
                    new += weight * language_score + penalty
                    said += language_score
                if longer not in there or new > there[longer][0]:
                    there[longer] = (new, heard + acoustic, said)
    return []


#: total, acoustic, language
_Score = tuple[float, float, float]


def _total(item: tuple[tuple[str, ...], _Score]) -> float:
    return item[1][0]


def _pruned(
    lattice: Lattice, order: Sequence[int], language: Language, weight: float, penalty: float, beam: float
) -> dict[int, list[tuple[int, float]]]:
    """The exits that lie on a path at most `beam` below the best one, where only pairs of words are scored."""
    scored: dict[int, list[tuple[int, float, float]]] = {}
    known: dict[tuple[str | None, str | None], float] = {}
    for node in order:
        before = START if node == lattice.start else lattice.words[node]
        for to, acoustic in lattice.exits.get(node, ()):
            word = END if to == lattice.end else lattice.words[to]
            if (before, word) not in known:
                # after silence the word before it is not known here
                said = 0.0 if word is None else language(() if before is None else (before,), word)
                known[before, word] = weight * said + (0.0 if word in (None, END) else penalty)
            scored.setdefault(node, []).append((to, acoustic, acoustic + known[before, word]))
    forward = dict.fromkeys(order, -math.inf) | {lattice.start: 0.0}
    for node in order:
        for to, _, score in scored.get(node, ()):
            forward[to] = max(forward[to], forward[node] + score)
    backward = dict.fromkeys(order, -math.inf) | {lattice.end: 0.0}
    for node in reversed(order):
        for to, _, score in scored.get(node, ()):
            backward[node] = max(backward[node], score + backward[to])
    least = forward.get(lattice.end, -math.inf) - beam
    return {
        node: [(to, acoustic) for to, acoustic, score in following if forward[node] + score + backward[to] >= least]
        for node, following in scored.items()
    }


def _in_order(lattice: Lattice) -> list[int]:
    """The nodes that are reached from the start, each after all from which it is reached."""
    order: list[int] = []
    state: dict[int, bool] = {lattice.start: False}  # False: being walked, True: done
    stack = [(lattice.start, iter(lattice.exits.get(lattice.start, ())))]
    while stack:
        node, following = stack[-1]
        for to, _ in following:
            if to not in state:
                state[to] = False
                stack.append((to, iter(lattice.exits.get(to, ()))))
                break
            if not state[to]:
                raise DataError(Problem("the lattice has a cycle: time cannot go back"))
        else:
            state[node] = True
            order.append(node)
            stack.pop()
    return order[::-1]
