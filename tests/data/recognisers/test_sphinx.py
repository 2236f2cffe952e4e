"""PocketSphinx itself, on embedded speech: its answer first, the same list whatever was heard before."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tunelet.base.errors import DataError, InputError, MissingExtraError
from tunelet.data.audio import read_audio
from tunelet.data.recognisers.batch import recognise
from tunelet.data.recognisers.lattice import plain_text
from tunelet.data.recognisers.protocol import Recogniser, build, identity
from tunelet.data.recognisers.settings import SphinxSettings, settings_from
from tunelet.data.spoken import embedded_speech

SETTINGS = SphinxSettings(n=12)
SOUNDS = [read_audio(one.audio) for one in embedded_speech("test")[:2]]

ARPA = """\\data\\
ngram 1=5

\\1-grams:
-0.7 <s> 0
-0.7 </s>
-0.7 yes
-0.7 no
-0.7 seven

\\end\\
"""


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    pytest.importorskip("pocketsphinx")
    return build(SETTINGS)


def test_a_list_begins_with_the_answer_and_goes_on_by_score(recogniser: Recogniser) -> None:
    import pocketsphinx

    for sound in SOUNDS:
        found = recogniser.nbest(sound)
        decoder = pocketsphinx.Decoder(loglevel="FATAL", fwdflat=False, maxhmmpf=SETTINGS.active, pl_window=0)
        decoder.start_utt()
        decoder.process_raw(sound.pcm16(), full_utt=True)
        decoder.end_utt()
        assert found[0].text == plain_text(decoder.hyp().hypstr)
        assert 2 <= len(found) <= 12
        assert len({one.text for one in found}) == len(found)
        scores = [one.score for one in found[1:]]
        assert scores == sorted(scores, reverse=True)
        assert all(np.isfinite(one.score) and one.score < 0 for one in found)
        assert not any(mark in one.text for one in found for mark in "<>[]()+")


def test_a_list_does_not_hang_on_what_was_heard_before(recogniser: Recogniser) -> None:
    lists = [recogniser.nbest(SOUNDS[place]) for place in (0, 1, 1, 0)]
    assert lists[:2] == lists[:1:-1]


def test_a_decoder_that_fails_is_told(recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recogniser, "_decode", lambda sound: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(DataError, match=r"pocketsphinx failed on this sound"):
        recogniser.nbest(SOUNDS[0])


@pytest.mark.parametrize("samples", [1, 100, 8000])
def test_silence_and_next_to_nothing_give_a_list(recogniser: Recogniser, samples: int) -> None:
    sound = replace(SOUNDS[0], samples=np.zeros(samples, dtype=np.float32))
    found = recogniser.nbest(sound)
    assert found
    assert all(np.isfinite(one.score) for one in found)


def test_workers_give_the_same_lists(recogniser: Recogniser, tmp_path: Path) -> None:
    examples = embedded_speech("test")[:2]
    lists = list(recognise(examples, SETTINGS, cache=tmp_path, workers=2))
    assert [one.hypotheses for one in lists] == [recogniser.nbest(sound) for sound in SOUNDS]
    assert [(one.id, one.ref, one.speaker) for one in lists] == [(one.id, one.text, one.speaker) for one in examples]


def test_a_language_model_of_ones_own_is_used(tmp_path: Path) -> None:
    pytest.importorskip("pocketsphinx")
    model = tmp_path / "digits.arpa"
    model.write_text(ARPA)
    settings = SphinxSettings(n=5, language_model=str(model))
    words = {word for one in build(settings).nbest(SOUNDS[0]) for word in one.text.split()}
    assert words <= {"yes", "no", "seven"}
    before = identity(settings)
    assert before != identity(SphinxSettings(n=5))
    model.write_text(ARPA.replace("seven", "eight"))
    assert identity(settings) != before


def test_a_language_model_that_is_none_is_told(tmp_path: Path) -> None:
    pytest.importorskip("pocketsphinx")
    with pytest.raises(InputError, match=r"gone\.arpa: there is no such language model"):
        build(SphinxSettings(language_model=str(tmp_path / "gone.arpa")))
    (tmp_path / "bad.arpa").write_text("not a model\n")
    with pytest.raises(InputError, match=r"bad\.arpa: cannot be loaded as a language model"):
        build(SphinxSettings(language_model=str(tmp_path / "bad.arpa")))


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tunelet\[offline\]'"):
        build(SphinxSettings())


def test_settings_come_back_from_what_they_dump() -> None:
    assert settings_from(SETTINGS.model_dump()) == SETTINGS
