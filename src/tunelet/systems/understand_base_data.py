"""The tasks of meta-training: which, which of their examples, and none that is under test. Not here: episodes; torch.

A test split is never read for training or validation; a task without a training split gives its validation split.
A task that is excluded takes with it every task on the same data (the same folder), and its texts: an example of
another task that says the same is dropped, and counted.

Example:
    >>> data = read_tasks(BaseDataSettings(tasks=("snips", "sst2"), exclude=("mr",)))           # doctest: +SKIP
    >>> len(data.train["snips"]), data.repeated                                                 # doctest: +SKIP
    (3000, {'sst2': 41})
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tunelet.base.errors import DataError, Problem
from tunelet.base.files import digest, sha256_bytes
from tunelet.base.settings import Field, Settings
from tunelet.data.audit import comparable
from tunelet.data.understanding.load import load_split, task_folder
from tunelet.data.understanding.task import UnderstandingExample, UnderstandingTask
from tunelet.data.understanding.tasks import find_task

#: Tasks over text that meta-training draws from unless a recipe says otherwise.
TASKS = ("banking77", "clinc150", "dstc2_area", "dstc2_pricerange", "emotion", "meld", "mr", "nlupp", "slurp_entities",
         "slurp_intents", "slurp_scenarios", "snips", "sst2", "subj", "swda", "swda_full", "trec6", "tweeteval_irony",
         "tweeteval_offensive", "wnut17")  # fmt: skip
#: One text in so many is held out of train where a task has no validation split.
HELD_OUT = 10

Examples = tuple[UnderstandingExample, ...]


class BaseDataSettings(Settings):
    """Which tasks."""

    tasks: tuple[str, ...] = Field(TASKS, min_length=1, description="names of tasks, or paths of task files")
    exclude: tuple[str, ...] = Field(
        (), description="tasks under test; tasks on the same data, and examples with the same text, are left out, too"
    )
    held_out: tuple[str, ...] = Field(
        (), description="tasks that only validation sees; without any, it has the validation splits of the others"
    )
    limit: int = Field(3000, ge=2, description="at most so many examples of each task's training split")
    validation_limit: int = Field(500, ge=2, description="and of its validation split")
    longest: int = Field(60, ge=1, description="words of the longest text that is used")


@dataclass(frozen=True)
class BaseData:
    """What meta-training sees.

    Attributes:
        settings: as asked.
        tasks: by name, those that are left.
        train: examples of the tasks that are trained on.
        validation: examples of those that validation asks for.
        left_out: tasks that `exclude` took away.
        repeated: examples that were dropped because an excluded task has their text, by task.
        unread: excluded tasks whose texts could not be read.
    """

    settings: BaseDataSettings
    tasks: dict[str, UnderstandingTask]
    train: dict[str, Examples]
    validation: dict[str, Examples]
    left_out: tuple[str, ...]
    repeated: dict[str, int]
    unread: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Hash of all tasks and examples."""
        rows = {
            split: {name: [[*e.key, e.text, *e.labels] for e in examples] for name, examples in of.items()}
            for split, of in (("train", self.train), ("validation", self.validation))
        }
        told = {
            name: [task.instruction, *task.guidelines, task.multi_label, task.none, *map(asdict, task.labels)]
            for name, task in self.tasks.items()
        }
        return digest({"tasks": told, "examples": rows})


def read_tasks(settings: BaseDataSettings, data_dir: Path | None = None) -> BaseData:
    """Read the tasks.

    Args:
        data_dir: folder of data that takes the place of ``TUNELET_DATA``.

    Raises:
        DataError: the problems of all tasks at once, or no task is left.
    """
    problems: list[Problem] = []
    excluded = _found(settings.exclude, "data.exclude", problems)
    wanted = _found(dict.fromkeys((*settings.tasks, *settings.held_out)), "data.tasks", problems)
    if problems:
        raise DataError(problems)
    places = {task.data.path for task in excluded}
    left_out = tuple(task.name for task in wanted if task.data.path in places)
    tasks = {task.name: task for task in wanted if task.data.path not in places}
    held = {task.name for task in _found(settings.held_out, "data.held_out", problems)} & set(tasks)
    barred, unread = _texts(excluded, data_dir)
    train: dict[str, Examples] = {}
    validation: dict[str, Examples] = {}
    repeated: dict[str, int] = {}
    for name, task in tasks.items():
        try:
            parts = _parts(task, settings, data_dir)
        except DataError as error:
            problems += error.problems
            continue
        kept = tuple(tuple(e for e in part if comparable(e.text) not in barred) for part in parts)
        if dropped := sum(map(len, parts)) - sum(map(len, kept)):
            repeated[name] = dropped
        if name not in held:
            train[name] = kept[0]
        if name in held or not held:
            validation[name] = kept[1]
    if problems:
        raise DataError(problems)
    for what, found in (("training", train), ("validation", validation)):
        if not any(found.values()):
            message = f"no example is left for {what}; left out: {', '.join(left_out) or 'none'}"
            raise DataError(Problem(message, field="data", hint="name more tasks, or exclude fewer"))
    return BaseData(settings, tasks, _filled(train), _filled(validation), left_out, repeated, unread)


def _filled(parts: dict[str, Examples]) -> dict[str, Examples]:
    return {name: examples for name, examples in parts.items() if examples}


def _found(names: Sequence[str] | dict[str, None], field: str, problems: list[Problem]) -> list[UnderstandingTask]:
    found = []
    for name in names:
        try:
            found.append(find_task(name, field))
        except DataError as error:
            problems += error.problems
    return found


def _parts(task: UnderstandingTask, settings: BaseDataSettings, data_dir: Path | None) -> tuple[Examples, Examples]:
    """Examples for training and for validation."""
    splits = task.data.splits
    train = load_split(task, "train" if "train" in splits else "validation", data_dir=data_dir)
    if "train" in splits and "validation" in splits:
        validation = load_split(task, "validation", data_dir=data_dir, limit=settings.validation_limit)
    else:
        held = [int(sha256_bytes(comparable(e.text).encode())[:8], 16) % HELD_OUT == 0 for e in train]
        validation = tuple(e for e, out in zip(train, held, strict=True) if out)[: settings.validation_limit]
        train = tuple(e for e, out in zip(train, held, strict=True) if not out)
    seen = {comparable(e.text) for e in validation}
    train = _at_most(_usable(train, settings), settings.limit)
    return tuple(e for e in train if comparable(e.text) not in seen), _usable(validation, settings)


def _usable(examples: Examples, settings: BaseDataSettings) -> Examples:
    return tuple(e for e in examples if 0 < len(e.text.split()) <= settings.longest)


def _at_most(examples: Examples, limit: int) -> Examples:
    """At most so many, chosen by the hash of their keys, in their order."""
    if len(examples) <= limit:
        return examples
    rank = sorted(range(len(examples)), key=lambda i: sha256_bytes("/".join(examples[i].key).encode()))
    return tuple(examples[i] for i in sorted(rank[:limit]))


def _texts(tasks: Sequence[UnderstandingTask], data_dir: Path | None) -> tuple[frozenset[str], tuple[str, ...]]:
    """All texts of the excluded tasks, and which of them could not be read."""
    texts: set[str] = set()
    unread = []
    for task in tasks:
        try:
            task_folder(task, data_dir=data_dir)
            for split in task.data.splits:
                texts |= {comparable(e.text) for e in load_split(task, split, data_dir=data_dir)}
        except DataError:
            unread.append(task.name)
    return frozenset(texts - {""}), tuple(unread)
