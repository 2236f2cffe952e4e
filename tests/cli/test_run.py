"""`tunelet run` as far as it goes without training: what is passed on, and what is told while it runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunelet import systems
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
