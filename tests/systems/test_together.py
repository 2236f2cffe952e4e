"""Runs that train together in one process: each ends as it would alone, and goes on where it was stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from toy_sweep import Toy, make_toy
from tunelet.base.errors import InputError
from tunelet.systems import load_recipe, worker_context
from tunelet.systems.jobs import Job
from tunelet.systems.sweep import _chunks
from tunelet.training.events import RunFinished, RunStarted, StepDone

RUNS: list[dict[str, Any]] = [
    {"name": "qv", "tuning": {"method": "lora", "targets": "qv"}, "grid": {"tuning.r": [2, 4]}},
    {"name": "plus", "tuning": {"method": "lora+", "r": 2}, "training": {"learning_rate": 3e-3, "max_steps": 4}},
    {"name": "linear", "tuning": {"method": "rslora", "targets": "attention+linear", "r": 3, "dropout": 0.0}},
    {"name": "fa", "tuning": {"method": "lora-fa", "r": 2}, "training": {"average_from": 0.4}},
    {"name": "dora", "tuning": {"method": "dora", "r": 2}},
]


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    """Five runs of one seed that go together, and one that cannot."""
    made = make_toy(tmp_path)
    tree = yaml.safe_load(made.recipe.read_text(encoding="utf-8"))
    made.recipe.write_text(yaml.safe_dump({**tree, "runs": RUNS, "seeds": [1]}), encoding="utf-8")
    return made


def weights(toy: Toy) -> dict[str, dict[str, Any]]:
    """Run -> the tensors of its adapter."""
    return {
        run["name"]: load_file(toy.out / run["folder"] / "adapter" / "adapter_model.safetensors")
        for run in toy.result()["runs"]
    }


def assert_same(found: dict[str, dict[str, Any]], expected: dict[str, dict[str, Any]]) -> None:
    """The same bits."""
    assert found and found.keys() == expected.keys()
    for name, tensors in found.items():
        for key, tensor in tensors.items():
            assert tensor.equal(expected[name][key]), (name, key)


def assert_near(found: Toy, expected: Toy) -> None:
    """The same runs with the same weights, to rounding, and the same predictions."""
    left, right = weights(found), weights(expected)
    assert left.keys() == right.keys() and len(left) == 6
    for name, tensors in left.items():
        for key, tensor in tensors.items():
            assert (tensor - right[name][key]).abs().max().item() <= 2e-5, (name, key)
    for one, other in zip(found.result()["runs"], expected.result()["runs"], strict=True):
        assert one["best_step"] == other["best_step"] and one["hash"] == other["hash"]
        assert one["metrics"]["test"]["accuracy"] == other["metrics"]["test"]["accuracy"]
        assert one["metrics"]["test"]["loss"] == pytest.approx(other["metrics"]["test"]["loss"], abs=1e-5)


def test_runs_end_together_as_they_end_alone(toy: Toy) -> None:
    alone = toy.fresh(toy.out.parent / "alone")
    toy.run(together=12)
    alone.run()
    assert_near(toy, alone)
    assert [run.get("together") for run in toy.result()["runs"]] == [5, 5, 5, 5, 5, None]


def test_the_steps_of_a_group_come_side_by_side_and_name_their_runs(toy: Toy) -> None:
    toy.run(together=12)
    steps = [(event.name, event.step) for event in toy.told(StepDone) if event.name != "dora-seed1"]
    names = ["qv-r2-seed1", "qv-r4-seed1", "plus-seed1", "linear-seed1", "fa-seed1"]
    assert steps[:10] == [(name, step) for step in (1, 2) for name in names]
    assert len(steps) == 4 * 6 + 4  # the run with LoRA+ takes four steps
    assert [event.name for event in toy.told(RunStarted)] == [*names, "dora-seed1"]
    assert [event.name for event in toy.told(RunFinished)] == [*names, "dora-seed1"]


def test_a_group_that_is_stopped_goes_on_where_it_was(toy: Toy) -> None:
    whole = toy.fresh(toy.out.parent / "whole")
    whole.run(together=12)
    with pytest.raises(KeyboardInterrupt):
        toy.run(together=12, interrupted=lambda: any(event.step >= 4 for event in toy.told(StepDone)))
    toy.events.clear()
    toy.run(together=12)
    assert {event.step for event in toy.told(RunStarted)} == {4, 0}  # DoRA had not begun
    assert_same(weights(toy), weights(whole))


def test_a_run_that_lost_its_state_catches_up(toy: Toy) -> None:
    alone = toy.fresh(toy.out.parent / "alone")
    alone.run()
    with pytest.raises(KeyboardInterrupt):
        toy.run(together=12, interrupted=lambda: any(event.step >= 4 for event in toy.told(StepDone)))
    (lost,) = toy.out.glob("runs/qv-r4-seed1-*/state")
    shutil.rmtree(lost)
    toy.events.clear()
    toy.run(together=12)
    first = [event.name for event in toy.told(StepDone)][:4]
    assert first == ["qv-r4-seed1"] * 4
    assert_near(toy, alone)


def test_runs_done_already_are_not_done_again(toy: Toy) -> None:
    toy.run(only="qv*")
    toy.events.clear()
    toy.run(together=3)
    done = {event.name: event.skipped for event in toy.told(RunFinished)}
    assert [name for name, skipped in done.items() if skipped] == ["qv-r2-seed1", "qv-r4-seed1"]
    assert [run.get("together") for run in toy.result()["runs"]] == [None, None, 3, 3, 3, None]


def test_processes_and_groups_exclude_each_other(toy: Toy) -> None:
    with pytest.raises(InputError, match="--jobs 2 with --together 3"):
        toy.run(jobs=2, together=3)
    assert not toy.out.exists()


@pytest.mark.parametrize(
    "override",
    ["tuning.engine=peft", "tuning.bias=all", "tuning.method=full", "tuning.method=pissa", "tuning.method=adalora"],
)
def test_what_cannot_share_passes_goes_alone(toy: Toy, override: str) -> None:
    context = worker_context(load_recipe(toy.recipe, []), toy.data, toy.out / ".cache")[0]
    assert context.together(load_recipe(toy.recipe, ["runs=null"]).runs[0]) is not None
    assert context.together(load_recipe(toy.recipe, ["runs=null", override]).runs[0]) is None


def test_other_seeds_batches_and_types_are_other_groups(toy: Toy) -> None:
    context = worker_context(load_recipe(toy.recipe, []), toy.data, toy.out / ".cache")[0]
    changes = ["seeds=[2]", "training.batch.size=4", "training.precision=bf16", "tuning.gradient_checkpointing=true"]
    keys = [
        context.together(load_recipe(toy.recipe, ["runs=null", change]).runs[0]) for change in ["title=A", *changes]
    ]
    assert None not in keys and len(set(keys)) == 5


def test_checkpointing_in_a_group_changes_nothing(toy: Toy) -> None:
    other = toy.fresh(toy.out.parent / "other")
    toy.run(together=12, only="qv*")
    other.run("tuning.gradient_checkpointing=true", together=12, only="qv*")
    assert_same(weights(toy), weights(other))


class Keys:
    """A context that knows runs by the first letter of their group; a capital goes alone."""

    def together(self, run: Any) -> str | None:
        return None if run.group[0].isupper() else str(run.group[0])


@pytest.mark.parametrize(
    ("groups", "at_most", "expected"),
    [
        (["a1", "a2", "a3"], 1, [["a1"], ["a2"], ["a3"]]),
        (["a1", "a2", "a3"], 2, [["a1", "a2"], ["a3"]]),
        (["a1", "b1", "a2", "b2"], 9, [["a1", "a2"], ["b1", "b2"]]),
        (["a1", "A", "a2"], 9, [["a1", "a2"], ["A"]]),
        (["a1", "b1", "a2", "a3", "b2"], 2, [["a1", "a2"], ["b1", "b2"], ["a3"]]),
        ([], 3, []),
    ],
)
def test_who_goes_with_whom(toy: Toy, groups: list[str], at_most: int, expected: list[list[str]]) -> None:
    planned = load_recipe(toy.recipe).runs[0]
    jobs = [Job(type(planned)(group, 1, planned.settings), Path(group), group, (1, 1)) for group in groups]
    chunks = _chunks(Keys(), jobs, at_most)  # type: ignore[arg-type]
    assert [[job.hash for job in chunk] for chunk in chunks] == expected


def test_the_report_of_a_group_is_whole(toy: Toy) -> None:
    toy.run(together=12, only="qv*")
    rows = json.loads((toy.out / "result.json").read_text(encoding="utf-8"))["runs"]
    assert all(row["resources"]["train_seconds"] > 0 and row["resources"]["steps"] == 6 for row in rows)
    assert (toy.out / "report.html").is_file()


def test_the_report_says_whose_times_are_shares(toy: Toy) -> None:
    alone = toy.fresh(toy.out.parent / "alone")
    toy.run(together=2, only="qv*")
    alone.run(only="qv*")
    sentence = "their share of each common step"
    assert sentence in (toy.out / "report.md").read_text(encoding="utf-8")
    assert sentence not in (alone.out / "report.md").read_text(encoding="utf-8")
