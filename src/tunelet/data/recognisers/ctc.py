"""Prefix beam search over the frames of a CTC model. Not here: the model, or a language model in the search.

CTC gives each text the probability of all alignments that collapse to it: repeats become one symbol, then blanks drop
out. The search extends prefixes frame by frame and adds up, for each prefix, the alignments that end in a blank and
those that end in its last symbol (Hannun et al. 2014, arXiv 1408.2873, without its language model).

Example:
    >>> frames = np.log(np.array([[0.4, 0.6], [0.4, 0.6]]))         # symbols: blank, a
    >>> [(text, round(float(np.exp(score)), 2)) for text, score in prefix_beam_search(frames, beams=4)]
    [((1,), 0.84), ((), 0.16)]
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Prefix = tuple[int, ...]

_NEVER = -math.inf


def prefix_beam_search(
    frames: NDArray[np.floating], *, beams: int, blank: int = 0, symbols: int | None = None
) -> list[tuple[Prefix, float]]:
    """The likeliest texts and their log probabilities, best first.

    With at least as many beams as there are prefixes the probabilities are exact; fewer lose alignments.

    Args:
        frames: (time, vocabulary) log probabilities.
        beams: prefixes that are kept after each frame.
        blank: the symbol that stands for none.
        symbols: at each frame only so many of the likeliest symbols are tried; None: all.
    """
    held: dict[Prefix, tuple[float, float]] = {(): (0.0, _NEVER)}  # log probability with a blank last, and without
    for frame in frames:
        blank_score = float(frame[blank])
        tried = _likeliest(frame, symbols, blank)
        ending: dict[Prefix, list[float]] = {}
        for prefix, (empty, full) in held.items():
            whole = _add(empty, full)
            here = ending.setdefault(prefix, [_NEVER, _NEVER])
            here[0] = _add(here[0], whole + blank_score)
            if prefix:
                here[1] = _add(here[1], full + float(frame[prefix[-1]]))
            for symbol in tried:
                # the same symbol again is another one only after a blank
                score = (empty if prefix and symbol == prefix[-1] else whole) + float(frame[symbol])
                longer = ending.setdefault((*prefix, symbol), [_NEVER, _NEVER])
                longer[1] = _add(longer[1], score)
        best = sorted(ending.items(), key=lambda item: (-_add(*item[1]), item[0]))[:beams]
        held = {prefix: (empty, full) for prefix, (empty, full) in best}
    found = [(prefix, _add(*scores)) for prefix, scores in held.items()]
    return [(prefix, score) for prefix, score in found if score > _NEVER]


def _likeliest(frame: NDArray[np.floating], symbols: int | None, blank: int) -> list[int]:
    if symbols is None or symbols >= len(frame):
        chosen = np.arange(len(frame))
    else:
        chosen = np.sort(np.argpartition(-frame, symbols)[:symbols])
    return [int(symbol) for symbol in chosen if symbol != blank]


def _add(first: float, second: float) -> float:
    """log(exp(first) + exp(second))."""
    if first < second:
        first, second = second, first
    return first if second == _NEVER else first + math.log1p(math.exp(second - first))
