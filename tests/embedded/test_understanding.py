"""The embedded tasks of understanding keep what their datasheet promises: counts, labels, no near-duplicates, sound.

Not tested here: how a model scores on them.
"""

from __future__ import annotations

import importlib
import json
import re
from collections import Counter
from dataclasses import replace
from importlib import resources
from itertools import combinations, pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import soundfile

from tunelet.data.audio import read_audio
from tunelet.data.understanding.load import EMBEDDED, load_split
from tunelet.data.understanding.task import MENTION
from tunelet.data.understanding.tasks import find_task, shipped_tasks

FOLDER = Path(str(resources.files("tunelet.embedded") / "understanding"))
SIZES = {"train": 120, "validation": 42, "test": 60}
TASKS = {
    "front_desk_act": SIZES,
    "visit_opinion": SIZES,
    "request_topic": {**SIZES, "train": 126},
}
SAMPLES = {"bank_intent_sample": 48, "question_type_sample": 48, "polarity_sample": 48, "emotion_sample": 120}
MOST_BYTES = 4_000_000
TOOLS = Path(__file__).parents[2] / "tools"


def rows_of(task: str, split: str) -> list[dict[str, Any]]:
    raw = (FOLDER / task / f"{split}.jsonl").read_bytes()
    assert raw.endswith(b"\n")
    return [json.loads(line) for line in raw.decode("ascii").removesuffix("\n").split("\n")]


def index() -> list[dict[str, Any]]:
    text = (FOLDER / "speech" / "index.jsonl").read_bytes().decode("ascii")
    return [json.loads(line) for line in text.removesuffix("\n").split("\n")]


def runs(words: list[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if not (TOOLS / "make_understanding_speech.py").is_file():
        pytest.skip("the program that makes the speech is not part of the package")
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("make_understanding_speech")


@pytest.mark.parametrize("task", TASKS)
def test_counts_and_form(task: str) -> None:
    for split, size in TASKS[task].items():
        rows = rows_of(task, split)
        assert len(rows) == size
        for number, row in enumerate(rows, start=1):
            assert list(row) == ["id", "text", "label", "audio"]
            assert row["id"] == f"{split}-{number:04d}"
            assert row["audio"] == f"audio/{task}-{row['id']}.opus"
            assert re.fullmatch(r"[a-z']+( [a-z']+)*", row["text"]), row["text"]
        same = sum(a["label"] == b["label"] for a, b in pairwise(rows))
        assert same < 0.5 * size, "rows are grouped by label"


@pytest.mark.parametrize("task", ["front_desk_act", "visit_opinion"])
def test_single_labels_are_balanced(task: str) -> None:
    names = find_task(task).label_names
    for split, size in TASKS[task].items():
        assert Counter(row["label"] for row in rows_of(task, split)) == dict.fromkeys(names, size // len(names))


def test_every_topic_and_none_has_its_share_in_each_split() -> None:
    task = find_task("request_topic")
    for split, size in TASKS["request_topic"].items():
        rows = rows_of("request_topic", split)
        assert all(row["label"] == list(task.canonical(row["label"])) for row in rows)
        topics = Counter(topic for row in rows for topic in row["label"])
        assert set(topics) == set(task.label_names)
        assert all(size / 7 <= count <= size / 3 for count in topics.values()), topics
        many = Counter(len(row["label"]) for row in rows)
        assert set(many) == {0, 1, 2, 3}
        assert many[0] >= size / 9 and many[2] + many[3] >= size / 3


def test_no_near_duplicates_within_or_across_splits_and_tasks() -> None:
    texts = [row["text"].split() for task in TASKS for split in SIZES for row in rows_of(task, split)]
    for a, b in combinations([(words, set(words), runs(words, 6)) for words in texts], 2):
        assert len(a[1] & b[1]) < 0.6 * len(a[1] | b[1]), (a[0], b[0])
        assert a[0][:5] != b[0][:5] and a[2].isdisjoint(b[2]), (a[0], b[0])


def test_no_sentence_is_one_of_another_embedded_sample() -> None:
    own = {row["text"] for task in TASKS for split in SIZES for row in rows_of(task, split)}
    others = set((FOLDER.parent / "speech" / "text.txt").read_text(encoding="ascii").split("\n"))
    for path in [*FOLDER.parent.glob("emotion/*.jsonl"), *FOLDER.parent.glob("tasks/*/*.jsonl")]:
        others |= {json.loads(line)["text"] for line in path.read_text(encoding="ascii").splitlines()}
    others |= {
        json.loads(line)["text"] for line in (FOLDER.parent / "speech/index.jsonl").read_text("ascii").splitlines()
    }
    assert len(others) > 2000 and own.isdisjoint(others)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("query", ["text", "speech"])
def test_they_are_loaded_with_their_sound_wherever_other_data_are(name: str, query: Any, tmp_path: Path) -> None:
    task = replace(find_task(name), query=query)
    for split, size in TASKS[name].items():
        examples = load_split(task, split, environ={"TUNELET_DATA": str(tmp_path)})
        assert len(examples) == size
        assert all(example.audio is not None and example.audio.is_file() for example in examples)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_older_samples_are_tasks_with_definitions(name: str, tmp_path: Path) -> None:
    task = find_task(name)
    examples = load_split(task, "test", environ={"TUNELET_DATA": str(tmp_path)})
    counts = Counter(example.labels for example in examples)
    assert counts == {(label,): SAMPLES[name] // len(task.labels) for label in task.label_names}


def test_definitions_quote_no_sentence() -> None:
    for name, path in shipped_tasks().items():
        task = find_task(name)
        if not task.data.path.startswith(EMBEDDED):
            continue
        told = [task.instruction, *task.guidelines, *(MENTION.sub("", label.definition) for label in task.labels)]
        seen = set().union(*(runs(re.findall(r"[a-z']+", text.lower()), 5) for text in told))
        for split in SIZES:
            for example in load_split(task, split):
                assert seen.isdisjoint(runs(example.text.split(), 5)), (path, example.text)


def test_voices_of_the_splits_are_disjoint_and_evenly_heard() -> None:
    rows = index()
    voices = {split: Counter(row["speaker"] for row in rows if row["split"] == split) for split in SIZES}
    assert {split: len(found) for split, found in voices.items()} == {"train": 5, "validation": 3, "test": 5}
    for first, second in combinations(voices.values(), 2):
        assert first.keys().isdisjoint(second)
    for found in voices.values():
        assert max(found.values()) - min(found.values()) <= 3
    older = [json.loads(line) for line in (FOLDER.parent / "speech" / "index.jsonl").read_text("ascii").splitlines()]
    assert voices["test"].keys().isdisjoint(row["speaker"] for row in older if row["split"] != "test")


def test_the_index_tells_of_every_row() -> None:
    rows = [(task, split, row) for task in TASKS for split in SIZES for row in rows_of(task, split)]
    told = [(row["task"], row["split"], row["id"], row["audio"], row["text"]) for row in index()]
    assert told == [(task, split, f"{task}-{row['id']}", row["audio"], row["text"]) for task, split, row in rows]


def test_every_file_is_there_short_and_small() -> None:
    rows = index()
    files = sorted((FOLDER / "speech" / "audio").iterdir())
    assert [f"audio/{path.name}" for path in files] == sorted(row["audio"] for row in rows)
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
    for row in rows:
        with soundfile.SoundFile(FOLDER / "speech" / row["audio"]) as file:
            assert (file.samplerate, file.channels, file.format, file.subtype) == (16000, 1, "OGG", "OPUS")
            seconds = file.frames / 16000
        assert 0.5 <= seconds <= 8
        assert seconds == pytest.approx(row["seconds"], abs=0.01)


def test_the_files_are_read_without_a_finding() -> None:
    for row in index()[::30]:
        sound = read_audio(FOLDER / "speech" / row["audio"])
        assert sound.findings() == []
        assert abs(sound.samples).max() > 0.3


def test_every_word_can_be_said_and_recognised() -> None:
    pocketsphinx = pytest.importorskip("pocketsphinx")
    path = Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))
    known = {line.split(maxsplit=1)[0] for line in path.read_text(encoding="utf-8").split("\n") if line}
    assert {word for row in index() for word in row["text"].split()} <= known


def test_the_program_that_made_it_plans_the_same_again(tool: ModuleType) -> None:
    planned = [row for task in TASKS for split in SIZES for row in tool.plan(task, split)]
    assert [{key: value for key, value in row.items() if key != "seconds"} for row in index()] == planned
