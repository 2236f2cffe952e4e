"""Tasks: the built-in one, task files, labels in a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunelet.base.errors import DataError, InputError
from tunelet.data.records import Label
from tunelet.data.settings import DataSettings
from tunelet.data.task_rules import METRICS, task_faults
from tunelet.data.tasks import TASKS, builtin_task, resolve_task


def test_the_labels_of_emotion_have_the_published_order_and_definitions() -> None:
    task = builtin_task("emotion")
    assert task.label_names == ("sadness", "joy", "love", "anger", "fear", "surprise")
    assert all(label.definition for label in task.labels)


@pytest.mark.parametrize("name", TASKS.names())
def test_built_in_tasks_keep_the_rules(name: str) -> None:
    task = TASKS.get(name)
    assert task.name == name
    assert task_faults(task) == []


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'emotion'"):
        builtin_task("emotions")


def test_a_task_file(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(
        "name: answers\ndescription: what was said\nmulti_label: true\nmetric: micro_f1\n"
        "labels:\n  yes: it was affirmed\n  no: it was denied\n  12: a number was given\n"
    )
    task = resolve_task(DataSettings(task=str(path)))
    assert task.label_names == ("yes", "no", "12")  # not True, False and a number
    assert task.labels[0] == Label("yes", "it was affirmed")
    assert (task.name, task.description, task.multi_label, task.metric) == (
        "answers",
        "what was said",
        True,
        "micro_f1",
    )


def test_all_problems_of_a_task_file_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text("title: x\nmulti_label: maybe\nlabels:\n  a:\n  b: [c]\n")
    with pytest.raises(DataError) as caught:
        resolve_task(DataSettings(task=str(path)))
    told = {(problem.line, problem.field) for problem in caught.value.problems}
    assert told == {(1, "title"), (None, "name"), (2, "multi_label"), (4, "labels.a"), (5, "labels.b")}


def test_aliases_and_tags_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    for content in ("name: &a x\nlabels: *a\n", "name: !!python/name:os.system x\nlabels: {a: b}\n"):
        path.write_text(content)
        with pytest.raises(DataError):
            resolve_task(DataSettings(task=str(path)))


def test_labels_in_a_recipe() -> None:
    task = resolve_task(DataSettings(task="mine", labels=["a", "b"], multi_label=True))
    assert (task.name, task.label_names, task.multi_label) == ("mine", ("a", "b"), True)
    assert task.metric in METRICS[True]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"labels": ["a", " b"]}, "data.labels"),
        ({"labels": ["a", "b|c"]}, "data.labels"),
        ({"task": "my task", "labels": ["a", "b"]}, "data.task"),
        ({"multi_label": True}, "data.multi_label"),
        ({"task": "x.yaml", "labels": ["a", "b"]}, "data.labels"),
    ],
)
def test_what_cannot_be_a_task(given: dict[str, object], field: str) -> None:
    with pytest.raises(DataError) as caught:
        resolve_task(DataSettings(**given))  # type: ignore[arg-type]
    assert [problem.field for problem in caught.value.problems] == [field]
