"""Rows to examples: six forms of labels, renaming, folds, ids, sound, and where a task's folder is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from toy_understanding import toy_task
from tunelet.base.errors import DataError
from tunelet.data.understanding.label_values import LabelFormError, names_of
from tunelet.data.understanding.load import EMBEDDED, load_split, task_folder
from tunelet.data.understanding.task import SplitData, TaskData, UnderstandingTask
from tunelet.data.understanding.tasks import find_task, shipped_tasks
from tunelet.data.understanding.templates import UnfilledError, filled


def write(folder: Path, rows: list[dict[str, Any]], name: str = "test.jsonl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def of(task: UnderstandingTask, tmp_path: Path, **data: Any) -> UnderstandingTask:
    return replace(task, data=TaskData(**{"path": str(tmp_path), **data}))


@pytest.mark.parametrize(
    ("form", "value", "names"),
    [
        ("name", "a b", ("a b",)),
        ("list", ["b", "a"], ("b", "a")),
        ("list", "b|a", ("b", "a")),
        ("list", "", ()),
        ("bio", ["O", "B-a", "I-a", "B-b-c", "B-a"], ("a", "b-c")),
        ("types", [{"type": "a", "span": [1]}, {"type": "a"}], ("a",)),
        ("types", [], ()),
        ("quoted", "['a', \"b\"]", ("a", "b")),
        ("quoted", "[]", ()),
        ("spans", "[['LAW', 86, 18], ['ORG', 1, 2]]", ("LAW", "ORG")),
        ("spans", "None", ()),
    ],
)
def test_forms_of_labels(form: Any, value: object, names: tuple[str, ...]) -> None:
    assert names_of(form, value) == names


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("name", ["a"]),
        ("list", ["a", 3]),
        ("list", None),
        ("bio", ["B-a", "x"]),
        ("types", [{"kind": "a"}]),
        ("types", "a"),
        ("quoted", "['a'"),
        ("quoted", "['a' 'b']"),
        ("quoted", "[__import__('os')]"),
        ("quoted", ["a"]),
        ("spans", "[['LAW', 86]]"),
        ("spans", "[['LAW', x, 18]]"),
    ],
)
def test_values_that_are_not_of_their_form(form: Any, value: object) -> None:
    with pytest.raises(LabelFormError, match=r"expected|tags"):
        names_of(form, value)


@given(st.lists(st.text("abz_- 7", min_size=1, max_size=6), max_size=5, unique=True))
def test_a_printed_list_is_read_back(names: list[str]) -> None:
    assert names_of("quoted", repr(names)) == tuple(names)
    assert names_of("spans", repr([[name, 3, 14] for name in names])) == tuple(names)


def test_templates() -> None:
    row = {"call": "c7", "start": 100, "length": "20", "flag": True, "blank": " "}
    assert filled("a/{call}_{start}_{start+length}.wav", row) == "a/c7_100_120.wav"
    assert filled("call", row) == "c7"
    for template, field in (("{oops}", "oops"), ("{start+call}", "call"), ("{flag}", "flag"), ("blank", "blank")):
        with pytest.raises(UnfilledError) as caught:
            filled(template, row)
        assert caught.value.field == field


def test_rows_are_renamed_dropped_and_put_in_canonical_order(tmp_path: Path) -> None:
    rows = [
        {"words": ["It", "rains", "."], "is": ["wet", "sun"]},
        {"words": ["Fog"], "is": ["fog"]},
        {"words": ["Clear"], "is": ["sun", "haze"]},
    ]
    write(tmp_path, rows)
    task = toy_task(multi_label=True, none="nothing")
    task = of(task, tmp_path, text="words", label="is", rename={"wet": "rain"}, drop=("fog", "haze"))
    found = load_split(task, "test")
    assert [(e.id, e.text, e.labels) for e in found] == [
        ("0", "It rains .", ("sun", "rain")),
        ("1", "Fog", ()),
        ("2", "Clear", ("sun",)),
    ]
    assert found[0].key == ("test", "0")


def test_a_single_label_row_of_a_class_that_is_left_out_is_left_out_unread(tmp_path: Path) -> None:
    write(tmp_path, [{"text": "a", "label": "hail"}, {"text": "", "label": "hail"}, {"text": "b", "label": "sun"}])
    found = load_split(of(toy_task(), tmp_path, others="drop"), "test")
    assert [(e.id, e.text) for e in found] == [("2", "b")]
    with pytest.raises(DataError, match=r"test\.jsonl:1: label: unknown label 'hail'"):
        load_split(of(toy_task(), tmp_path), "test")


def test_a_restricted_task_loads_only_its_classes(tmp_path: Path) -> None:
    write(tmp_path, [{"text": "a", "label": "snow", "asr": "ah"}, {"text": "b", "label": "sun", "asr": "bee"}])
    whole = replace(toy_task(), guidelines=("Prefer {snow}.", "Prefer {sun}."))
    task = of(whole, tmp_path, heard="asr").restricted(["sun", "rain"])
    assert (task.label_names, task.guidelines) == (("sun", "rain"), ("Prefer {sun}.",))
    assert [(e.text, e.heard) for e in load_split(task, "test")] == [("b", "bee")]
    with pytest.raises(DataError, match="unknown class of task 'sky': 'hail'"):
        task.restricted(["hail"])


def test_folds_of_one_file(tmp_path: Path) -> None:
    write(tmp_path, [{"text": f"t{i}", "label": "sun", "fold": i % 3} for i in range(9)], "all.jsonl")
    splits = {"train": SplitData("all.jsonl", {"fold": ("0", "1")}), "test": SplitData("all.jsonl", {"fold": ("2",)})}
    task = of(toy_task(), tmp_path, splits=splits)
    assert [len(load_split(task, split)) for split in splits] == [6, 3]
    assert [e.text for e in load_split(task, "test")] == ["t2", "t5", "t8"]
    with pytest.raises(DataError, match="unknown split of task 'sky': 'validation'"):
        load_split(task, "validation")


def test_a_limit_keeps_shares_and_is_the_same_every_time(tmp_path: Path) -> None:
    write(tmp_path, [{"text": f"t{i}", "label": ("sun", "rain")[i % 4 == 0]} for i in range(40)])
    task = of(toy_task(), tmp_path)
    few = load_split(task, "test", limit=8)
    assert [e.labels[0] for e in few].count("rain") == 2
    assert few == load_split(task, "test", limit=8)


BROKEN: list[tuple[str, dict[str, Any], str, str]] = [
    ("no text", {"label": "sun"}, "text", "missing"),
    ("no label", {"text": "a"}, "label", "missing"),
    ("blank text", {"text": " ", "label": "sun"}, "text", "empty"),
    ("a number as text", {"text": 5, "label": "sun"}, "text", "expected a text"),
    ("a label of another form", {"text": "a", "label": ["sun"]}, "label", "expected the name of a label"),
    ("no id", {"text": "a", "label": "sun", "id": None}, "id", "id"),
    ("an id again", {"text": "a", "label": "sun", "id": "1"}, "id", "also the id on line 1"),
]


@pytest.mark.parametrize(("row", "field", "words"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_broken_rows_are_told_with_line_and_field(row: dict[str, Any], field: str, words: str, tmp_path: Path) -> None:
    good = {"text": "fine", "label": "sun", "id": "1"}
    write(tmp_path, [good, {"id": "2", **row} if "id" not in row else row])
    with pytest.raises(DataError) as caught:
        load_split(of(toy_task(), tmp_path), "test")
    (problem,) = caught.value.problems
    assert (problem.line, problem.field) == (2, field) and words in str(problem)
    assert problem.file == tmp_path / "test.jsonl"


def test_no_class_needs_an_answer(tmp_path: Path) -> None:
    write(tmp_path, [{"text": "a", "label": []}])
    with pytest.raises(DataError, match="no answer for none"):
        load_split(of(toy_task(multi_label=True), tmp_path), "test")


def test_places_of_a_folder(tmp_path: Path) -> None:
    task = replace(toy_task(), file=tmp_path / "own" / "sky.yaml")
    environ = {"TUNELET_DATA": str(tmp_path / "data")}
    write(tmp_path / "data" / "sky", [])
    assert task_folder(task, environ=environ) == tmp_path / "data" / "sky"
    write(tmp_path / "own" / "sky", [])
    assert task_folder(task, environ=environ) == tmp_path / "own" / "sky"
    write(tmp_path / "given" / "sky", [])
    assert task_folder(task, data_dir=tmp_path / "given", environ=environ) == tmp_path / "given" / "sky"
    with pytest.raises(DataError, match=r"no data for task 'sky'.*TUNELET_DATA"):
        task_folder(toy_task(), environ={})
    with pytest.raises(DataError, match=r"file of the test split is missing.*other\.jsonl"):
        write(tmp_path / "own" / "sky", [], "other.jsonl")
        load_split(replace(task, data=replace(task.data, splits={"test": SplitData("t.tsv")})), "test")


def test_the_sample_in_the_package_is_the_last_place() -> None:
    assert len(load_split(find_task("emotion"), "test", environ={})) == 120


def test_what_only_the_package_has_is_taken_from_there(tmp_path: Path) -> None:
    task = replace(toy_task(), file=tmp_path / "sky.yaml", data=TaskData("embedded:emotion"))
    write(tmp_path / "embedded:emotion", [])
    found = task_folder(task, data_dir=tmp_path, environ={"TUNELET_DATA": str(tmp_path)})
    assert found == task_folder(find_task("emotion"), environ={})
    with pytest.raises(DataError, match=r"data\.path: the folder does not exist.*did you mean .*emotion"):
        task_folder(replace(task, data=TaskData("embedded:emotions")), environ={})


SLUE = {
    "slue_voxceleb": (
        "id\tnormalized_text\tsentiment\tstart_second\tend_second\n"
        "a\twhat a joy\tPositive\t1.5\t2.25\nb\twell\tDisagreement\t0\t1\nc\tit is red\tNeutral\t0\t1\n",
        "dev_raw/{}.flac",
        {"a": ("positive",), "c": ("neutral",)},
    ),
    "slue_hvb": (
        "issue_id\tchannel\tstart_ms\tduration_ms\ttext\tdialog_acts\n"
        "q\t1\t100\t900\tyes thanks\t['thanks', 'answer_agree']\nq\t2\t1000\t50\t\t['backchannel']\n",
        "dev/{}.wav",
        {"q_100_1000": ("answer_agree", "thanks"), "q_1000_1050": ("backchannel",)},
    ),
    "slue_voxpopuli": (
        "id\traw_text\tnormalized_text\tspeaker_id\tsplit\traw_ner\tnormalized_ner\n"
        "a\t\ttwo in paris\t7\tdev\t[]\t[['GPE', 7, 5], ['CARDINAL', 0, 3], ['FAC', 0, 1]]\n"
        "b\t\tso it is\t7\tdev\t[]\tNone\n",
        "dev/{}.ogg",
        {"a": ("PLACE", "QUANT"), "b": ()},
    ),
}


@pytest.mark.parametrize("name", SLUE)
def test_slue_is_read_as_it_is_laid_out(name: str, tmp_path: Path) -> None:
    table, sound, expected = SLUE[name]
    task = find_task(name)
    folder = tmp_path / task.data.path
    for split in expected:
        path = folder / sound.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".wav":
            soundfile.write(path, np.zeros(160, dtype=np.float32), 16_000)
        else:
            path.write_bytes(b"sound")
    (folder / f"{task.data.path}_dev.tsv").write_text(table, encoding="utf-8")
    found = load_split(task, "validation", data_dir=tmp_path)
    assert {e.id: e.labels for e in found} == expected
    assert all(e.audio is not None and e.audio.is_file() for e in found)
    assert found[0].seconds == ((1.5, 2.25) if name == "slue_voxceleb" else None)
    (folder / sound.format(next(iter(expected)))).unlink()
    with pytest.raises(DataError, match=r"dev\.tsv:2: audio: there is no such sound file"):
        load_split(task, "validation", data_dir=tmp_path)


#: splits that are read in a moment; the train splits have the same form
QUICK = {"swda": ("validation", "test"), "swda_full": ("validation", "test")}


#: those whose data are not in the package and can be had without asking
REAL = [
    name
    for name in shipped_tasks()
    if not name.startswith("slue_") and not find_task(name).data.path.startswith(EMBEDDED)
]


@pytest.mark.parametrize("name", REAL)
def test_real_data_fit_their_task(name: str, real_data: Path) -> None:
    task = find_task(name)
    seen: set[str] = set()
    for split in QUICK.get(name, [split for split in task.data.splits if split != "train"]):
        examples = load_split(task, split, data_dir=real_data)
        assert len(examples) > 300 or (name, len(examples)) == ("spoken_digits", 300)
        seen |= {label for example in examples for label in example.labels}
    assert len(set(task.label_names) - seen) <= 3  # a rare class may have no example outside train
