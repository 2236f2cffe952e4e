"""The system `understand-base` over toy tasks: whole runs, resuming, the stage, what is left out, and the report."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toy import EMOTIONS, toy_base
from tunelet.base.errors import DataError
from tunelet.base.files import read_json
from tunelet.report import build_report
from tunelet.report.result_schema import model_of, validate_as
from tunelet.systems import check_recipe, load_recipe, run_recipe
from tunelet.systems.understand_base import base_stage
from tunelet.systems.understand_base_data import BaseDataSettings, read_tasks
from tunelet.systems.understand_base_recipe import BaseStageSettings
from tunelet.training.events import Event, RunFinished, RunStarted
from tunelet.tuning.prefix_folder import fingerprint_of, start_from

RECIPE = """\
system: understand-base
name: toy-base
data: {{tasks: [{place}/feelings.yaml, {place}/places.yaml], longest: 12}}
model: {{base: {base}, max_length: 512}}
episodes: {{number: 24, validation: 12, most_classes: 3, most_shown: 2, validation_shown: [0, 2]}}
training:
  batch: {{size: 4, pool: 2}}
  learning_rate: 1e-2
  evaluate_every: 3
  log_every: 2
  threads: 1
  precision: fp32
runs:
  - name: full
    prefix: {{scale: 50, matching_dropout: 1}}
  - name: lora
    prefix: {{matching: false}}
    tuning: {{method: lora, targets: qkv, r: 2}}
"""


def a_task(place: Path, name: str, rows: dict[str, list[tuple[str, Any]]], **more: Any) -> None:
    """A task file with its data beside it."""
    labels = {
        label: f"it speaks of {label}"
        for part in rows.values()
        for _, found in part
        for label in (found if isinstance(found, list) else [found])
    }
    folder = place / f"data-{name}"
    folder.mkdir(parents=True)
    for split, part in rows.items():
        lines = [json.dumps({"text": text, "label": label}) for text, label in part]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    told = {"name": name, "instruction": "Say what it is about.", "labels": labels, **more}
    told["data"] = {"path": str(folder), "splits": list(rows)}
    (place / f"{name}.yaml").write_text(json.dumps(told), encoding="utf-8")  # JSON is YAML


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``base``, three tasks and ``toy.yaml``."""
    folder = tmp_path_factory.mktemp("meta")
    toy_base(folder / "base")
    ends = ("today", "at home", "at work", "and so", "my friend", "a letter", "the train", "in the rain")
    said = [(f"i feel {words[i % 2]} {end}", label) for label, words in EMOTIONS.items() for i, end in enumerate(ends)]
    a_task(folder, "feelings", {"train": said[::2] + said[1::4], "validation": said[3::4], "test": [said[0]]})
    things = {"dog": "dog", "cat": "cat", "sky": "rain"}
    both = [
        (f"the {a} and the {b} {end}", sorted({k for k, v in things.items() if v in (a, b)}))
        for a in ("dog", "cat", "rain", "home")
        for b in ("sun", "cat", "work", "dog")
        for end in ends[:4]
    ]
    a_task(folder, "places", {"train": both, "test": both[:1]}, multi_label=True, none="none")
    a_task(folder, "echoes", {"train": [(text.upper(), label) for text, label in said[:9]], "test": [("x y", "joy")]})
    (folder / "toy.yaml").write_text(RECIPE.format(base=folder / "base", place=folder), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def ended(place: Path) -> Path:
    """A sweep that has ended."""
    return run_recipe(load_recipe(place / "toy.yaml"), out=place / "out")


def test_the_result_is_of_its_schema_and_counts_episodes(ended: Path) -> None:
    result = read_json(ended / "result.json")
    assert type(validate_as(model_of(result["system"]), result)).__name__ == "BaseResult" and result["finished"]
    full, lora = result["runs"]
    for run in (full, lora):
        assert run["resources"]["steps"] == 6 and run["best_step"] in (3, 6)
        assert sum(cell["n"] for cell in run["cells"]) == 12
        right = sum(cell["correct"] for cell in run["cells"]) / 12
        assert run["metrics"]["validation"]["accuracy"] == pytest.approx(right)
        for key in ("regime", "task", "k", "classes"):
            assert sum(row["episodes"] for row in run["episodes"][key]) == 24
        assert fingerprint_of(ended / run["folder"] / "adapter") == run["prefix"]
    scales, matched = [], []
    for run in (full, lora):
        model = start_from(ended / run["folder"] / "adapter").model
        scales.append(model.copying.scale().exp().item())
        if model.matching is not None:
            matched.append(model.matching.sharpness().item())
    assert scales[0] > 25 > 4 > scales[1]  # begun at 50 and 2
    assert matched == [pytest.approx(math.log(11))]  # as it was: no episode of training had it
    assert full["episodes"] == lora["episodes"]  # what trains changes no episode
    assert {row["name"]: row["train"] for row in result["data"]["tasks"]}["feelings"] == 36
    trained = read_json(ended / full["folder"] / "trainable.json")
    assert not any("embeddings" in row["pattern"] for row in trained["rows"])


def test_the_report_is_written_and_again_the_same(ended: Path) -> None:
    before = (ended / "report.html").read_bytes(), (ended / "report.md").read_text(encoding="utf-8")
    assert build_report(ended).html == ended / "report.html"
    assert (ended / "report.html").read_bytes() == before[0]
    for words in ("episodes right", "permuted", "Classes that kept their name", "Training loss", "several classes"):
        assert words in before[1] or words in before[0].decode(), words
    lines = (ended / "csv" / "cells.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + sum(len(run["cells"]) for run in read_json(ended / "result.json")["runs"])


def test_an_interrupted_run_goes_on_and_ends_the_same(ended: Path, place: Path, tmp_path: Path) -> None:
    recipe, asked = load_recipe(place / "toy.yaml"), iter([False] * 3 + [True])
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, out=tmp_path / "out", only="full", interrupted=lambda: next(asked))
    events: list[Event] = []
    run_recipe(recipe, out=tmp_path / "out", only="full", observer=events.append)
    assert [event.step for event in events if isinstance(event, RunStarted)] == [4]
    (again,) = (tmp_path / "out" / "runs").glob("full-*")
    for name in ("metrics.jsonl", "adapter/trained.safetensors"):
        assert (again / name).read_bytes() == (ended / "runs" / again.name / name).read_bytes(), name


def stage(place: Path, **more: Any) -> BaseStageSettings:
    whole = load_recipe(place / "toy.yaml").runs[1]
    sections = {key: whole.settings[key] for key in ("model", "prefix", "episodes", "tuning", "training")}
    return BaseStageSettings(data=load_recipe(place / "toy.yaml").data, **{**sections, **more})


def test_the_stage_is_made_once_and_gives_a_start(place: Path, ended: Path, tmp_path: Path) -> None:
    settings, events = stage(place), list[Event]()
    data = read_tasks(settings.data)
    asked: Callable[[], bool] = iter([False, True]).__next__
    with pytest.raises(KeyboardInterrupt):
        base_stage(settings, data, tmp_path, events.append, asked)
    folder = base_stage(settings, data, tmp_path, events.append)
    assert [event.step for event in events if isinstance(event, RunStarted)] == [0, 2]
    assert base_stage(settings, data, tmp_path, events.append) == folder
    assert sum(isinstance(event, RunFinished) for event in events) == 1
    (run,) = (run for run in read_json(ended / "result.json")["runs"] if run["group"] == "lora")
    assert fingerprint_of(folder) == run["prefix"]  # the same as the recipe's run
    assert not start_from(folder).matching
    other = base_stage(stage(place, seed=2), data, tmp_path, events.append)
    assert other != folder and fingerprint_of(other) != fingerprint_of(folder)


def test_tasks_under_test_take_their_texts_with_them(place: Path) -> None:
    named = {"tasks": (f"{place}/feelings.yaml", f"{place}/places.yaml"), "longest": 12}
    usual = read_tasks(BaseDataSettings(**named))
    assert len(usual.train["feelings"]) == 36 and not usual.repeated
    # no validation split: about a tenth of the texts is held out, and none of them is trained on
    held, kept = ({e.text for e in part["places"]} for part in (usual.validation, usual.train))
    assert held and kept and not held & kept
    echo = read_tasks(BaseDataSettings(exclude=(f"{place}/echoes.yaml",), **named))
    assert echo.repeated["feelings"] >= 8 and echo.sha256 != usual.sha256
    assert len(echo.train["feelings"]) + len(echo.validation["feelings"]) + echo.repeated["feelings"] == 48
    without = read_tasks(BaseDataSettings(exclude=(f"{place}/feelings.yaml",), **named))
    assert set(without.tasks) == {"places"} and without.left_out == ("feelings",)
    apart = read_tasks(BaseDataSettings(held_out=(f"{place}/feelings.yaml",), **named))
    assert set(apart.train) == {"places"} and set(apart.validation) == {"feelings"}
    with pytest.raises(DataError, match="no example is left for training; left out: feelings, places"):
        read_tasks(BaseDataSettings(exclude=named["tasks"], **named))


def test_the_forecast(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    checked = check_recipe(load_recipe(place / "toy.yaml"))
    full, lora = (group.estimate for group in checked.groups)
    assert full is not None and lora is not None and 0 < lora.trainable < full.trainable < full.parameters
    assert list(tmp_path.iterdir()) == [] and np.isfinite(checked.seconds or np.nan)
