"""`tunelet.json`: what an adapter folder says of itself, and reading it with every problem told at once.

Not here: whether what it says is true; `checks` compares it with the files, the base and the model.

Example:
    >>> manifest = read_manifest(folder)            # doctest: +SKIP
    >>> manifest.label_names                        # doctest: +SKIP
    ('sadness', 'joy')
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import ValidationError

from tunelet.base.errors import AdapterError, Problem
from tunelet.base.files import digest
from tunelet.base.registry import suggest
from tunelet.base.settings import Field, Settings
from tunelet.data.records import Label, Task
from tunelet.models.bases import Base
from tunelet.tuning.probes import TOLERANCE, Probe

NAME = "tunelet.json"
FORMAT = 1
#: the section that tells what a folder is for -> that kind of model; a fusion has a task, too, so it comes first
PURPOSES = {
    "fusion": "a fusion of adapters",
    "task": "a classifier",
    "language": "a language model",
    "rescorer": "a scorer of N-best lists",
    "prefix": "a prefix language model",
    "processor": "an audio language model",
}
_READ_FIRST = "save the adapter again; a manifest is not meant to be edited"


class BaseEntry(Settings):
    """The base that the adapter was trained on."""

    name: str = Field(description="as the recipe named it")
    revision: str | None = Field(description="of the hub")
    fingerprint: str = Field(description="hex sha256 of what it computes")
    tokenizer_sha256: str = Field(description="hex sha256 of its tokenizer")


class LabelEntry(Settings):
    """A label; its position is the position of the model's output."""

    name: str = Field(description="name")
    definition: str = Field(description="the sentence that says when it holds")


class TaskEntry(Settings):
    """What the adapter tells from a text."""

    name: str = Field(description="name")
    description: str = Field(description="one sentence")
    labels: tuple[LabelEntry, ...] = Field(min_length=1, description="in the order of the outputs")
    multi_label: bool = Field(description="any number of labels per text")
    metric: str = Field(description="the score that the task is about")


class FileEntry(Settings):
    """A file of the folder."""

    sha256: str = Field(description="hex")
    bytes: int = Field(ge=0, description="size")


class Stated(Settings):
    """What `tunelet.json` says of any model; what it is for is said by a class of its kind."""

    format: Literal[1] = Field(description="version of this layout")
    kind: Literal["adapter", "model"] = Field(description="an adapter for a base, or a whole fine-tuned model")
    method: str = Field(description="tuning method")
    base: BaseEntry = Field(description="what it was trained on")
    max_length: int = Field(ge=1, description="longest input in tokens")
    attention: str = Field(description="attention kernel of the run")
    scaling: dict[str, float] = Field(description="the number that multiplies each module's update")
    trainable_parameters: int = Field(ge=0, description="parameters that trained, head once")
    total_parameters: int = Field(ge=0, description="all parameters, head once")
    files: dict[str, FileEntry] = Field(description="the files, by path in the folder")
    probes: tuple[Probe, ...] = Field(min_length=1, description="texts and their logits over the fp32 base")
    tolerance: float = Field(TOLERANCE, ge=0, description="largest difference of a probe's logit")
    scores: dict[str, Any] | None = Field(description="metrics of the run, as given")
    seal: str = Field("", description="hex sha256 over all the rest")

    def sealed(self) -> Self:
        """The same with its seal."""
        return self.model_copy(update={"seal": self.expected_seal()})

    def expected_seal(self) -> str:
        """Hash over every field but the seal. Labels, weights' hashes and scaling are bound together by it."""
        return digest(self.model_dump(mode="json", exclude={"seal"}))


class Manifest(Stated):
    """The content of a classifier's `tunelet.json`."""

    task: TaskEntry = Field(description="what it does")

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels, in order."""
        return tuple(label.name for label in self.task.labels)

    def to_task(self) -> Task:
        """The task, as the data layer has it."""
        labels = tuple(Label(label.name, label.definition) for label in self.task.labels)
        return Task(self.task.name, self.task.description, labels, self.task.multi_label, self.task.metric)


S = TypeVar("S", bound=Stated)


def base_entry(base: Base) -> BaseEntry:
    """What a folder says of its base."""
    return BaseEntry(
        name=base.name,
        revision=base.revision,
        fingerprint=base.fingerprint,
        tokenizer_sha256=base.tokenizer_sha256,
    )


def task_entry(task: Task) -> TaskEntry:
    """`task` as the manifest holds it."""
    return TaskEntry(
        name=task.name,
        description=task.description,
        labels=tuple(LabelEntry(name=label.name, definition=label.definition) for label in task.labels),
        multi_label=task.multi_label,
        metric=task.metric,
    )


def purpose_of(folder: Path) -> str | None:
    """Which of `PURPOSES` a folder's `tunelet.json` has; None without the file, or where it cannot be read."""
    try:
        values = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return next((name for name in PURPOSES if isinstance(values, dict) and name in values), None)


def read_manifest(folder: Path) -> Manifest:
    """Read the `tunelet.json` of a classifier; see `read_stated`."""
    return read_stated(folder, Manifest)


def read_stated(folder: Path, kind: type[S]) -> S:
    """Read `folder`/tunelet.json.

    Args:
        kind: what the folder should hold.

    Raises:
        AdapterError: it is not JSON, of a later format, of another kind, or lacks a key; every problem is named.
    """
    path = folder / NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise AdapterError(Problem(f"not JSON: {error.msg}", path, error.lineno, hint=_READ_FIRST)) from None
    except UnicodeDecodeError as error:
        raise AdapterError(Problem(f"not UTF-8 at byte {error.start}", path, hint=_READ_FIRST)) from None
    if not isinstance(values, dict):
        raise AdapterError(Problem(f"expected an object, found {type(values).__name__}", path, hint=_READ_FIRST))
    version = values.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise AdapterError(
            Problem(f"format {version}; this Tunelet reads formats up to {FORMAT}", path, hint="pip install -U tunelet")
        )
    # the section that says what a folder is for tells its kind; without one it is a damaged one of the kind asked for
    wanted = next(name for name in PURPOSES if name in kind.model_fields)
    other = next((name for name in PURPOSES if name in values), wanted)
    if other != wanted:
        raise AdapterError(Problem(f"{folder} holds {PURPOSES[other]}, expected {PURPOSES[wanted]}", path))
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise AdapterError([_problem(item, path, kind) for item in error.errors()]) from None


def _problem(item: Any, path: Path, kind: type[Stated]) -> Problem:
    field = ".".join(str(part) for part in item["loc"])
    if item["type"] == "missing":
        return Problem("this key is missing", path, field=field, hint=_READ_FIRST)
    if item["type"] == "extra_forbidden":
        near = suggest(str(item["loc"][-1]), kind.model_fields)
        meant = f"; did you mean {near!r}?" if near else ""
        return Problem(f"unknown key{meant}", path, field=field, hint=_READ_FIRST)
    return Problem(f"{item['msg']}, found {item['input']!r}"[:300], path, field=field, hint=_READ_FIRST)
