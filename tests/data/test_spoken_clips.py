"""Many clips in a few files: they are spoken once, found again, made again where damaged, and joined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from toy_voices import VOICES, Tones
from tunelet.base.errors import DataError, InputError
from tunelet.data import spoken_clips
from tunelet.data.speaking import Manner
from tunelet.data.spoken import SpokenExample
from tunelet.data.spoken_clips import Clips, ClipsMade, Utterance, joined, read_clips, speak_clips

TEXTS = [f"{a}{b}" for a in "abc" for b in "defg"]


def plan(voice: str = "low") -> list[Utterance]:
    return [Utterance(text, Manner(voice)) for text in TEXTS]


def spoken(folder: Path, utterances: list[Utterance] | None = None) -> tuple[Clips, list[ClipsMade]]:
    events: list[ClipsMade] = []
    clips = speak_clips(utterances or plan(), folder, espeak=Tones(), observer=events.append)  # type: ignore[arg-type]
    return clips, events


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spoken_clips, "SHARD", 5)


def test_clips_hold_what_was_said_and_are_found_again(tmp_path: Path) -> None:
    clips, events = spoken(tmp_path)
    assert clips.texts == tuple(TEXTS) and clips.voices == ("low",) * 12
    assert [(e.done, e.made) for e in events] == [(5, 5), (10, 10), (12, 12)]
    for row in (0, 4, 5, 11):
        np.testing.assert_allclose(clips.samples(row), Tones().say(TEXTS[row], Manner("low")), atol=1e-4)
    again, events = spoken(tmp_path)
    assert [e.made for e in events] == [0, 0, 0] and again.sha256 == clips.sha256
    assert spoken(tmp_path, plan("high"))[0].sha256 != clips.sha256


def test_rows_are_chosen_and_parts_joined(tmp_path: Path) -> None:
    clips = spoken(tmp_path)[0]
    few = clips.only([7, 2])
    both = joined([few, clips])
    assert both.texts == (TEXTS[7], TEXTS[2], *TEXTS) and both.lengths.tolist()[:2] == few.lengths.tolist()
    np.testing.assert_array_equal(both.samples(1), clips.samples(2))
    np.testing.assert_array_equal(both.samples(13), clips.samples(11))
    assert both.seconds == pytest.approx(few.seconds + clips.seconds)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_a_damaged_shard_is_made_again(tmp_path: Path, damage: str) -> None:
    clips = spoken(tmp_path)[0]
    path = sorted(tmp_path.glob("*.safetensors"))[0]
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes({"cut": data[:-40], "flip": data, "empty": b"", "text": b"hello"}[damage])
    again, events = spoken(tmp_path)
    assert events[-1].made in (5, 2) and again.sha256 == clips.sha256


def test_an_interrupt_keeps_what_is_there(tmp_path: Path) -> None:
    asked = iter([False, True])
    with pytest.raises(KeyboardInterrupt):
        speak_clips(plan(), tmp_path, espeak=Tones(), interrupted=lambda: next(asked))  # type: ignore[arg-type]
    before = Tones.said
    assert [e.made for e in spoken(tmp_path)[1]][-1] == 2 and Tones.said == before + 2


def test_recordings_are_decoded_once(tmp_path: Path) -> None:
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * np.ones(800), 8000)
    examples = [SpokenExample(name, tmp_path / f"{name}.wav", speaker="s") for name in "ab"]
    clips = read_clips(examples, ["x", "y"], tmp_path / "cache")
    assert clips.lengths.tolist() == [1600, 1600] and clips.voices == ("s", "s") and clips.texts == ("x", "y")
    (tmp_path / "b.wav").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"b\.wav"):
        read_clips(examples, ["x", "y"], tmp_path / "cache")


def test_nothing_to_speak_and_unknown_voices_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no text"):
        speak_clips([], tmp_path)
    with pytest.raises(InputError, match="no voice 'nobody'"):
        spoken(tmp_path, plan("nobody"))
    assert "nobody" not in VOICES and not list(tmp_path.iterdir())
