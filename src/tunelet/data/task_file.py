"""Task files: a task of one's own in YAML. Not here: the built-in tasks (`data.tasks`).

Example:
    name: reviews
    description: Whether a customer is content.
    labels:
      bad: the customer would not come again
      good: the customer would come again
    multi_label: false      # optional
    metric: macro_f1        # optional
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunelet.base.errors import DataError, Problem, RecipeError
from tunelet.base.registry import suggest
from tunelet.base.yaml_lines import Tree, read_yaml
from tunelet.data.formats import described
from tunelet.data.lines import open_bytes, read_lines
from tunelet.data.problems import ProblemLog
from tunelet.data.records import Label, Task
from tunelet.data.task_rules import task_faults

_REQUIRED = ("name", "labels")
_ALLOWED = ("name", "description", "labels", "multi_label", "metric")


def read_task(path: Path) -> Task:
    """Read a task file.

    Raises:
        DataError: with everything that is wrong in it, each with its line.
    """
    log = ProblemLog(path)
    with open_bytes(path) as file:
        text = "\n".join(line.text for line in read_lines(file, log))
    log.raise_if_any()
    if not text.strip():
        raise DataError(Problem("the file is empty", path, hint="it needs a name, and labels with their definitions"))
    try:
        tree = read_yaml(text, str(path))
    except RecipeError as error:
        raise DataError(error.problems) from None
    except RecursionError:
        raise DataError(Problem("nested too deeply", path)) from None
    if not isinstance(tree.data, dict):
        raise DataError(Problem(f"expected the keys {', '.join(_ALLOWED)}, found {described(tree.data)}", path))
    task, problems = _task(tree, tree.data)
    if task is None or problems:
        raise DataError(problems)
    return task


def _task(tree: Tree, data: dict[str, Any]) -> tuple[Task | None, list[Problem]]:
    problems = []
    for key in data:
        if key not in _ALLOWED:
            near = suggest(key, _ALLOWED)
            hint = f"did you mean {near!r}?" if near else f"allowed are {', '.join(_ALLOWED)}"
            problems.append(tree.problem("unknown key", (key,), hint=hint))
    for key in _REQUIRED:
        if key not in data:
            problems.append(Problem("missing", tree.file, field=key))
    for key, kind, expected in (
        ("name", str, "a text"),
        ("description", str, "a text"),
        ("multi_label", bool, "true or false"),
        ("metric", str, "the name of a metric"),
    ):
        if key in data and not isinstance(data[key], kind):
            problems.append(tree.problem(f"expected {expected}, found {described(data[key])}", (key,)))
    labels = _labels(tree, data["labels"], problems) if "labels" in data else ()
    if problems:
        return None, problems
    task = Task(
        name=data["name"],
        description=data.get("description", ""),
        labels=labels,
        multi_label=data.get("multi_label", False),
        metric=data.get("metric", "accuracy"),
    )
    return task, [tree.problem(message, (key,)) for key, message in task_faults(task)]


def _labels(tree: Tree, value: Any, problems: list[Problem]) -> tuple[Label, ...]:
    if not isinstance(value, dict):
        found = "nothing" if value is None else described(value)
        problems.append(
            tree.problem(
                f"expected each label with its definition, found {found}",
                ("labels",),
                hint="write `label: when it holds`",
            )
        )
        return ()
    labels = []
    for name, definition in value.items():
        place = ("labels", name)
        if definition is None or (isinstance(definition, str) and not definition.strip()):
            problems.append(tree.problem("the definition is missing", place, hint=f"write `{name}: when it holds`"))
        elif not isinstance(definition, str):
            problems.append(tree.problem(f"expected a definition in words, found {described(definition)}", place))
        else:
            labels.append(Label(name, definition))
    return tuple(labels)
