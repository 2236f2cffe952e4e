"""The tasks of an `understand` recipe with their examples: what trains, chooses, is asked, and may be shown.

Splits that a task lacks are made without touching its test split: where there is no validation split, a tenth of the
training examples, chosen by the hash of their texts, takes its place; where there is no training split, the validation
split serves as one. Not here: settings (`systems.understand_settings`), prompts; torch.

Example:
    >>> read_tasks(UnderstandDataSettings(tasks=["snips"]), None)["snips"].sizes        # doctest: +SKIP
    {'train': 0, 'validation': 0, 'test': 500, 'pool': 5000}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tunelet.base.errors import DataError, InputError, Problem
from tunelet.base.files import digest, sha256_bytes, sha256_file
from tunelet.data.audit import comparable
from tunelet.data.limits import stratified
from tunelet.data.records import TextExample
from tunelet.data.understanding.load import load_split, task_folder
from tunelet.data.understanding.task import UnderstandingExample, UnderstandingTask
from tunelet.data.understanding.tasks import find_task
from tunelet.systems.understand_settings import UnderstandDataSettings
from tunelet.systems.understand_start import Start

#: one text in so many is held out where a task has no validation split
HELD_OUT = 10
_Examples = tuple[UnderstandingExample, ...]


@dataclass(frozen=True)
class TaskExamples:
    """One task and its examples.

    Attributes:
        task: restricted to the classes that the recipe names.
        folder: where they lie.
        train: examples to tune on; none unless the task is a source.
        validation: those that choose the checkpoint; the same.
        test: those that are asked; none unless the task is asked.
        pool: those that may be shown before a query.
    """

    task: UnderstandingTask
    folder: Path
    train: _Examples
    validation: _Examples
    test: _Examples
    pool: _Examples

    @property
    def sizes(self) -> dict[str, int]:
        """Examples by what they are for."""
        return {name: len(getattr(self, name)) for name in ("train", "validation", "test", "pool")}

    @property
    def shown_in_tuning(self) -> _Examples:
        """Examples that may be shown while tuning: those to tune on, so that validation stays unseen."""
        return self.train

    @cached_property
    def sha256(self) -> str:
        """Hash of the task's words and all examples."""
        task = {key: value for key, value in asdict(self.task).items() if key not in ("data", "file")}
        return digest({"task": task, **{name: [_facts(one) for one in getattr(self, name)] for name in self.sizes}})


@dataclass(frozen=True)
class UnderstandData:
    """All tasks of a recipe, by the name in their task files.

    Attributes:
        tasks: every one that is tuned on or asked.
        sources, asked: names.
        settings: the section.
        names: what the recipe calls a task (a name or a path) -> the task's name.
        starts: what is known of meta-trained bases, by `start_key`.
        ears: what the recipe names as ears of a model -> by what they are known.
        data_dir: where everything was read from, if that was given.
    """

    tasks: Mapping[str, TaskExamples]
    sources: tuple[str, ...]
    asked: tuple[str, ...]
    settings: UnderstandDataSettings
    names: Mapping[str, str]
    starts: Mapping[str, Start] = field(default_factory=dict)
    ears: Mapping[str, str] = field(default_factory=dict)
    data_dir: Path | None = None

    @cached_property
    def sha256(self) -> str:
        """Hash of all tasks with all examples, and of what is asked of them."""
        settings = self.settings.model_dump(mode="json", exclude={"sources", "tasks", "classes", "workers"})
        tasks = {name: told.sha256 for name, told in self.tasks.items()}
        return digest({"settings": settings, "asked": list(self.asked), "tasks": tasks, "sound": self._sound})

    @cached_property
    def _sound(self) -> dict[str, str]:
        """Hashes of the sound files that are heard."""
        if "speech" not in self.settings.query:
            return {}
        heard = [one for told in self.tasks.values() for name in told.sizes if name != "pool"
                 for one in getattr(told, name)]  # fmt: skip
        return {str(path): sha256_file(path) for path in sorted({one.audio for one in heard if one.audio is not None})}


def read_tasks(settings: UnderstandDataSettings, data_dir: Path | None) -> UnderstandData:
    """Read every task of a recipe.

    Raises:
        DataError: everything that is wrong in task files and data, at once.
    """
    tasks: dict[str, TaskExamples] = {}
    names: dict[str, str] = {}
    problems: list[Problem] = []
    for named in settings.named:
        field = "data.sources" if named in settings.sources else "data.tasks"
        try:
            told = _read(named, field, settings, data_dir)
        except InputError as error:
            problems += error.problems
            continue
        if told.task.name in tasks:
            problems.append(Problem(f"two tasks are called {told.task.name!r}", named, field=field))
        names[named], tasks[told.task.name] = told.task.name, told
    if problems:
        raise DataError(problems)
    sources = tuple(names[named] for named in settings.sources)
    asked = tuple(names[named] for named in settings.tasks)
    return UnderstandData(tasks, sources, asked, settings, names, data_dir=data_dir)


def _read(named: str, field: str, settings: UnderstandDataSettings, data_dir: Path | None) -> TaskExamples:
    task = find_task(named, field)
    if named in settings.classes:
        task = task.restricted(settings.classes[named])
    if len(task.labels) < 2:
        raise DataError(Problem("expected two classes or more", named, field="data.classes"))
    source, asked = named in settings.sources, named in settings.tasks
    parts = _developing(task, data_dir)
    pool = tuple(one for split in settings.pool for one in parts[split])
    pool = _limited(pool, settings.pool_limit, "pool")
    test: _Examples = load_split(task, "test", data_dir=data_dir, limit=settings.items) if asked else ()
    if max(settings.k) and not pool:
        raise DataError(Problem(f"no example of {task.name!r} that may be shown", task.file, field="data.pool"))
    for split in ("train", "validation") if source else ():
        if not parts[split]:
            raise DataError(
                Problem(f"the source {task.name!r} has no example for {split}", task.file, field="data.sources")
            )
    if asked and "speech" in settings.query:
        _can_be_heard(task, test, settings)
    return TaskExamples(
        task,
        task_folder(task, data_dir=data_dir),
        _limited(parts["train"], settings.train_limit, "train") if source else (),
        _limited(parts["validation"], settings.validation, "validation") if source else (),
        test,
        pool,
    )


def _developing(task: UnderstandingTask, data_dir: Path | None) -> dict[str, _Examples]:
    """Examples of train and validation; what a task lacks is made of the other."""
    found = {
        split: load_split(task, split, data_dir=data_dir)
        for split in ("train", "validation")
        if split in task.data.splits
    }
    if len(found) == 2:
        return found
    whole: _Examples = next(iter(found.values()), ())
    held = [int(sha256_bytes(comparable(one.text).encode())[:8], 16) % HELD_OUT == 0 for one in whole]
    return {
        "train": tuple(one for one, out in zip(whole, held, strict=True) if not out),
        "validation": tuple(one for one, out in zip(whole, held, strict=True) if out),
    }


def _limited(examples: _Examples, limit: int | None, purpose: str) -> _Examples:
    """At most `limit`, each set of classes in its share, the same in every run."""
    if limit is None or limit >= len(examples):
        return examples
    kept = stratified([TextExample(str(i), "", one.labels) for i, one in enumerate(examples)], limit, purpose)
    return tuple(examples[int(one.id)] for one in kept)


def _can_be_heard(task: UnderstandingTask, test: _Examples, settings: UnderstandDataSettings) -> None:
    if settings.speak or any(one.audio is not None for one in test):
        return
    if settings.cascade and any(one.heard is not None for one in test):
        return
    hint = "say in the task file where the sound is (`audio`), have it spoken (data.speak), or ask about text alone"
    raise DataError(
        Problem(f"speech is asked about, and no test example of {task.name!r} has sound", task.file, None, "data.query",
                hint)
    )  # fmt: skip


def _facts(one: UnderstandingExample) -> list[Any]:
    return [one.split, one.id, one.text, list(one.labels), one.seconds, one.heard]
