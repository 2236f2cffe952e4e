"""The system itself: a run's numbers come from its adapter folder, and a task may have several labels for a text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from toy import toy_base
from toy_sweep import Toy, make_toy
from tunelet.base.errors import InputError
from tunelet.cli import main
from tunelet.data.readers import read_texts
from tunelet.evaluation.inference import predict_stream
from tunelet.report.result_schema import validate
from tunelet.systems import load_recipe, run_recipe
from tunelet.training.events import Note, RunFinished
from tunelet.tuning.folder import load_adapter

TASK = """\
name: moods
description: What a text is about, which may be several things.
labels:
  weather: rain or sun
  pets: dog or cat
  people: a friend
multi_label: true
metric: macro_f1
"""
WORDS = {"weather": ("rain", "sun"), "pets": ("dog", "cat"), "people": ("friend", "friend")}
RECIPE = """\
system: classify
name: moods
data: {{path: {folder}, task: {folder}/task.yaml}}
model: {{base: {base}, max_length: 16}}
tuning: {{method: full}}
training:
  epochs: 100
  max_steps: 60
  batch: {{size: 16, evaluation_size: 64}}
  learning_rate: 1e-2
  evaluate_every: 20
  select: macro_f1
  threads: 1
"""


def moods(folder: Path) -> Path:
    """A task in which a text has none, one or several of three labels; returns the recipe."""
    folder.mkdir()
    (folder / "task.yaml").write_text(TASK)
    for split, count in (("train", 64), ("validation", 24), ("test", 24)):
        rows = []
        for number in range(count):
            labels = [label for bit, label in enumerate(WORDS) if number >> bit & 1]
            words = [WORDS[label][number // 8 % 2] for label in labels]
            rows.append(json.dumps({"text": f"i {' and '.join(words)} at home {split} {number}", "label": labels}))
        (folder / f"{split}.jsonl").write_text("\n".join(rows) + "\n")
    recipe = folder / "moods.yaml"
    recipe.write_text(RECIPE.format(folder=folder, base=toy_base(folder / "base")))
    return recipe


def test_the_scores_are_those_of_the_adapter_on_disk(ended: Toy) -> None:
    folder = ended.folder("lora-seed1")
    rows = [json.loads(line) for line in (folder / "predictions" / "validation.jsonl").read_text().splitlines()]
    loaded = load_adapter(folder / "adapter")
    again = [row.to_json() for row in predict_stream(loaded, read_texts(ended.data / "validation.jsonl"), batch_size=5)]
    assert [row["predicted"] for row in again] == [row["predicted"] for row in rows]
    for one, other in zip(again, rows, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)


def test_the_best_step_is_the_first_of_the_best_on_validation(ended: Toy) -> None:
    for run in ended.result()["runs"]:
        rows = map(json.loads, (ended.out / run["folder"] / "metrics.jsonl").read_text().splitlines())
        curve = {row["step"]: row["validation"]["accuracy"] for row in rows if "validation" in row}
        assert run["best_step"] == max(curve, key=lambda step: (curve[step], -step))
        assert run["metrics"]["validation"]["accuracy"] == pytest.approx(curve[run["best_step"]], abs=1e-12)


def test_data_and_what_trains_are_told(tmp_path: Path) -> None:
    toy = make_toy(tmp_path)
    toy.run("seeds=[1]", only="lora")
    told = [note.text for note in toy.told(Note)]
    assert any(str(toy.data) in text and "48 train, 18 validation, 18 test" in text for text in told)
    assert any("parameters train" in text and "trainable.json" in text for text in told)
    (finished,) = toy.told(RunFinished)
    assert finished.summary.startswith("validation ") and "tokens/s" in finished.summary


def test_several_labels_from_the_task_file_to_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = moods(tmp_path / "moods")
    assert main(["run", str(recipe), "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    validate(result)
    assert result["data"]["multi_label"] is True
    assert result["data"]["labels"] == list(WORDS)
    (run,) = result["runs"]
    test = run["metrics"]["test"]
    assert test["n"] == 24 and {"accuracy", "weighted_f1", "macro_f1", "loss", "micro_f1"} <= test.keys()
    assert test["macro_f1"] > 0.8  # a word gives each label away
    folder = tmp_path / "out" / run["folder"]
    rows = [json.loads(line) for line in (folder / "predictions" / "test.jsonl").read_text().splitlines()]
    assert test["accuracy"] == sum(set(row["labels"]) == set(row["predicted"]) for row in rows) / 24
    assert {len(row["predicted"]) for row in rows} >= {0, 1, 2}
    assert all(row["predicted"] == [label for label, p in row["probabilities"].items() if p >= 0.5] for row in rows)
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000

    assert main(["predict", str(folder / "adapter"), "--file", str(tmp_path / "moods" / "test.jsonl")]) == 0
    again = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["predicted"] for row in again] == [row["predicted"] for row in rows]


def test_targets_that_match_nothing_are_wrong_input(tmp_path: Path) -> None:
    toy = make_toy(tmp_path)
    with pytest.raises(InputError, match="no_such_layer"):
        toy.run("tuning.targets=[no_such_layer]", "seeds=[1]", only="lora")
    assert not list(toy.out.glob("runs/*/run.json"))


def test_the_seed_decides(ended: Toy, tmp_path: Path) -> None:
    """Another seed gives another run, the same seed the same one, whatever the state of the global generators."""
    weights = {}
    np.random.seed(3)
    again = run_recipe(load_recipe(ended.recipe, ["seeds=[1]"]), data_dir=ended.data, out=tmp_path, only="lora")
    (same,) = (again / "runs").iterdir()
    for name, folder in (("first", ended.folder("lora-seed1")), ("again", same), ("other", ended.folder("lora-seed2"))):
        weights[name] = (folder / "adapter" / "adapter_model.safetensors").read_bytes()
    assert weights["first"] == weights["again"] != weights["other"]
