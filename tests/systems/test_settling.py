"""What a recipe leaves to the machine is settled once, is told, and is never mistaken for another machine's choice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toy_sweep import Toy, make_toy
from tunelet.base.errors import ResumeError
from tunelet.models import rates
from tunelet.systems import load_recipe
from tunelet.systems.settling import as_asked, elsewhere, how_to_say, settled
from tunelet.training.events import StepDone


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Become a machine that computes faster in a type."""

    def become(precision: str) -> None:
        monkeypatch.setattr(rates, "faster_precision", lambda device=None: precision)

    return become


def training(*overrides: str) -> tuple[str, str, tuple[str, ...]]:
    """Precision, frozen and what was chosen of the first run of a recipe, settled."""
    run = settled(load_recipe("emotion-quick", overrides)).runs[0]
    section: Any = run.settings["training"]
    return section.precision, section.frozen, run.chosen


@pytest.mark.parametrize("faster", ["fp32", "bf16"])
def test_auto_is_the_faster_type_for_both(on: Any, faster: str) -> None:
    on(faster)
    assert training() == (faster, faster, ("precision", "frozen"))


@pytest.mark.parametrize("faster", ["fp32", "bf16"])
def test_what_a_recipe_names_stays_and_frozen_follows(on: Any, faster: str) -> None:
    on(faster)
    assert training("training.precision=bf16") == ("bf16", "bf16", ("frozen",))
    assert training("training.precision=fp32") == ("fp32", "fp32", ("frozen",))
    assert training("training.frozen=bf16") == (faster, "bf16", ("precision",))
    assert training("training.precision=fp32", "training.frozen=bf16") == ("fp32", "bf16", ())


def test_a_recipe_that_names_its_types_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(rates, "faster_precision")
    recipe = load_recipe("emotion-paper")
    assert {run.settings["training"].precision for run in settled(recipe).runs} == {"fp32"}


def test_a_run_knows_what_was_asked_and_what_another_machine_computes(on: Any) -> None:
    on("fp32")
    asked = load_recipe("emotion-quick").runs[0]
    here = settled(load_recipe("emotion-quick")).runs[0]
    assert as_asked(here).settings == asked.settings and as_asked(here).hash() == asked.hash() != here.hash()
    there = elsewhere(here)
    on("bf16")
    assert there == settled(load_recipe("emotion-quick")).runs[0]
    assert there is not None and how_to_say(there) == "-o training.precision=bf16 -o training.frozen=bf16"
    assert elsewhere(settled(load_recipe("emotion-quick", ["training.precision=bf16"])).runs[0]) is None


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    """A toy recipe with one run, which leaves its types to the machine."""
    toy = make_toy(tmp_path)
    toy.recipe.write_text(toy.recipe.read_text().replace("precision: fp32", "precision: auto"))
    return toy


def begin(toy: Toy) -> None:
    """Run it for two steps."""
    with pytest.raises(KeyboardInterrupt):
        toy.run("seeds=[1]", only="lora", interrupted=lambda: len(toy.told(StepDone)) >= 2)
    toy.events.clear()


def test_the_result_and_the_report_tell_what_was_chosen(on: Any, toy: Toy) -> None:
    on("fp32")
    toy.run("seeds=[1]", only="lora")
    (run,) = toy.result()["runs"]
    assert run["chosen"] == ["precision", "frozen"]
    assert (run["settings"]["training"]["precision"], run["settings"]["training"]["frozen"]) == ("fp32", "fp32")
    assert "fp32 (auto)" in (toy.out / "report.md").read_text()
    assert "precision: auto" in (toy.out / "recipe.yaml").read_text()


def test_the_recipe_has_one_hash_and_the_run_one_for_each_type(on: Any, toy: Toy) -> None:
    found = {}
    for precision in ("fp32", "bf16"):
        on(precision)
        toy.run("seeds=[1]", only="lora")
        result = toy.result()
        found[precision] = (result["hash"], result["runs"][0]["hash"], result["runs"][0]["folder"])
    assert found["fp32"][0] == found["bf16"][0]
    assert found["fp32"][1] != found["bf16"][1] and found["fp32"][2] != found["bf16"][2]


def test_a_state_of_another_type_is_refused_with_the_way_out(on: Any, toy: Toy) -> None:
    on("bf16")
    begin(toy)
    (begun,) = (toy.out / "runs").iterdir()
    on("fp32")
    with pytest.raises(ResumeError) as refused:
        toy.run("seeds=[1]", only="lora")
    told = str(refused.value)
    assert str(begun / "state") in told and "trained in bf16" in told and "auto chooses fp32" in told
    way_out = f"-o training.precision=bf16 -o training.frozen=bf16 --out {toy.out}"
    assert way_out in told
    assert toy.told(StepDone) == []

    toy.run("training.precision=bf16", "training.frozen=bf16", "seeds=[1]", only="lora")  # as the message says
    assert [event.step for event in toy.told(StepDone)] == [3, 4, 5, 6]
    assert json.loads((begun / "run.json").read_text())["stopped"] == "epochs"


def test_it_can_begin_anew_and_is_then_not_refused(on: Any, toy: Toy) -> None:
    on("bf16")
    begin(toy)
    on("fp32")
    toy.run("training.precision=fp32", "training.frozen=fp32", "seeds=[1]", only="lora")
    assert [event.step for event in toy.told(StepDone)] == [1, 2, 3, 4, 5, 6]
    toy.events.clear()
    toy.run("seeds=[1]", only="lora")  # auto finds the run that is done
    assert toy.told(StepDone) == []
