"""A sweep from recipe to report, at toy size: what is on disk, what is done again, and what a stop leaves."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toy_sweep import Toy, same_files
from tunelet.base.errors import InputError, NonFiniteLossError, RunFolderBusyError
from tunelet.base.locks import folder_lock
from tunelet.report.result_schema import validate
from tunelet.systems import load_recipe, sweep
from tunelet.training.events import Event, Note, RunFinished, RunStarted, StepDone

#: what other tools read: key -> its type, or the keys below it
CONTRACT: dict[str, Any] = {"recipe": str, "data": {"source": dict}, "runs": list}
RUN: dict[str, Any] = {
    "name": str,
    "method": str,
    "seed": int,
    "metrics": {
        "validation": {"accuracy": float, "weighted_f1": float, "macro_f1": float, "loss": float, "n": int},
        "test": {"accuracy": float, "weighted_f1": float, "macro_f1": float, "loss": float, "n": int},
    },
    "resources": {
        "train_seconds": float,
        "tokens_per_second": float,
        "steps": int,
        "peak_memory_bytes": int,
        "trainable_parameters": int,
        "total_parameters": int,
        "adapter_bytes": int,
    },
}


def breaches(value: Any, contract: dict[str, Any], place: str = "") -> list[str]:
    """Where `value` is not what the contract says."""
    found = []
    for key, kind in contract.items():
        if key not in value:
            found.append(f"{place}{key} is missing")
        elif isinstance(kind, dict):
            found += breaches(value[key], kind, f"{place}{key}.")
        elif type(value[key]) is not kind:
            found.append(f"{place}{key} is {value[key]!r}")
    return found


def times(folder: Path) -> dict[str, int]:
    """When each file below was written, in nanoseconds."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def after_steps(toy: Toy, count: int) -> Callable[[], bool]:
    """An `interrupted` that says so from the step `count` on."""
    return lambda: any(event.step >= count for event in toy.told(StepDone))


# --- what is on disk


def test_the_result_is_what_other_tools_rely_on(ended: Toy) -> None:
    result = ended.result()
    validate(result)
    assert breaches(result, CONTRACT) == []
    assert [breach for run in result["runs"] for breach in breaches(run, RUN)] == []
    assert [run["name"] for run in result["runs"]] == ["lora-seed1", "lora-seed2", "full-seed1", "full-seed2"]
    assert [(run["method"], run["seed"]) for run in result["runs"]] == [
        ("lora", 1),
        ("lora", 2),
        ("full", 1),
        ("full", 2),
    ]
    assert result["finished"] is True
    assert result["planned"] == [run["name"] for run in result["runs"]]
    assert result["data"]["source"]["kind"] == "argument"
    assert result["data"]["splits"] == {"train": 48, "validation": 18, "test": 18}


def test_a_breach_of_the_contract_is_seen(ended: Toy) -> None:
    run = json.loads(json.dumps(ended.result()["runs"][0]))
    del run["metrics"]["test"]["loss"]
    run["resources"]["steps"] = 6.0
    assert breaches(run, RUN) == ["metrics.test.loss is missing", "resources.steps is 6.0"]


def test_the_figures_are_those_of_the_runs(ended: Toy) -> None:
    for run in ended.result()["runs"]:
        folder = ended.out / run["folder"]
        assert json.loads((folder / "run.json").read_text()) == run
        table = json.loads((folder / "trainable.json").read_text())
        assert run["resources"]["trainable_parameters"] == table["trainable"]
        assert run["resources"]["total_parameters"] == table["total"]
        files = [path for path in (folder / "adapter").rglob("*") if path.is_file()]
        assert run["resources"]["adapter_bytes"] == sum(path.stat().st_size for path in files)
        assert run["resources"]["steps"] == 6
        rows = [json.loads(line) for line in (folder / "predictions" / "test.jsonl").read_text().splitlines()]
        right = sum(row["label"] == row["predicted"] for row in rows)
        assert run["metrics"]["test"]["accuracy"] == right / len(rows) == right / 18


def test_a_finished_sweep_holds_its_results_and_no_scaffolding(ended: Toy) -> None:
    assert {path.name for path in ended.out.iterdir() if not path.name.startswith(".")} == {
        "recipe.yaml",
        "audit.json",
        "result.json",
        "report.html",
        "report.md",
        "csv",
        "runs",
    }
    for run in (ended.out / "runs").iterdir():
        assert {path.name for path in run.iterdir()} == {
            ".lock",
            "run.json",
            "metrics.jsonl",
            "trainable.json",
            "predictions",
            "adapter",
        }
    assert [path for path in ended.out.rglob("*.part")] == []
    assert {path.name for path in ended.out.parent.iterdir()} == {"base", "data", "toy.yaml", "out"}


def test_the_recipe_on_disk_plans_the_same_runs(ended: Toy) -> None:
    assert load_recipe(ended.out / "recipe.yaml").runs == load_recipe(ended.recipe).runs


def test_the_curve_has_the_losses_and_the_evaluations(ended: Toy) -> None:
    rows = [json.loads(line) for line in (ended.folder("lora-seed1") / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "train_loss" in row] == [2, 4, 6]
    assert [row["step"] for row in rows if "validation" in row] == [3, 6]
    assert all(row["epoch"] == round(row["step"] / 6, 6) for row in rows)


# --- what is done again


def test_running_again_does_nothing(ended: Toy, tmp_path: Path) -> None:
    toy = ended.copy(tmp_path / "out")
    before = times(toy.out / "runs"), (toy.out / "result.json").read_bytes(), times(toy.out)["result.json"]
    assert toy.run() == toy.out
    assert (times(toy.out / "runs"), (toy.out / "result.json").read_bytes(), times(toy.out)["result.json"]) == before
    assert toy.told(StepDone) == []
    assert [event.skipped for event in toy.told(RunFinished)] == [True] * 4


def test_only_the_run_that_is_missing_is_done(ended: Toy, tmp_path: Path) -> None:
    toy = ended.copy(tmp_path / "out")
    (toy.folder("full-seed1") / "run.json").unlink()
    others = {name: times(toy.folder(name)) for name in ("lora-seed1", "lora-seed2", "full-seed2")}
    toy.run()
    assert {name: times(toy.folder(name)) for name in others} == others
    assert [event.name for event in toy.told(RunStarted)] == ["full-seed1"]
    assert same_files(toy.folder("full-seed1"), ended.folder("full-seed1")) == []
    assert toy.result()["finished"] is True


def test_memory_of_the_runs_before_is_handed_back(ended: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = ended.copy(tmp_path / "out")
    for name in ("lora-seed1", "full-seed1"):
        (toy.folder(name) / "run.json").unlink()
    begun: list[int] = []
    monkeypatch.setattr(sweep, "hand_back_freed_memory", lambda: begun.append(len(toy.told(RunStarted))))
    toy.run()
    assert begun == [0, 1]


@pytest.mark.parametrize(
    ("override", "again"),
    [
        ("training.learning_rate=2e-2", True),
        ("seeds=[3]", True),
        ("training.keep_states=true", False),
        ("title=Another", False),
    ],
)
def test_what_the_result_depends_on_makes_another_run(ended: Toy, tmp_path: Path, override: str, again: bool) -> None:
    toy = ended.copy(tmp_path / "out")
    toy.run(override, only="lora")
    assert any(event.skipped for event in toy.told(RunFinished)) is not again


def test_only_some_groups_then_the_rest(ended: Toy, tmp_path: Path) -> None:
    toy = ended.fresh(tmp_path / "out")
    toy.run("seeds=[1]", only="fu*")
    half = toy.result()
    validate(half)
    assert ([run["name"] for run in half["runs"]], half["finished"]) == (["full-seed1"], False)
    assert half["planned"] == ["lora-seed1", "full-seed1"]
    assert (toy.out / "report.html").is_file()
    toy.run("seeds=[1]")
    assert [(e.name, e.number, e.runs, e.skipped) for e in toy.told(RunFinished)] == [
        ("full-seed1", 1, 1, False),
        ("full-seed1", 2, 2, True),
        ("lora-seed1", 1, 2, False),
    ]
    assert toy.result()["finished"] is True


def test_a_damaged_result_is_made_again_from_the_runs(ended: Toy, tmp_path: Path) -> None:
    toy = ended.copy(tmp_path / "out")
    (toy.out / "result.json").write_text('{"schema": 1, "ru')
    toy.run()
    assert toy.result()["runs"] == ended.result()["runs"]


def test_what_killed_processes_left_is_cleared(ended: Toy, tmp_path: Path) -> None:
    toy = ended.copy(tmp_path / "out")
    run, other = toy.folder("lora-seed1"), toy.folder("full-seed1")
    (run / "run.json").unlink()
    left = [toy.out / ".result.json.a1.part", run / ".run.json.b2.part", run / "state" / ".best.c3.part" / "weights"]
    busy = other / ".adapter.d4.part"  # of a run that is not this sweep's to do
    for path in (*left, busy):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    toy.run()
    assert [path for path in left if path.exists()] == []
    assert busy.exists()


# --- what a stop leaves


def test_an_interrupted_run_goes_on_to_the_same_bytes(ended: Toy, tmp_path: Path) -> None:
    toy = ended.fresh(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        toy.run(interrupted=after_steps(toy, 4))
    assert len(toy.told(StepDone)) == 4
    assert [path.name for path in (toy.folder("lora-seed1") / "state").glob("step-*")] == [
        "step-00000003",
        "step-00000004",
    ]
    assert not (toy.folder("lora-seed1") / "run.json").exists()
    assert (toy.result()["runs"], toy.result()["finished"]) == ([], False)
    validate(toy.result())

    toy.events.clear()
    toy.run()
    first = toy.told(RunStarted)[0]
    assert (first.name, first.step, first.total) == ("lora-seed1", 4, 6)
    assert "going on from step 4 of 6" in [event.text for event in toy.told(Note)]
    assert [event.step for event in toy.told(StepDone) if event.name == "lora-seed1"] == [5, 6]
    for name in ("lora-seed1", "lora-seed2", "full-seed1", "full-seed2"):
        assert same_files(toy.folder(name), ended.folder(name)) == [], name
        assert not (toy.folder(name) / "state").exists()


def test_states_stay_if_they_are_asked_for(ended: Toy, tmp_path: Path) -> None:
    toy = ended.fresh(tmp_path / "out")
    toy.run("training.keep_states=true", "seeds=[1]", only="lora")
    assert {path.name for path in (toy.folder("lora-seed1") / "state").iterdir()} == {
        "best",
        "step-00000003",
        "step-00000006",
    }


def test_a_loss_that_is_not_finite_names_its_examples(ended: Toy, tmp_path: Path) -> None:
    toy = ended.fresh(tmp_path / "out")
    block = "runs=[{name: good, tuning: {method: lora}}, {name: bad, training: {learning_rate: 1e38}}, {name: later}]"
    with pytest.raises(NonFiniteLossError, match=r"at step \d+; the batch holds the examples ") as caught:
        toy.run(block, "seeds=[1]")
    path = toy.folder("bad-seed1") / "non-finite.json"
    told = json.loads(path.read_text())
    ids = {json.loads(line).get("id", str(n)) for n, line in enumerate((toy.data / "train.jsonl").open(), start=1)}
    assert len(told["examples"]) == 8 and set(told["examples"]) <= ids
    assert all(example in str(caught.value) for example in told["examples"])
    assert str(path) in str(caught.value)
    assert told["seed"] == 1 and told["what"] in ("loss", "gradient norm")
    assert [run["name"] for run in toy.result()["runs"]] == ["good-seed1"]
    assert (toy.out / "report.html").is_file()


def test_a_reproducer_does_not_outlive_its_failure(ended: Toy, tmp_path: Path) -> None:
    toy = ended.copy(tmp_path / "out")
    folder = toy.folder("lora-seed1")
    (folder / "run.json").unlink()
    (folder / "non-finite.json").write_text("{}")
    toy.run()
    assert not (folder / "non-finite.json").exists()


def test_two_processes_cannot_share_a_folder(ended: Toy, tmp_path: Path) -> None:
    toy = ended.copy(tmp_path / "out")
    before = times(toy.out)
    with folder_lock(toy.out), pytest.raises(RunFolderBusyError, match="another process is at work"):
        toy.run()
    assert times(toy.out) == before
    toy.run()


def test_nor_can_they_share_a_run(ended: Toy, tmp_path: Path) -> None:
    toy = ended.copy(tmp_path / "out")
    folder = toy.folder("lora-seed1")
    (folder / "run.json").unlink()
    with folder_lock(folder), pytest.raises(RunFolderBusyError, match=folder.name):
        toy.run()
    assert toy.told(RunStarted) == []


def test_an_error_of_the_observer_stops_the_sweep_with_its_results(ended: Toy, tmp_path: Path) -> None:
    class Broken(Exception):
        """The observer's own."""

    def observe(event: Event) -> None:
        if isinstance(event, RunFinished):
            raise Broken

    toy = ended.fresh(tmp_path / "out")
    with pytest.raises(Broken):
        from tunelet.systems import run_recipe

        run_recipe(load_recipe(toy.recipe), data_dir=toy.data, out=toy.out, observer=observe)
    assert [run["name"] for run in toy.result()["runs"]] == ["lora-seed1"]


def test_a_file_for_the_results_is_wrong_input(ended: Toy, tmp_path: Path) -> None:
    toy = ended.fresh(tmp_path / "out")
    toy.out.write_text("mine")
    with pytest.raises(InputError, match="--out: is a file"):
        toy.run()
    assert toy.out.read_text() == "mine"


def test_without_a_folder_the_name_and_the_hash_make_one(
    ended: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunelet.systems import run_recipe

    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(ended.recipe, ["seeds=[1]"])
    folder = run_recipe(recipe, data_dir=ended.data, only="lora")
    assert folder == Path("tunelet-runs") / folder.name and folder.name.startswith("toy-")
    result = json.loads((folder / "result.json").read_text())
    assert folder.name == f"toy-{result['hash'][:10]}"
    assert os.listdir(tmp_path) == ["tunelet-runs"]
    assert run_recipe(recipe, data_dir=ended.data, only="lora") == folder
