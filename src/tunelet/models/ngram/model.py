"""An n-gram language model: built from text, asked for many texts at once, kept in one safetensors file.

It is the classic control for rescoring: no network, two minutes for seventeen million words, and thousands of
hypotheses a second. It is a `models.scoring.scorer.Scorer`. Not here: how probabilities come about (`smoothing`).

Example:
    >>> model = NGram.build(["the cat sat", "the dog sat"], order=3)
    >>> a, b = model.score([["the cat sat", "the sat cat"]])[0]
    >>> bool(a > b), model.unknown([["the emu"]])
    (True, [array([1])])
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tunelet.base.errors import DamagedFileError, InputError
from tunelet.base.files import write_atomic
from tunelet.models.ngram.counting import BEGIN, UNKNOWN, Ints, Vocabulary, count, find
from tunelet.models.ngram.smoothing import Table, smooth
from tunelet.models.scoring.scorer import Lists, Progress, Scores, Unique

_VERSION = 1
#: Texts that are looked up at once; it bounds the memory.
_WINDOW = 20_000


@dataclass(frozen=True)
class Perplexity:
    """How well a model foretells a text.

    Attributes:
        tokens: words and sentence ends that were foretold.
        unknown: of those, words that the model does not know.
        log_p: sum of their natural log probabilities.
        log_p_known: the same without the unknown words.
    """

    tokens: int
    unknown: int
    log_p: float
    log_p_known: float

    @property
    def value(self) -> float:
        """Perplexity over all tokens."""
        return float(np.exp(-self.log_p / self.tokens))

    @property
    def known(self) -> float:
        """Perplexity over the tokens that are no unknown word, which stay in the contexts."""
        return float(np.exp(-self.log_p_known / (self.tokens - self.unknown)))


class NGram:
    """The model.

    Args:
        vocabulary: its words.
        tables: one for each length of n-gram.
        read: what it was built from: "sentences" and "words".
    """

    def __init__(self, vocabulary: Vocabulary, tables: Sequence[Table], read: dict[str, int]) -> None:
        self.vocabulary, self.tables, self.read = vocabulary, tuple(tables), dict(read)

    @classmethod
    def build(cls, lines: Iterable[str], order: int = 4, *, minimum_count: int = 1, prune: Sequence[int] = ()) -> NGram:
        """Build a model from sentences, words parted by blanks; see `counting.count` and `smoothing.smooth`.

        Raises:
            InputError: there is no word, or a setting is out of its range.
        """
        counts = count(lines, order, minimum_count=minimum_count)
        read = {"sentences": counts.sentences, "words": counts.words}
        return cls(counts.vocabulary, smooth(counts, prune), read)

    @property
    def order(self) -> int:
        """Words of the longest n-gram."""
        return len(self.tables)

    @property
    def sizes(self) -> tuple[int, ...]:
        """n-grams of each length."""
        return tuple(len(table.keys) for table in self.tables)

    def score(self, lists: Lists, *, progress: Progress | None = None) -> Scores:
        """log P(text and its end), in nats; unknown words count as <unk>. See `Scorer.score`."""
        unique = Unique.of(lists)
        values = np.zeros(len(unique.texts))
        for start in range(0, len(unique.texts), _WINDOW):
            texts = unique.texts[start : start + _WINDOW]
            _, log_p, owner = self._tokens(texts)
            values[start : start + len(texts)] = np.bincount(owner, weights=log_p, minlength=len(texts))
            if progress is not None:
                progress(start + len(texts), len(unique.texts))
        return unique.spread(values)

    def unknown(self, lists: Lists) -> list[NDArray[np.int64]]:
        """How many words of each text the model does not know: a feature of its own, to be weighed."""
        find_word = self.vocabulary.numbers
        return [
            np.array([sum(word not in find_word for word in text.split()) for text in texts], dtype=np.int64)
            for texts in lists
        ]

    def perplexity(self, texts: Sequence[str]) -> Perplexity:
        """Perplexity of texts, each with its end.

        Raises:
            InputError: there is no text.
        """
        if not texts:
            raise InputError("there is no text to foretell")
        words, log_p, _ = self._tokens(texts)
        strange = words == UNKNOWN
        return Perplexity(len(words), int(strange.sum()), float(log_p.sum()), float(log_p[~strange].sum()))

    def save(self, path: Path) -> None:
        """Write the model to one file, atomically."""
        arrays: dict[str, Any] = {
            "words": np.frombuffer("\n".join(self.vocabulary.words[BEGIN + 2 :]).encode(), dtype=np.uint8)
        }
        for number, table in enumerate(self.tables, start=1):
            arrays |= {f"{number}/keys": table.keys, f"{number}/log_p": table.log_p, f"{number}/gamma": table.log_gamma}
        told = {
            "version": _VERSION,
            "order": self.order,
            "read": self.read,
            "discounts": [table.discounts for table in self.tables],
        }
        write_atomic(path, save(arrays, metadata={"tunelet_ngram": json.dumps(told)}))

    @classmethod
    def load(cls, path: Path) -> NGram:
        """Read what `save` wrote.

        Raises:
            DamagedFileError: it is no such file, or a part is missing.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                told = json.loads((file.metadata() or {})["tunelet_ngram"])
                if told["version"] != _VERSION:
                    raise DamagedFileError(f"{path}: version {told['version']}, expected {_VERSION}: build it again")
                words = file.get_tensor("words").tobytes().decode().split("\n")
                tables = [
                    Table(
                        file.get_tensor(f"{number}/keys"),
                        file.get_tensor(f"{number}/log_p"),
                        file.get_tensor(f"{number}/gamma"),
                        tuple(told["discounts"][number - 1]),
                    )
                    for number in range(1, told["order"] + 1)
                ]
                return cls(Vocabulary.of(word for word in words if word), tables, told["read"])
        except (SafetensorError, OSError, KeyError, ValueError, TypeError, IndexError) as error:
            raise DamagedFileError(f"{path}: not an n-gram model of ours ({type(error).__name__}: {error})") from None

    def _tokens(self, texts: Sequence[str]) -> tuple[Ints, NDArray[np.float64], Ints]:
        """For every word and sentence end of all texts: its number, log P, and the text that it is of."""
        flat, ends = self.vocabulary.flat(texts)
        lengths = np.diff(ends, prepend=0)
        owner = np.repeat(np.arange(len(texts)), lengths)
        begins = np.repeat(ends - lengths, lengths)
        position = np.arange(len(flat)) - begins  # in its sentence, 0 at <s>
        room = np.repeat(ends, lengths) - np.arange(len(flat))
        # ending[n - 1][t]: the number of the n-gram that ends at token t, or -1
        starting, ending = flat, [flat]
        for length, table in enumerate(self.tables[1:], start=2):
            found = np.full(len(flat), -1, dtype=np.int64)
            some = np.flatnonzero((room >= length) & (starting >= 0))
            found[some] = find(table.keys, starting[some], flat[some + length - 1])
            shifted = np.full(len(flat), -1, dtype=np.int64)
            shifted[length - 1 :] = found[: len(flat) - length + 1]
            ending.append(shifted)
            starting = found
        log_p = self.tables[0].log_p[flat].astype(np.float64)
        # from short contexts to long ones: a longer n-gram, where there is one, replaces what was found so far, and
        # a context without that word costs the mass that it leaves for shorter ones
        for length in range(2, self.order + 1):
            here = ending[length - 1]
            context = np.full(len(flat), -1, dtype=np.int64)
            context[1:] = ending[length - 2][:-1]
            usable = (position >= length - 1) & (context >= 0)
            back_off = usable & (here < 0)
            log_p[back_off] += self.tables[length - 2].log_gamma[context[back_off]]
            known = usable & (here >= 0)
            log_p[known] = self.tables[length - 1].log_p[here[known]]
        said = position > 0
        return flat[said], log_p[said], owner[said]
