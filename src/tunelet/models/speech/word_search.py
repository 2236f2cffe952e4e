"""Words out of the scores of a CTC head over characters: a beam search with a lexicon and an n-gram language model.

    text = argmax  log P(characters | sound) + weight log P(words) + word_score |words|

over the words that the language model knows (Hannun et al. 2014, "First-pass large vocabulary continuous speech
recognition using bi-directional recurrent DNNs"). The search is flashlight's, its language model KenLM, which reads
ours as an ARPA file. Not here: the scores (`small`), building the language model (`models.ngram`).

Example:
    >>> search = WordSearch(NGram.build(["the cat sat"], order=2), SearchWeights())
    >>> search.texts([scores])                                      # doctest: +SKIP
    ['the cat sat']
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunelet.base.errors import InputError, MissingExtraError, Problem
from tunelet.base.files import digest, sha256_bytes
from tunelet.models.ngram.arpa import write_arpa
from tunelet.models.ngram.model import NGram
from tunelet.models.speech.small import CHARACTERS

_BLANK, _SPACE = 0, 1 + CHARACTERS.index(" ")
#: log probability of what the frame behind the end is not: it is a space, which ends the last word
_UNLIKELY = -30.0


def require_search() -> None:
    """Say what is missing, before work is lost.

    Raises:
        MissingExtraError: the library of the search is not installed.
    """
    if find_spec("flashlight") is None:
        raise MissingExtraError("offline", "searching for words with a language model")


@dataclass(frozen=True)
class SearchWeights:
    """What a search weighs, and how far it looks.

    Attributes:
        weight: of the language model's natural log probabilities beside those of the characters.
        word_score: added for each word.
        beam: hypotheses that are kept.
        symbols: likeliest characters of a frame that are tried.
        threshold: hypotheses that are worse than the best by more are dropped, in nats.
    """

    weight: float = 1.0
    word_score: float = 0.0
    beam: int = 1000
    symbols: int = 15
    threshold: float = 25.0


class WordSearch:
    """See the top of the file.

    Args:
        language: of the words that may be written; those with other signs than `small.CHARACTERS` are left out.
        weights: what is weighed.

    Raises:
        InputError: the language model is of single words, which KenLM does not read.
    """

    def __init__(self, language: NGram, weights: SearchWeights) -> None:
        if language.order < 2:
            raise InputError(Problem("a search needs n-grams of two words at least, found single words", field="order"))
        self.language, self.weights = language, weights

    @cached_property
    def fingerprint(self) -> str:
        """Changes with everything that the texts depend on but the scores."""
        tables = [
            sha256_bytes(np.ascontiguousarray(part).tobytes())
            for table in self.language.tables
            for part in (table.keys, table.log_p, table.log_gamma)
        ]
        return digest([dataclasses.asdict(self.weights), list(self.language.vocabulary.words), tables])

    def weighing(self, weights: SearchWeights) -> WordSearch:
        """The same words, weighed in another way; what took time to load is shared."""
        other = WordSearch(self.language, weights)
        other.__dict__["_parts"] = self._parts
        return other

    def texts(self, scores: Sequence[NDArray[np.float32]]) -> list[str]:
        """The text of each clip, "" where no word was found.

        Args:
            scores: (F_i, 29) natural log probabilities of the blank and `small.CHARACTERS`, frame by frame.

        Raises:
            MissingExtraError: the library of the search is not installed.
        """
        return [self._text(clip) for clip in scores]

    def _text(self, clip: NDArray[np.float32]) -> str:
        end = np.full((1, clip.shape[1]), _UNLIKELY, dtype=np.float32)
        end[0, _SPACE] = 0.0
        emissions = np.ascontiguousarray(np.concatenate([clip.astype(np.float32), end]))
        found = self._decoder.decode(emissions.ctypes.data, *emissions.shape)
        words = self.language.vocabulary.words
        return " ".join(words[word] for word in (found[0].words if found else ()) if word >= 0)

    @cached_property
    def _decoder(self) -> Any:
        library, language, trie = self._parts
        weights = self.weights
        options = library.LexiconDecoderOptions(
            beam_size=weights.beam,
            beam_size_token=weights.symbols,
            beam_threshold=weights.threshold,
            lm_weight=weights.weight * math.log(10),  # KenLM's logarithms are of base 10
            word_score=weights.word_score,
            unk_score=-math.inf,
            sil_score=0.0,
            log_add=False,
            criterion_type=library.CriterionType.CTC,
        )
        return library.LexiconDecoder(options, trie, language, _SPACE, _BLANK, 0, [], False)

    @cached_property
    def _parts(self) -> tuple[Any, Any, Any]:
        """The library, its language model, and the tree of all words' spellings."""
        require_search()
        from flashlight.lib.text import decoder, dictionary
        from flashlight.lib.text.decoder import kenlm

        words = self.language.vocabulary.words
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "language.arpa"
            write_arpa(self.language, path)
            with _quiet():
                language = kenlm.KenLM(str(path), dictionary.Dictionary(list(words)))
        start = language.start(False)
        trie = decoder.Trie(len(CHARACTERS) + 1, _SPACE)
        for word, number in self.language.vocabulary.numbers.items():
            if all(character in CHARACTERS for character in word):
                _, score = language.score(start, number)
                trie.insert([1 + CHARACTERS.index(character) for character in word] + [_SPACE], number, score)
        trie.smear(decoder.SmearingMode.MAX)
        return decoder, language, trie


@contextmanager
def _quiet() -> Iterator[None]:
    """KenLM draws a progress bar on the process' standard error, past Python's; nothing else is said meanwhile."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
