"""What a check finds: the audit, and a forecast for each kind of run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from toy_sweep import Toy
from tunelet.base.errors import DataError, InputError
from tunelet.systems import check_recipe, load_recipe
from tunelet.systems.checking import Checked

GRID = (
    "runs=[{name: lora, tuning: {method: lora, r: 2}, grid: {training.learning_rate: [1e-2, 1e-3], "
    "tuning.dropout: [0.0, 0.1]}}, {name: full, tuning: {method: full}}]"
)


def check(toy: Toy, *overrides: str, **options: Any) -> Checked:
    found: Checked = check_recipe(load_recipe(toy.recipe, overrides), data_dir=toy.data, **options)
    return found


def test_groups_that_train_alike_share_a_forecast(ended: Toy) -> None:
    checked = check(ended, GRID, "seeds=[1]")
    kinds = [group.like for group in checked.groups]
    assert len(kinds) == 5 and len(set(kinds)) == 3
    assert kinds[0] == kinds[2] and kinds[1] == kinds[3]  # they differ in the learning rate alone
    assert all(group.estimate is not None for group in checked.groups)


def test_the_counts_are_those_of_the_runs_and_the_bounds_hold_the_middle(ended: Toy) -> None:
    checked = check(ended)
    runs = {run["group"]: run["resources"] for run in ended.result()["runs"]}
    for group in checked.groups:
        assert group.estimate is not None and group.seeds == 2
        assert group.estimate.trainable == runs[group.name]["trainable_parameters"]
        assert group.estimate.parameters == runs[group.name]["total_parameters"]
        assert 0 < group.estimate.seconds_low <= group.estimate.seconds <= group.estimate.seconds_high
        assert group.estimate.memory.parameters == runs[group.name]["memory"]["parameters"]
        assert group.estimate.memory.optimizer == runs[group.name]["memory"]["optimizer"]
    assert checked.seconds == pytest.approx(sum(g.estimate.seconds * 2 for g in checked.groups if g.estimate))
    assert json.loads(json.dumps(checked.to_json()))["groups"][0]["estimate"]["trust"]


def test_without_an_estimate_no_model_is_built(ended: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*arguments: object, **options: object) -> None:
        raise AssertionError("a model was built")

    monkeypatch.setattr("tunelet.systems.classify.forecast", build)
    checked = check(ended, estimate=False)
    assert [(group.name, group.like, group.estimate) for group in checked.groups] == [
        ("lora", "lora", None),
        ("full", "full", None),
    ]
    assert checked.seconds is None


def test_the_audit_is_told(ended: Toy, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "validation", "test"):
        content = (ended.data / f"{split}.jsonl").read_text()
        (data / f"{split}.jsonl").write_text(content + '{"text": "the same in all", "label": "joy"}\n')
    recipe = load_recipe(ended.recipe)
    checked = check_recipe(recipe, data_dir=data, estimate=False)
    assert checked.data["splits"] == {"train": 49, "validation": 19, "test": 19}
    assert any("test" in message and "train" in message for _, message in checked.findings)


def test_a_forecast_leaves_the_random_state_alone(ended: Toy) -> None:
    before = torch.get_rng_state()
    check(ended, "seeds=[1]")
    assert torch.equal(torch.get_rng_state(), before)


def test_wrong_data_and_a_wrong_base_are_wrong_input(ended: Toy, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        check_recipe(load_recipe(ended.recipe), data_dir=tmp_path / "nowhere")
    with pytest.raises(InputError, match="nothing-here"):
        check(ended, f"model.base={tmp_path / 'nothing-here'}")
