"""Records: what they hold, and what the hash of a dataset depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from tunelet.base.errors import DataError
from tunelet.data.records import Dataset, DataSource, Label, Task, TextExample

Make = Callable[..., Dataset]


def test_a_task_finds_labels_by_name(mood: Task) -> None:
    assert [mood.index(name) for name in mood.label_names] == [0, 1, 2]


def test_an_unknown_label_is_told_with_the_nearest(mood: Task) -> None:
    with pytest.raises(DataError, match="'goood'; did you mean 'good'"):
        mood.index("goood")


def test_records_are_frozen(mood: Task) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        mood.name = "other"  # type: ignore[misc]


def test_the_hash_does_not_depend_on_the_source(make_dataset: Make) -> None:
    first = make_dataset(train=[("a", "good"), ("b", "bad")])
    assert dataclasses.replace(first, source=DataSource("hub", "x/y", {"train": "0"})).sha256 == first.sha256


def changed(dataset: Dataset, mood: Task) -> dict[str, Dataset]:
    a, b = dataset.splits["train"]
    renamed = dataclasses.replace(mood, labels=(*mood.labels[:2], Label("weird", "it is strange")))
    redefined = dataclasses.replace(mood, labels=(*mood.labels[:2], Label("odd", "other")))
    return {
        "text": dataclasses.replace(dataset, splits={"train": (a, TextExample("1", "c", ("bad",)))}),
        "label": dataclasses.replace(dataset, splits={"train": (a, TextExample("1", "b", ("odd",)))}),
        "id": dataclasses.replace(dataset, splits={"train": (a, TextExample("2", "b", ("bad",)))}),
        "order": dataclasses.replace(dataset, splits={"train": (b, a)}),
        "split": dataclasses.replace(dataset, splits={"test": (a, b)}),
        "border of splits": dataclasses.replace(dataset, splits={"train": (a,), "test": (b,)}),
        "label name": dataclasses.replace(dataset, task=renamed),
        "definition": dataclasses.replace(dataset, task=redefined),
        "multi-label": dataclasses.replace(dataset, task=dataclasses.replace(mood, multi_label=True)),
    }


def test_the_hash_depends_on_everything_that_training_sees(make_dataset: Make, mood: Task) -> None:
    dataset = make_dataset(train=[("a", "good"), ("b", "bad")])
    hashes = {name: other.sha256 for name, other in changed(dataset, mood).items()}
    assert len({dataset.sha256, *hashes.values()}) == len(hashes) + 1, hashes


def test_texts_cannot_imitate_the_end_of_a_record(make_dataset: Make) -> None:
    one = make_dataset(train=[('a", ["good"]]\n["1", "b', "good")])
    two = make_dataset(train=[("a", "good"), ("b", "good")])
    assert one.sha256 != two.sha256
