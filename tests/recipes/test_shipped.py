"""Every shipped recipe runs, whole, at toy size: all of its groups, a toy base, a few steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toy import toy_base, toy_texts
from tunelet.report.result_schema import model_of, validate, validate_as
from tunelet.systems import load_recipe, run_recipe
from tunelet.systems.recipes import shipped_recipes

#: what makes a recipe small without changing what it does
SMALL = [
    "training.max_steps=2",
    "training.batch.size=4",
    "training.batch.evaluation_size=8",
    "training.evaluate_every=1",
    "model.max_length=16",
    "seeds=[1]",
]


def of_system(system: str) -> list[str]:
    """Names of the shipped recipes of a system."""
    return [name for name in sorted(shipped_recipes()) if load_recipe(name).system == system]


@pytest.mark.parametrize("name", of_system("classify"))
def test_recipe_runs_at_toy_size(name: str, tmp_path: Path) -> None:
    base, data = toy_base(tmp_path / "base"), toy_texts(tmp_path / "data", train=12, other=6)
    recipe = load_recipe(name, [*SMALL, f"model.base={base}"])
    folder = run_recipe(recipe, data_dir=data, out=tmp_path / "out")
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    validate(result)
    assert result["finished"]
    assert [run["name"] for run in result["runs"]] == result["planned"] == [run.name for run in recipe.runs]
    assert all(run["metrics"]["test"]["n"] == 6 for run in result["runs"])
    assert (folder / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("name", of_system("adapt-lm"))
def test_adapt_lm_recipe_runs_at_toy_size(name: str, tmp_path: Path) -> None:
    base, books = toy_base(tmp_path / "base"), tmp_path / "books"
    books.mkdir()
    for book in ("one", "two", "three"):
        said = "We felt happy today. The dog was cross at home. She loved my letter. "
        (books / f"{book}.txt").write_text(said * 4, encoding="utf-8")
    recipe = load_recipe(name, [*SMALL, "training.batch.tokens=null", f"model.base={base}"])
    folder = run_recipe(recipe, data_dir=books, out=tmp_path / "out")
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    validate_as(model_of(result["system"]), result)
    assert result["finished"]
    assert [run["name"] for run in result["runs"]] == result["planned"] == [run.name for run in recipe.runs]
    assert all(run["metrics"]["test"]["sentences"] == 12 for run in result["runs"])
    assert (folder / "report.html").stat().st_size > 10_000


def test_the_paper_recipe_is_the_papers_grid() -> None:
    recipe = load_recipe("emotion-paper")
    settings = [run.settings for run in recipe.runs]
    full = {(s["training"].learning_rate, s["training"].weight_decay) for s in settings if s["tuning"].method == "full"}
    assert full == {(rate, decay) for rate in (2e-5, 3e-5, 5e-5) for decay in (0.001, 0.01)}
    for targets in ("qv", "qkv", "attention+linear"):
        chosen = [s for s in settings if s["tuning"].method == "lora" and s["tuning"].targets == targets]
        assert {(s["tuning"].r, s["training"].learning_rate) for s in chosen} == {
            (r, rate) for r in (2, 8, 32) for rate in (3e-4, 1e-3)
        }
        assert all(s["tuning"].alpha == 16 and s["tuning"].dropout == 0.1 for s in chosen)
    for section in settings:
        training = section["training"]
        assert (training.epochs, training.batch.size, training.evaluate_every, training.patience) == (10, 16, 250, 4)
        assert section["model"].max_length == 512 and training.batch.pad_to == "max"
