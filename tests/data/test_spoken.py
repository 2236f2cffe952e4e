"""An index of sound files: its rows, the embedded speech, and everything that can be wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunelet.base.errors import DataError
from tunelet.data.audio import read_audio
from tunelet.data.spoken import SpokenExample, embedded_speech, embedded_text, from_paths, is_sound, read_spoken


def index(folder: Path, *rows: dict[str, Any] | str) -> Path:
    """An index whose rows name sound files of two names that exist."""
    for name in ("a.wav", "b.wav"):
        (folder / name).touch()
    path = folder / "index.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_rows_become_utterances(tmp_path: Path) -> None:
    path = index(
        tmp_path,
        {"id": "1", "audio": "a.wav", "text": "IT WAS", "speaker": "s", "duration": 2, "age": 7},
        {"id": "2", "audio": "b.wav", "seconds": 1.5},
    )
    assert read_spoken(path) == (
        SpokenExample("1", tmp_path / "a.wav", "IT WAS", "s", 2.0),
        SpokenExample("2", tmp_path / "b.wav", None, None, 1.5),
    )


def test_without_an_id_the_file_is_one_and_what_was_said_may_stand_elsewhere(tmp_path: Path) -> None:
    path = index(tmp_path, {"audio": "a.wav", "label": "six"})
    assert read_spoken(path, text="label") == (SpokenExample("a.wav", tmp_path / "a.wav", "six"),)


def test_a_split_is_chosen(tmp_path: Path) -> None:
    rows = [{"id": str(i), "audio": "a.wav", "split": split} for i, split in enumerate(["train", "test", "train"])]
    path = index(tmp_path, *rows)
    assert [one.id for one in read_spoken(path, split="train")] == ["0", "2"]
    with pytest.raises(DataError, match="unknown split 'tets'; did you mean 'test'"):
        read_spoken(path, split="tets")


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    path = index(
        tmp_path,
        {"id": "1", "audio": "a.wav"},
        {"id": "1", "audio": "b.wav"},
        {"id": " ", "audio": "a.wav"},
        {"id": "3", "audio": "c.wav"},
        {"id": "4", "audio": "a.wav", "text": 5},
        {"id": "5", "audio": "a.wav", "seconds": "long"},
        "{",
    )
    with pytest.raises(DataError) as caught:
        read_spoken(path)
    places = [(problem.line, problem.field) for problem in caught.value.problems]
    assert places == [(2, "id"), (3, "id"), (4, "audio"), (5, "text"), (6, "seconds"), (7, None)]
    assert "'1' is also the id on line 1" in str(caught.value)
    assert "there is no such sound file: c.wav" in str(caught.value)


def test_an_empty_index_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no utterance in it"):
        read_spoken(index(tmp_path))


def test_files_without_an_index_get_ids_from_their_names(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    paths = [tmp_path / "a.wav", tmp_path / "x" / "a.wav", tmp_path / "b.wav"]
    for path in paths:
        path.touch()
    assert [one.id for one in from_paths(paths)] == [str(paths[0]), str(paths[1]), "b"]
    with pytest.raises(DataError, match=r"c\.wav: there is no such sound file"):
        from_paths([tmp_path / "c.wav"])


def test_sound_is_told_by_the_name() -> None:
    assert [is_sound(Path(name)) for name in ("a.WAV", "a.opus", "a.jsonl")] == [True, True, False]


def test_the_embedded_speech_is_found() -> None:
    assert {split: len(embedded_speech(split)) for split in ("train", "dev", "test")} == {
        "train": 60,
        "dev": 36,
        "test": 72,
    }
    assert len(embedded_text()) >= 400


def test_the_layout_of_speechocean_is_read(real_data: Path) -> None:
    folder = real_data / "speech" / "speechocean762"
    train, test = (read_spoken(folder / f"{split}.jsonl") for split in ("train", "test"))
    assert (len(train), len(test)) == (1340, 600)
    assert {one.speaker for one in train}.isdisjoint({one.speaker for one in test})
    for one in test[:5]:
        assert read_audio(one.audio).seconds == pytest.approx(one.seconds, abs=0.02)
