"""Where data come from: the order of the places, and what the dataset says about its own."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

from data.broken_data import LABELS, good
from tunelet.base.files import sha256_file
from tunelet.data.settings import DataSettings
from tunelet.data.sources import load_dataset


def test_a_folder_in_the_recipe(emotion_folder: Path) -> None:
    dataset = load_dataset(DataSettings(path=str(emotion_folder)), environ={"TUNELET_DATA": "/nowhere"})
    assert dataset.sizes == {"train": 12, "validation": 12, "test": 12}
    assert dataset.task.label_names == LABELS
    assert (dataset.source.kind, dataset.source.location) == ("recipe", str(emotion_folder))
    assert dataset.source.files["test"] == sha256_file(emotion_folder / "test.jsonl")


@pytest.mark.parametrize("level", ["the folder itself", "the folder above"])
def test_a_folder_on_the_command_line(level: str, emotion_folder: Path) -> None:
    given = emotion_folder if level == "the folder itself" else emotion_folder.parent
    dataset = load_dataset(DataSettings(source="embedded"), given, environ={"TUNELET_DATA": "/nowhere"})
    assert (dataset.source.kind, dataset.source.location) == ("argument", str(emotion_folder))


def test_the_environment_comes_before_the_sample_and_its_path_is_not_told(emotion_folder: Path) -> None:
    dataset = load_dataset(DataSettings(), environ={"TUNELET_DATA": str(emotion_folder.parent)})
    assert (dataset.source.kind, dataset.source.location) == ("environment", "TUNELET_DATA/emotion")


@pytest.mark.parametrize(
    "environ", [{}, {"TUNELET_DATA": ""}, {"TUNELET_DATA": "."}], ids=["unset", "empty", "no task"]
)
def test_the_sample_answers_when_nothing_else_does(environ: dict[str, str], tmp_path: Path) -> None:
    environ = {key: value.replace(".", str(tmp_path)) for key, value in environ.items()}
    dataset = load_dataset(DataSettings(), environ=environ)
    assert (dataset.source.kind, dataset.source.location) == ("embedded", "tunelet/embedded/emotion")
    assert {label for e in dataset.splits["train"] for label in e.labels} == set(LABELS)


def test_the_format_and_the_place_do_not_change_the_data(emotion_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for split in ("train", "test"):
        (other / f"{split}.jsonl.gz").write_bytes(gzip.compress(good(split)))
    rows = [f"validation says {label} {i},{label}" for i in range(2) for label in LABELS]
    (other / "validation.csv").write_text("text,label\n" + "\n".join(rows))
    first, second = (load_dataset(DataSettings(path=str(folder))) for folder in (emotion_folder, other))
    assert first.sha256 == second.sha256
    assert first.source.files != second.source.files


def test_splits_can_be_chosen(emotion_folder: Path) -> None:
    (emotion_folder / "train.jsonl").unlink()
    assert load_dataset(DataSettings(path=str(emotion_folder)), splits=["test"]).sizes == {"test": 12}


def test_a_limit_is_the_same_every_time_and_known_by_the_hash(emotion_folder: Path) -> None:
    settings = DataSettings(path=str(emotion_folder), limit={"train": 6, "test": 100, "validation": None})
    dataset = load_dataset(settings)
    assert dataset.sizes == {"train": 6, "validation": 12, "test": 12}
    assert sorted(e.labels[0] for e in dataset.splits["train"]) == sorted(LABELS)
    assert load_dataset(settings).splits == dataset.splits
    assert dataset.sha256 != load_dataset(DataSettings(path=str(emotion_folder))).sha256


def test_labels_of_ones_own(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.csv").write_text("text,label\nfine,1\npoor,0\n")
    dataset = load_dataset(DataSettings(path=str(tmp_path), labels=["0", "1"]))
    assert [e.labels for e in dataset.splits["train"]] == [("1",), ("0",)]
    assert dataset.task.name == "custom"


def test_a_task_of_ones_own_in_the_environment(emotion_folder: Path) -> None:
    shutil.copytree(emotion_folder, emotion_folder.parent / "feelings")
    settings = DataSettings(task="feelings", labels=list(LABELS), source="environment")
    dataset = load_dataset(settings, environ={"TUNELET_DATA": str(emotion_folder.parent)})
    assert dataset.source.location == "TUNELET_DATA/feelings"


def test_the_published_emotion_data(real_data: Path) -> None:
    dataset = load_dataset(DataSettings(source="environment"), environ={"TUNELET_DATA": str(real_data)})
    assert dataset.sizes == {"train": 16000, "validation": 2000, "test": 2000}
    assert len({example.id for example in dataset.splits["train"]}) == 16000
