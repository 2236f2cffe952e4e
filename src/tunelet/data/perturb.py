"""π(S, p): hypotheses in which words give way to others that sound alike. Our definition. Not here: what it does to a
rescorer (`evaluation.robustness`).

In the hypotheses S (``first``: the first one; ``all``: 1 ... N) each word that has a homophone is replaced, with
probability p, by one of them. Scores, references and everything else stay; so does the case of a word.

Each word has draws of its own, keyed by (seed, utterance, hypothesis number, position of the word). So the result does
not depend on the order or the batches in which lists come, and what is replaced at some p is also replaced, by the
same word, at every larger p: curves over p differ only by what was added.

Example:
    >>> from tunelet.data.homophones import Homophones
    >>> sounds = Homophones((("sea", "see"),), {"sea": "S IY1", "see": "S IY1"}, 1.0, 100)
    >>> from tunelet.data.nbest import Hypothesis, NBest
    >>> heard = NBest("a-1", (Hypothesis("I see the Sea", -1.0), Hypothesis("I SEE", -2.0)))
    >>> result = perturb([heard], sounds, "first", 1.0, seed=1)
    >>> result.lists[0].texts, result.replaced, result.words
    (('I sea the See', 'I SEE'), 2, 4)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tunelet.base.errors import InputError
from tunelet.base.streams import derive_seed
from tunelet.data.homophones import Homophones
from tunelet.data.nbest import NBest

#: Which hypotheses are perturbed.
Which = Literal["first", "all"]

_SPACE = re.compile(r"(\s+)")
# what may cling to a word without being part of it
_CORE = re.compile(r"^(\W*)(.*?)(\W*)$", re.DOTALL)
_RANGE = float(1 << 63)
_Parts = tuple[str, str, str, tuple[str, ...]]


@dataclass(frozen=True)
class Perturbed:
    """Lists after the perturbation.

    Attributes:
        lists: in the order given.
        which, p, seed: what was asked for.
        words: words of the hypotheses in S.
        replaceable: those of them that have a homophone.
        replaced: those of them that were replaced.
    """

    lists: tuple[NBest, ...]
    which: Which
    p: float
    seed: int
    words: int
    replaceable: int
    replaced: int

    @property
    def share_replaced(self) -> float:
        """Replaced words among all words of the hypotheses in S."""
        return self.replaced / self.words if self.words else 0.0


def perturb(lists: Sequence[NBest], homophones: Homophones, which: Which, p: float, seed: int) -> Perturbed:
    """Apply π(S, p) to lists.

    Args:
        which: S, as said above.
        p: chance of each word that has a homophone, 0 ... 1; 0 changes nothing.
        seed: of the run; the draws are those of purpose "homophone".

    Raises:
        InputError: p is not in 0 ... 1, or `which` is neither first nor all.
    """
    if not 0 <= p <= 1:
        raise InputError(f"p is a probability, 0 ... 1; found {p}")
    if which not in ("first", "all"):
        raise InputError(f"the hypotheses to perturb are 'first' or 'all'; found {which!r}")
    changed = []
    rewriter = _Rewriter(homophones, p, seed)
    for one in lists:
        texts = list(one.texts)
        for number in range(1, 2 if which == "first" else len(texts) + 1):
            texts[number - 1] = rewriter.rewrite(texts[number - 1], one.id, number)
        changed.append(one.with_texts(texts))
    return Perturbed(tuple(changed), which, p, seed, rewriter.words, rewriter.replaceable, rewriter.replaced)


class _Rewriter:
    """Rewrites hypotheses and counts what it does."""

    def __init__(self, homophones: Homophones, p: float, seed: int) -> None:
        self.words = self.replaceable = self.replaced = 0
        self._homophones, self._seed = homophones, seed
        self._bound = p * _RANGE
        # what stands between white space -> its parts, or None where nothing can be replaced
        self._known: dict[str, _Parts | None] = {}

    def rewrite(self, text: str, utterance: str, number: int) -> str:
        pieces = _SPACE.split(text)  # words and, at odd places, the white space between them, which stays as it is
        capitals = text.isupper()
        position = 0
        for place in range(0, len(pieces), 2):
            if pieces[place]:
                parts = self._parts(pieces[place])
                if parts is not None:
                    pieces[place] = self._replaced(parts, pieces[place], (utterance, number, position), capitals)
                position += 1
        self.words += position
        return "".join(pieces)

    def _replaced(self, parts: _Parts, chunk: str, key: tuple[str, int, int], capitals: bool) -> str:
        self.replaceable += 1
        if derive_seed(self._seed, "homophone", *key) >= self._bound:
            return chunk
        self.replaced += 1
        before, core, after, others = parts
        new = others[derive_seed(self._seed, "homophone", *key, "which") % len(others)]
        return f"{before}{_in_case_of(core, new, capitals)}{after}"

    def _parts(self, chunk: str) -> _Parts | None:
        if chunk not in self._known:
            before, core, after = _CORE.match(chunk).groups()  # type: ignore[union-attr]  # it matches any text
            others = self._homophones.others(core.lower())
            self._known[chunk] = (before, core, after, others) if others else None
        return self._known[chunk]


def _in_case_of(old: str, new: str, capitals: bool) -> str:
    """`new` in the case of `old`; the capital of I says nothing, unless all is in capitals."""
    if capitals or (old.isupper() and len(old) > 1):
        return new.upper()
    return new[0].upper() + new[1:] if old[0].isupper() and old[0] != "I" else new
