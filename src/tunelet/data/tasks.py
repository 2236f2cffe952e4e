"""What can be told from a text: the built-in tasks, and tasks of a recipe. Not here: task files (`data.task_file`).

Example:
    >>> builtin_task("emotion").label_names
    ('sadness', 'joy', 'love', 'anger', 'fear', 'surprise')
"""

from __future__ import annotations

import re
from pathlib import Path

from tunelet.base.errors import DataError, Problem
from tunelet.base.registry import Registry, unknown_name
from tunelet.data.records import Label, Task
from tunelet.data.settings import DataSettings
from tunelet.data.task_file import read_task
from tunelet.data.task_rules import task_faults

TASKS: Registry[Task] = Registry("task")

#: Where the hub keeps the data of a built-in task.
HUB_NAMES = {"emotion": "dair-ai/emotion"}

# Order and names as in the published data (Saravia et al. 2018, CARER); the definitions are ours.
EMOTION = TASKS.register("emotion")(
    Task(
        name="emotion",
        description="Which of six emotions the writer of a short message feels.",
        labels=(
            Label("sadness", "the writer feels low: grief, loneliness, disappointment, regret, or a lack of hope"),
            Label("joy", "the writer feels good: happiness, contentment, pride, relief, or confidence"),
            Label("love", "the writer feels warmth for someone or something: affection, tenderness, longing, devotion"),
            Label("anger", "the writer feels wronged or provoked: irritation, resentment, jealousy, or rage"),
            Label("fear", "the writer feels threatened or unsure: worry, nervousness, doubt, or terror"),
            Label("surprise", "the writer meets the unexpected: amazement, curiosity, shock, or disbelief"),
        ),
    )
)


def builtin_task(name: str) -> Task:
    """The built-in task called `name`.

    Raises:
        InputError: there is none.
    """
    return TASKS.get(name)


def resolve_task(settings: DataSettings) -> Task:
    """The task that a recipe means: a task file, labels named in the recipe, or a built-in task.

    Raises:
        DataError: there is no such task, or its labels contradict each other.
    """
    name = settings.task
    if is_task_file(name):
        if settings.labels is not None:
            raise DataError(
                Problem("the task file names the labels already", field="data.labels", hint="drop one of the two")
            )
        return read_task(Path(name).expanduser())
    if settings.labels is not None:
        return _inline_task(settings)
    if settings.multi_label:
        raise DataError(
            Problem(
                "only a task of your own can be made multi-label here",
                field="data.multi_label",
                hint="name its `labels` too, or say multi_label in the task file",
            )
        )
    if name not in TASKS:
        hint = f"for a task of your own give data.labels, or a task file: data.task: {name}.yaml"
        raise DataError(Problem(unknown_name("task", name, TASKS.names()), field="data.task", hint=hint))
    return TASKS.get(name)


def is_task_file(name: str) -> bool:
    """Whether the value of `data.task` is a path rather than a name."""
    return re.search(r"\.ya?ml$|[/\\]", name) is not None


def _inline_task(settings: DataSettings) -> Task:
    labels = settings.labels or ()
    if settings.task in TASKS:
        raise DataError(
            Problem(
                f"task {settings.task!r} is built in and has its own labels",
                field="data.labels",
                hint="drop data.labels, or give the task another name",
            )
        )
    task = Task(
        name=settings.task,
        description="",
        labels=tuple(Label(name) for name in labels),
        multi_label=settings.multi_label,
    )
    faults = task_faults(task)
    if faults:
        keys = {"name": "task"}  # of the section `data`, where a task file has another one
        raise DataError([Problem(message, field=f"data.{keys.get(key, key)}") for key, message in faults])
    return task
