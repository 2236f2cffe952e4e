"""The records that the rest of Tunelet works on: an example, a task, a dataset. Not here: files, or tensors.

All are frozen and compare by value. A record stores what it is given; the checks live where records are made
(`data.readers`, `data.tasks`).

Example:
    >>> task = Task("weather", "what the sky does", (Label("sun", "the sun shines"), Label("rain", "water falls")))
    >>> task.index("rain")
    1
    >>> train = (TextExample("0", "what a bright day", ("sun",)),)
    >>> dataset = Dataset(task, {"train": train}, DataSource("recipe", "sky"))
    >>> dataset.sizes
    {'train': 1}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from tunelet.base.errors import DataError, Problem
from tunelet.base.registry import unknown_name

#: The three splits, in the order in which they are told and read.
SPLITS: tuple[str, ...] = ("train", "validation", "test")

#: Where a dataset came from.
SourceKind = Literal["recipe", "argument", "environment", "hub", "embedded"]


@dataclass(frozen=True, slots=True)
class TextExample:
    """One text and what it is labelled with.

    Attributes:
        id: names the example within its split; the position of its row, from 0, where the file gives none.
        text: as in the file, not stripped and not normalised.
        labels: label names, in the order of the task; one of them in a single-label task, any number in a
            multi-label task, none where the labels are not known.
    """

    id: str
    text: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Label:
    """A label and the sentence that says when it holds. The definition may be empty for labels named in a recipe."""

    name: str
    definition: str = ""


@dataclass(frozen=True)
class Task:
    """What is to be told from a text.

    Attributes:
        name: also the name of the task's folder in a data folder.
        description: one sentence.
        labels: their order is the order of a model's outputs.
        multi_label: whether a text has any number of labels (True) or exactly one.
        metric: the score that the task is about (see `data.task_rules.METRICS`).
    """

    name: str
    description: str
    labels: tuple[Label, ...]
    multi_label: bool = False
    metric: str = "accuracy"

    @cached_property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels, in order."""
        return tuple(label.name for label in self.labels)

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """Position of each label by its name."""
        return {name: position for position, name in enumerate(self.label_names)}

    def index(self, name: str) -> int:
        """Position of the label called `name`.

        Raises:
            DataError: the task has no such label; the nearest one and all of them are named.
        """
        try:
            return self.positions[name]
        except KeyError:
            raise DataError(Problem(unknown_name(f"label of task {self.name!r}:", name, self.label_names))) from None


@dataclass(frozen=True)
class DataSource:
    """Where a dataset came from.

    Attributes:
        kind: which of the places answered.
        location: the folder as the user named it, ``TUNELET_DATA/<task>``, the name on the hub, or the place in the
            package; never an absolute path that the user did not type.
        files: hex sha256 of each split's file (of its examples, where the hub gave them), before any limit.
    """

    kind: SourceKind
    location: str
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A task, its examples by split, and where they came from."""

    task: Task
    splits: Mapping[str, tuple[TextExample, ...]]
    source: DataSource

    @property
    def sizes(self) -> dict[str, int]:
        """Number of examples in each split."""
        return {split: len(examples) for split, examples in self.splits.items()}

    @cached_property
    def sha256(self) -> str:
        """Hex sha256 over the task's labels and every example of every split, in order.

        It does not depend on where the data came from or in which format they were stored.
        """
        digest = hashlib.sha256()
        labels = [[label.name, label.definition] for label in self.task.labels]
        digest.update(_line(["labels", labels, self.task.multi_label]))
        for split, examples in self.splits.items():
            digest.update(_line([split, len(examples)]))
            _update(digest, examples)
        return digest.hexdigest()


def sha256_examples(examples: Iterable[TextExample]) -> str:
    """Hex sha256 over ids, texts and labels, in order."""
    digest = hashlib.sha256()
    _update(digest, examples)
    return digest.hexdigest()


def _update(digest: hashlib._Hash, examples: Iterable[TextExample]) -> None:
    for example in examples:
        digest.update(_line([example.id, example.text, example.labels]))


def _line(value: object) -> bytes:
    # One JSON array a line: no text can be made to look like the end of a record.
    return json.dumps(value).encode("ascii") + b"\n"
