"""Task files of tasks told in words: the short form, the long form, and everything that can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunelet.base.errors import DataError
from tunelet.data.records import SPLITS
from tunelet.data.understanding.task import SplitData
from tunelet.data.understanding.task_file import read_understanding_task
from tunelet.data.understanding.tasks import find_task, shipped_tasks

SHORT = """\
name: reviews
title: Reviews of a restaurant
instruction: Say whether the customer is content.
labels:
  bad: the customer would not come again
  good: the customer would come again
data: reviews
"""


def read(tmp_path: Path, text: str) -> object:
    path = tmp_path / "task.yaml"
    path.write_text(text, encoding="utf-8")
    return read_understanding_task(path)


def test_seven_lines_are_a_task(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(SHORT)
    task = find_task(str(tmp_path / "task.yaml"))
    assert task.label_names == ("bad", "good")
    assert (task.metric, task.query, task.multi_label, task.form, task.none) == (
        "macro_f1",
        "text",
        False,
        "name",
        None,
    )
    assert task.data.path == "reviews" and tuple(task.data.splits) == SPLITS
    assert task.file == tmp_path / "task.yaml"


def test_the_long_form(tmp_path: Path) -> None:
    text = SHORT.replace(
        "data: reviews\n",
        "guidelines: [Judge all of it., 'Prefer {good}.']\nmulti_label: true\nnone: neither\nmetric: micro_f1\n"
        "query: speech\ndata:\n  path: r\n  form: quoted\n  rename: {ok: good}\n  drop: [mixed]\n  others: drop\n"
        "  splits:\n    test: {file: t.tsv, where: {fold: [1, 2]}, audio: 'wav/{id}.wav'}\n"
        "    train: {audio: 'wav/{id}.wav'}\n",
    )
    task = read(tmp_path, text)
    assert task.guidelines == ("Judge all of it.", "Prefer {good}.")  # type: ignore[attr-defined]
    data = task.data  # type: ignore[attr-defined]
    assert (data.form, data.rename, data.drop, data.others) == ("quoted", {"ok": "good"}, ("mixed",), "drop")
    assert list(data.splits) == ["train", "test"]
    assert data.splits["test"] == SplitData("t.tsv", {"fold": ("1", "2")}, "wav/{id}.wav")


SAY = "instruction: Say whether the customer is content."
LONG = SHORT.replace("data: reviews\n", "data:\n  path: r\n")
BROKEN = [
    # text, line, field, words of the message
    ("missing definition", SHORT.replace("bad: the customer would not come again", "bad:"), 5, "labels.bad", "missing"),
    ("duplicate label", SHORT.replace("  good:", "  bad:"), 6, "labels.bad", "stands twice"),
    ("alike labels", SHORT.replace("  good:", "  Bad:"), 6, "labels.Bad", "differ only in case"),
    ("comma in a label", SHORT.replace("  good:", "  so, so:"), 6, "labels.so, so", "no comma"),
    ("one label", SHORT.replace("  good: the customer would come again\n", ""), 4, "labels", "at least 2"),
    ("labels as a list", SHORT.replace("  bad:", "  - bad:").replace("  good:", "  - good:"), 4, "labels", "a list"),
    ("metric unknown", SHORT + "metric: f1\n", 8, "metric", "unknown metric 'f1'"),
    ("metric that does not fit", SHORT + "metric: micro_f1\n", 8, "metric", "single-label task"),
    ("metric that does not fit", SHORT + "metric: mcc\nmulti_label: true\n", 8, "metric", "multi-label task"),
    ("none in a single-label task", SHORT + "none: none\n", 8, "none", "only a multi-label task"),
    ("none is a class", SHORT + "none: Good\nmulti_label: true\n", 8, "none", "also the name of a class"),
    ("no instruction", SHORT.replace(f"{SAY}\n", ""), None, "instruction", "missing"),
    ("empty instruction", SHORT.replace("Say whether the customer is content.", "''"), 3, "instruction", "empty"),
    ("misspelt key", SHORT.replace("title:", "titel:"), 2, "titel", "did you mean 'title'"),
    ("a mention of no class", SHORT + "guidelines: [So., 'Not {god}.']\n", 8, "guidelines[1]", "did you mean {good}"),
    ("query", SHORT + "query: sound\n", 8, "query", "text, speech"),
    ("speech without sound", SHORT + "query: speech\n", None, "data.splits.train", "audio"),
    ("no path", LONG.replace("path: r", "text: t"), 7, "data.path", "missing"),
    ("an empty path", SHORT.replace("data: reviews", "data: ''"), 7, "data", "empty"),
    ("misspelt key of data", LONG + "  rename_: {}\n", 9, "data.rename_", "did you mean 'rename'"),
    ("form", LONG + "  form: bios\n", 9, "data.form", "did you mean 'bio'"),
    ("form that does not fit", LONG + "  form: bio\n", 9, "data.form", "single-label task"),
    ("renamed to no class", LONG + "  rename:\n    ok: goood\n", 10, "data.rename.ok", "did you mean 'good'"),
    ("renamed and dropped", LONG + "  rename: {ok: good}\n  drop: [ok]\n", 10, "data.drop", "renamed, too"),
    ("a class is dropped", LONG + "  drop: [bad]\n", 9, "data.drop[0]", "without data"),
    ("others", LONG + "  others: ignore\n", 9, "data.others", "error, drop"),
    ("unknown split", LONG + "  splits: [train, dev]\n", 9, "data.splits", "unknown split 'dev'"),
    ("split twice", LONG + "  splits: [test, test]\n", 9, "data.splits[1]", "stands twice"),
    ("no split", LONG + "  splits: []\n", 9, "data.splits", "no split"),
    ("where", LONG + "  splits:\n    test: {where: {fold: 3}}\n", 10, "data.splits.test.where.fold", "a list"),
    ("braces", LONG + "  id: '{call'\n", 9, "data.id", "no partner"),
    ("braces in audio", LONG + "  splits:\n    test: {audio: 'a/{}.wav'}\n", 10, "data.splits.test.audio", "no name"),
    ("no end", LONG + "  start: begin\n", 7, "data", "come together"),
    ("empty", "", None, None, "empty"),
    ("no mapping", "- a\n", None, None, "expected the keys"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "field", "words"), [case[1:] for case in BROKEN], ids=[c[0] for c in BROKEN])
def test_what_is_wrong_is_told_with_its_place(
    text: str, line: int | None, field: str | None, words: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    problem = next((p for p in caught.value.problems if p.field == field and words in str(p)), None)
    assert problem is not None, str(caught.value)
    assert problem.file == str(tmp_path / "task.yaml") or problem.file == tmp_path / "task.yaml"
    if line is not None:
        assert problem.line == line


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, LONG.replace("labels:", "lables:") + "  form: 3\n  oters: drop\nmetric: 5\n")
    fields = {problem.field for problem in caught.value.problems}
    assert {"lables", "labels", "data.form", "data.oters", "metric"} <= fields


def test_a_name_that_is_not_shipped_is_answered_with_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean 'snips'"):
        find_task("snip")


@pytest.mark.parametrize("name", shipped_tasks())
def test_shipped_tasks_keep_the_rules(name: str) -> None:
    task = find_task(name)
    assert task.name == name and task.title and task.instruction.endswith(".")
    definitions = [label.definition for label in task.labels]
    assert len(set(definitions)) == len(definitions)
    assert all(len(definition) <= 100 and not definition.endswith(".") for definition in definitions)
    assert (task.query == "speech") == name.startswith(("slue_", "spoken_"))


def test_the_published_classes_are_there() -> None:
    assert find_task("slue_voxceleb").label_names == ("positive", "negative", "neutral")
    assert len(find_task("slue_hvb").labels) == 18 and find_task("slue_hvb").multi_label
    assert find_task("slue_voxpopuli").label_names == ("LAW", "NORP", "ORG", "PERSON", "PLACE", "QUANT", "WHEN")
    sizes = {"banking77": 77, "clinc150": 151, "emotion": 6, "nlupp": 48, "swda_full": 41, "trec6": 6, "wnut17": 6}
    assert {name: len(find_task(name).labels) for name in sizes} == sizes
