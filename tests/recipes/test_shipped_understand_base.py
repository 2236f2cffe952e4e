"""The shipped recipe of `understand-base` runs at toy size, and reads the tasks that it names where they are."""

from __future__ import annotations

import json
from pathlib import Path

from toy import EMOTIONS, toy_base
from tunelet.report.result_schema import model_of, validate_as
from tunelet.systems import load_recipe, run_recipe
from tunelet.systems.understand_base_data import TASKS, BaseDataSettings, read_tasks

SMALL = [
    "data.exclude=[]",
    "episodes.number=8",
    "episodes.validation=4",
    "training.batch.size=4",
    "training.max_steps=2",
    "training.evaluate_every=1",
]


def toy_task_file(place: Path) -> Path:
    """A task of six classes with its data beside it."""
    folder = place / "data"
    folder.mkdir()
    for split, ends in (("train", ("today", "at home", "at work")), ("validation", ("and so", "my friend"))):
        rows = [
            {"text": f"{word} {end}", "label": k} for k, words in EMOTIONS.items() for word in words for end in ends
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    labels = {name: f"{words[0]} or {words[1]}" for name, words in EMOTIONS.items()}
    data = {"path": str(folder), "splits": ["train", "validation"]}
    told = {"name": "toy", "instruction": "Say what she felt.", "labels": labels, "data": data}
    (place / "toy.yaml").write_text(json.dumps(told), encoding="utf-8")
    return place / "toy.yaml"


def test_the_recipe_runs_at_toy_size(tmp_path: Path) -> None:
    base, task = toy_base(tmp_path / "base"), toy_task_file(tmp_path)
    recipe = load_recipe("understand-base", [*SMALL, f"model.base={base}", f"data.tasks=[{task}]"])
    folder = run_recipe(recipe, out=tmp_path / "out")
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    validate_as(model_of(result["system"]), result)
    assert result["finished"] and [run["name"] for run in result["runs"]] == result["planned"]
    assert (folder / "report.html").stat().st_size > 10_000


def test_the_real_tasks_are_read_and_those_under_test_are_not(real_data: Path) -> None:
    settings = load_recipe("understand-base").data
    assert isinstance(settings, BaseDataSettings)
    data = read_tasks(settings.model_copy(update={"limit": 200}), real_data)
    assert not {"meld", "swda", "swda_full", "slurp_entities", "slurp_intents"} & set(data.tasks)
    assert set(data.tasks) | set(data.left_out) == set(TASKS) and not data.unread
    assert all(len(examples) <= 200 for examples in data.train.values())
    assert any(task.multi_label for task in data.tasks.values())
