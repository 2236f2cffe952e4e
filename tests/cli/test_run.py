"""`tunelet run`: what is passed on and what is told, without training; then from the command line to the folder."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.broken_data import CASES, Broken
from toy_sweep import Toy
from tunelet import systems
from tunelet.base.locks import folder_lock
from tunelet.cli import main
from tunelet.cli.progress import ProgressDisplay
from tunelet.systems.recipes import LoadedRecipe
from tunelet.training.events import Evaluated, Event, Note, RunFinished, RunStarted, StepDone

EVENTS: list[Event] = [
    Note("data: [emotion]"),
    RunStarted("lora-seed1", 1, 2, 0, 3),
    StepDone(1, 3, 1.5, 1e-3, 100),
    Evaluated(2, {"accuracy": 0.5, "loss": 1.25}, best=True),
    Evaluated(3, {"accuracy": 0.25}),
    RunFinished("lora-seed1", 1, 2, False, "validation 50 %"),
    RunFinished("lora-seed2", 2, 2, True, "validation 40 %"),
]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `run_recipe` was asked to do; it tells some events and does nothing."""
    seen: dict[str, Any] = {}

    def run_recipe(recipe: LoadedRecipe, *, observer: Callable[[Event], None], **options: Any) -> Path:
        seen.update(options, recipe=recipe)
        for event in EVENTS:
            observer(event)
        return options["out"] or Path("made")

    monkeypatch.setattr(systems, "run_recipe", run_recipe)
    return seen


def test_the_folder_is_all_that_goes_to_standard_output(
    asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "emotion-quick", "--out", "there"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "there\n"
    assert shown.err != ""


def test_options_reach_the_library(asked: dict[str, Any]) -> None:
    arguments = ["run", "emotion-quick", "-o", "training.epochs=2", "--override", "seeds=[5]", "--data", "d"]
    assert main([*arguments, "--out", "o", "--only", "lora*"]) == 0
    assert (asked["data_dir"], asked["out"], asked["only"]) == (Path("d"), Path("o"), "lora*")
    assert {run.seed for run in asked["recipe"].runs} == {5}
    assert asked["recipe"].tree["training"]["epochs"] == 2
    assert asked["interrupted"]() is False


def test_without_options_everything_is_run(asked: dict[str, Any]) -> None:
    assert main(["run", "emotion-quick"]) == 0
    assert (asked["data_dir"], asked["out"], asked["only"]) == (None, None, "*")
    assert len(asked["recipe"].runs) == 4


def test_where_there_is_no_terminal_plain_lines_are_told(
    asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["run", "emotion-quick"])
    told = capsys.readouterr().err
    assert "data: [emotion]" in told
    assert "lora-seed1 (1/2): 3 steps" in told
    assert "step 2 validation accuracy 0.5000 loss 1.2500 best" in told
    assert "step 3 validation accuracy 0.2500\n" in told
    assert "done lora-seed1: validation 50 %" in told
    assert "on disk already lora-seed2: validation 40 %" in told


def test_quiet_tells_results_only(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "emotion-quick", "--quiet"])
    told = capsys.readouterr().err
    assert "done lora-seed1: validation 50 %" in told
    assert "accuracy 0.5000" not in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_interrupt_of_a_run_asks_the_second_insists(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), ProgressDisplay(quiet=True) as display:
        display(RunStarted("lora-seed1", 1, 1, 0, 3))
        assert not display.interrupted
        os.kill(os.getpid(), number)
        assert display.interrupted
        os.kill(os.getpid(), number)
        pytest.fail("the second interrupt was not heard")
    assert signal.getsignal(number) == before


def test_an_interrupt_outside_a_run_ends_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), ProgressDisplay(quiet=True) as display:
        display(Note("loading"))
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the interrupt was not heard")


def test_an_interrupted_run_is_status_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run_recipe(recipe: LoadedRecipe, *, observer: Any, interrupted: Callable[[], bool], **options: Any) -> Path:
        observer(RunStarted("lora-seed1", 1, 1, 0, 3))
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupted()
        raise KeyboardInterrupt  # as the loop does once its state is saved

    monkeypatch.setattr(systems, "run_recipe", run_recipe)
    assert main(["run", "emotion-quick"]) == 130
    shown = capsys.readouterr()
    assert "stopping after this step" in shown.err
    assert "the same command goes on" in shown.err
    assert shown.out == ""


# --- at toy size, from the command line to the folder


def test_a_run_prints_its_folder_and_a_second_does_nothing(
    ended: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = ended.fresh(tmp_path / "out")
    assert main(toy.arguments("-o", "seeds=[1]")) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{toy.out}\n"
    assert "done lora-seed1: validation" in shown.err and "done full-seed1: validation" in shown.err
    assert toy.result()["finished"] is True
    assert main(toy.arguments("-o", "seeds=[1]")) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{toy.out}\n"
    assert shown.err.count("on disk already") == 2 and "steps" not in shown.err


def test_a_failed_run_is_status_1_with_its_sentence(
    ended: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = ended.copy(tmp_path / "out")
    assert main(toy.arguments("-o", "runs=[{name: wild, training: {learning_rate: 1e38}}]")) == 1
    shown = capsys.readouterr()
    assert "error the " in shown.err and "the batch holds the examples" in shown.err
    assert "lower training.learning_rate" in " ".join(shown.err.split())
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_a_busy_folder_is_status_1(ended: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy = ended.copy(tmp_path / "out")
    with folder_lock(toy.out):
        assert main(toy.arguments()) == 1
    assert "another process is at work in this run folder" in capsys.readouterr().err
    assert main(toy.arguments()) == 0


def test_without_the_offline_extra_it_is_told_how_to_install_it(
    ended: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if "minilm" in name else found(name, *rest)
    )
    monkeypatch.chdir(tmp_path)
    assert main(["run", "emotion-quick"]) == 2
    shown = capsys.readouterr()
    assert "pip install 'tunelet[offline]'" in shown.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_broken_data_are_told_with_their_place_and_nothing_is_made(
    case: Broken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    settings = case.write(folder)
    if case.environment is not None:
        monkeypatch.setenv("TUNELET_DATA", case.placed(case.environment, folder))
    recipe = folder / "toy.yaml"
    recipe.write_text(json.dumps({"system": "classify", "name": "toy", "data": settings}))  # JSON is YAML, too
    data = [] if case.data_dir is None else ["--data", case.placed(case.data_dir, folder)]
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main(["run", str(recipe), *data]) == 2
    shown = capsys.readouterr()
    assert [part for part in case.says if part not in shown.err] == [], shown.err
    place = "" if case.file is None else case.placed(case.file, folder)
    assert (place if case.line is None else f"{place}:{case.line}:") in shown.err
    assert shown.err.startswith("error ") and "Traceback" not in shown.err
    assert shown.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def events(toy: Toy) -> Path | None:
    """TensorBoard's file of the toy's only run."""
    return next(toy.out.rglob("events.out.tfevents*"), None)


def test_a_tracker_is_fed_through_the_recipe(ended: Toy, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    toy = ended.fresh(tmp_path / "out")
    small = ["-o", "seeds=[1]", "-o", "runs=[{name: lora}]", "--only", "lora"]
    assert main(toy.arguments(*small)) == 0
    assert events(toy) is None
    (toy.folder("lora-seed1") / "run.json").unlink()
    assert main(toy.arguments(*small, "-o", "training.trackers=[tensorboard]")) == 0
    written = events(toy)
    assert written is not None
    content = written.read_bytes()
    assert b"train_loss" in content and b"accuracy" in content


@pytest.mark.slow
@pytest.mark.parametrize(("number", "jobs"), [(signal.SIGINT, "1"), (signal.SIGTERM, "2")])
def test_a_signal_to_the_process_ends_with_130_and_the_second_run_finishes(
    number: signal.Signals, jobs: str, ended: Toy, tmp_path: Path
) -> None:
    toy = ended.fresh(tmp_path / "out")
    longer = ["-j", jobs, "-o", "training.max_steps=200", "-o", "training.evaluate_every=100", "-o", "seeds=[1]"]
    with toy.process(*longer) as process:
        while process.poll() is None and not [p for p in toy.out.rglob("metrics.jsonl") if p.stat().st_size]:
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == 130, err
    assert out == ""
    assert "the same command goes on from the last saved state" in err
    assert "Traceback" not in err
    assert toy.result()["finished"] is False
    assert list(toy.out.glob("runs/*/state/step-*"))
    for folder in (toy.out, *(toy.out / "runs").iterdir()):
        with folder_lock(folder):  # no process is left in it
            pass

    with toy.process(*longer) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert out == f"{toy.out}\n"
    assert "going on from step" in err
    assert toy.result()["finished"] is True
    assert [run["resources"]["steps"] for run in toy.result()["runs"]] == [200, 200]
