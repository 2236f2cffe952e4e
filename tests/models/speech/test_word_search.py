"""The search for words: what the scores say is written, what they leave open the language model tells."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tunelet.base.errors import InputError, MissingExtraError
from tunelet.models.ngram.model import NGram
from tunelet.models.speech import word_search
from tunelet.models.speech.small import CHARACTERS
from tunelet.models.speech.word_search import SearchWeights, WordSearch

LANGUAGE = NGram.build(["the cat sat", "the cat sat on the mat", "a dog", "they sat there"], order=2)


def scores(said: str, doubts: dict[int, dict[str, float]] | None = None) -> NDArray[np.float32]:
    """Log probabilities of a text, heard clearly but for the doubts; after each character a blank, which is ""."""
    rows = np.full((2 * len(said), len(CHARACTERS) + 1), 1e-4, dtype=np.float32)
    for place, character in enumerate(said):
        rows[2 * place + 1, 0] = 1.0
        for heard, share in ((doubts or {}).get(place) or {character: 1.0}).items():
            rows[2 * place, 1 + CHARACTERS.index(heard) if heard else 0] = share
    found: NDArray[np.float32] = np.log(rows / rows.sum(1, keepdims=True)).astype(np.float32)
    return found


@pytest.fixture(autouse=True)
def library() -> None:
    pytest.importorskip("flashlight.lib.text.decoder", reason="needs the extra `offline`")


def test_what_is_heard_clearly_is_written() -> None:
    search = WordSearch(LANGUAGE, SearchWeights(weight=0.1))
    assert search.texts([scores("the cat sat"), scores("a dog"), scores("mat")]) == ["the cat sat", "a dog", "mat"]


def test_the_language_model_settles_doubts() -> None:
    doubtful = scores("the cat sat", {4: {"m": 0.55, "c": 0.45}})
    heard, read = (WordSearch(LANGUAGE, SearchWeights(weight=weight)).texts([doubtful])[0] for weight in (0.0, 1.0))
    assert (heard, read) == ("the mat sat", "the cat sat")


def test_words_that_it_does_not_know_are_not_written() -> None:
    found = WordSearch(LANGUAGE, SearchWeights()).texts([scores("the bat sat")])[0]
    assert {*found.split()} <= {*LANGUAGE.vocabulary.words}


def test_a_reward_for_words_parts_what_could_be_one() -> None:
    said = scores("can not", {3: {" ": 0.5, "": 0.5}})
    language = NGram.build(["cannot", "can not"], order=2)
    few, many = (WordSearch(language, SearchWeights(0.5, score)).texts([said])[0] for score in (-8.0, 8.0))
    assert (few, many) == ("cannot", "can not")


def test_company_and_order_change_no_text() -> None:
    search = WordSearch(LANGUAGE, SearchWeights())
    clips = [scores("the cat"), scores("they sat there", {2: {"y": 0.6, "n": 0.4}}), scores(" ")]
    together = search.texts(clips)
    assert together == [search.texts([clip])[0] for clip in clips]
    assert search.texts(clips[::-1]) == together[::-1] and together[2] == ""


def test_weighing_shares_what_was_loaded_and_is_told_apart() -> None:
    search = WordSearch(LANGUAGE, SearchWeights())
    other = search.weighing(SearchWeights(weight=0.5))
    assert other._parts is search._parts and other.fingerprint != search.fingerprint
    assert WordSearch(LANGUAGE, SearchWeights()).fingerprint == search.fingerprint
    fewer = NGram.build(["the cat sat"], order=2)
    assert WordSearch(fewer, SearchWeights()).fingerprint != search.fingerprint


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_search, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="offline"):
        WordSearch(LANGUAGE, SearchWeights()).texts([scores("a")])


def test_nothing_is_said_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    WordSearch(LANGUAGE, SearchWeights()).texts([scores("a dog")])
    assert capfd.readouterr() == ("", "")


def test_a_model_of_single_words_is_refused() -> None:
    with pytest.raises(InputError, match="two words"):
        WordSearch(NGram.build(["a b"], order=1), SearchWeights())
