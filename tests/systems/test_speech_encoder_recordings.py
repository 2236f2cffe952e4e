"""Recordings beside what is spoken: to train on, held out, and those that are not there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tunelet.base.errors import DataError
from tunelet.data.places import ENVIRONMENT
from tunelet.systems.speech_encoder_recordings import read_recordings
from tunelet.systems.speech_encoder_settings import RecordingsSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings to train on and one that is held out."""
    place = tmp_path / "data" / "speech"
    place.mkdir(parents=True)
    for split, texts in (("train", ("Six cats.", "a dog")), ("test", ("Two.",))):
        rows = []
        for number, text in enumerate(texts):
            name = f"{split}-{number}.wav"
            soundfile.write(place / name, np.zeros(8_000), 16_000)
            rows.append({"id": name, "audio": name, "text": text})
        (place / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return place


def test_a_folder_has_recordings_to_train_on_and_held_out(folder: Path) -> None:
    train, held_out, absent = read_recordings([RecordingsSettings(path=str(folder), times=3)], {}, (), needed=True)
    assert [(part.texts, part.times, part.name) for part in train] == [(("six cats", "a dog"), 3, str(folder))]
    assert [part.texts for part in held_out] == [("two",)] and absent == ()
    assert {one.speaker for one in train[0].examples} == {str(folder)}


def test_a_file_is_trained_on_alone(folder: Path) -> None:
    train, held_out, _ = read_recordings([RecordingsSettings(path=str(folder / "test.jsonl"))], {}, (), needed=True)
    assert [part.texts for part in train] == [("two",)] and held_out == ()


def test_what_is_heard_in_held_out_splits_is_not_trained_on(folder: Path) -> None:
    train, held_out, _ = read_recordings([RecordingsSettings(path=str(folder))], {}, {"a dog", "two"}, needed=True)
    assert [part.texts for part in train] == [("six cats",)] and [part.texts for part in held_out] == [("two",)]


def test_relative_paths_start_at_the_folder_of_data_too(folder: Path) -> None:
    wanted = [RecordingsSettings(path="speech")]
    assert read_recordings(wanted, {ENVIRONMENT: str(folder.parent)}, (), needed=True)[0][0].name == "speech"
    assert read_recordings(wanted, {}, (), needed=False) == ((), (), ("speech",))
    with pytest.raises(DataError, match="no such recordings"):
        read_recordings(wanted, {}, (), needed=True)
    with pytest.raises(DataError, match="no such recordings"):  # a path that is whole is meant
        read_recordings([RecordingsSettings(path=str(folder / "nowhere"))], {}, (), needed=False)
