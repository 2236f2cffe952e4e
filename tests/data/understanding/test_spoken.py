"""Text tasks with a sound: one file for each example, found again; what cannot be said is left out and told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toy_voices import Tones
from tunelet.base.errors import InputError
from tunelet.data.audio import read_audio
from tunelet.data.speaking import MannerSettings
from tunelet.data.understanding import spoken
from tunelet.data.understanding.spoken import SpokenSplit, hear, speak_examples
from tunelet.data.understanding.task import UnderstandingExample

TEXTS = ("Hello there!", "...", "Good morning", "hello there")


@pytest.fixture(autouse=True)
def tones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spoken, "Espeak", Tones)


def examples() -> list[UnderstandingExample]:
    return [UnderstandingExample(str(n), text, ("good",), "test") for n, text in enumerate(TEXTS)]


def speak(folder: Path, **changes: object) -> SpokenSplit:
    options = {"voices": ("low", "high"), "manner": MannerSettings(snr_db=(30.0, 30.0)), **changes}
    return speak_examples(examples(), folder=folder, **options)  # type: ignore[arg-type]


def test_each_example_gets_a_file_and_keeps_the_rest(tmp_path: Path) -> None:
    made = speak(tmp_path)
    assert [e.id for e in made.examples] == ["0", "2", "3"] and made.silent == ("1",)
    assert [(e.text, e.labels, e.split) for e in made.examples] == [(TEXTS[i], ("good",), "test") for i in (0, 2, 3)]
    # the same words in the same manner are one file
    assert made.examples[0].audio == made.examples[2].audio != made.examples[1].audio
    assert made.examples[0].audio is not None
    sound = read_audio(made.examples[0].audio)
    assert sound.source_rate == 16_000 and np.abs(sound.samples).max() > 0.3
    before = Tones.said
    assert speak(tmp_path) == made and Tones.said == before


def test_the_seed_and_the_voices_decide(tmp_path: Path) -> None:
    files = {speak(tmp_path, seed=seed).examples[1].audio for seed in range(4)}
    files |= {speak(tmp_path, voices=("other",)).examples[1].audio}
    assert len(files) == 5


def test_a_sound_that_is_there_stays(tmp_path: Path) -> None:
    own = UnderstandingExample("x", "...", ("good",), "test", audio=tmp_path / "own.wav")
    assert speak_examples([own], folder=tmp_path) == SpokenSplit((own,), ())


def test_an_unknown_voice_is_told_before_anything_is_spoken(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nobody"):
        speak(tmp_path, voices=("low", "nobody"))
    assert not list(tmp_path.iterdir())


def test_what_was_heard_is_carried_to_the_examples() -> None:
    class Parrot:
        def transcribe(self, examples: list[UnderstandingExample]) -> list[str]:
            return [example.text.lower() for example in examples]

    assert [e.heard for e in hear(examples(), Parrot())] == [text.lower() for text in TEXTS]
