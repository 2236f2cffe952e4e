"""From a recipe's tree to its runs. Wrong recipes are in `contracts.broken_recipes`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tunelet.base.errors import RecipeError
from tunelet.models.settings import ModelSettings
from tunelet.systems import load_recipe
from tunelet.systems.classify_recipe import ClassifyRecipe, sections
from tunelet.systems.recipes import LoadedRecipe, shipped_recipes
from tunelet.training.settings import TrainingSettings
from tunelet.tuning.settings import TuningSettings


def load(folder: Path, *overrides: str, **keys: Any) -> LoadedRecipe:
    """A recipe of the keys."""
    path = folder / "r.yaml"
    path.write_text(yaml.safe_dump({"system": "classify", "name": "mine", **keys}, sort_keys=False))
    return load_recipe(path, overrides)


def test_a_recipe_without_runs_is_one_group_named_by_its_method(tmp_path: Path) -> None:
    recipe = load(tmp_path, tuning={"method": "dora"})
    assert [run.name for run in recipe.runs] == ["dora-seed1"]
    assert recipe.title == "mine"


def test_each_block_changes_what_it_says_and_keeps_the_rest(tmp_path: Path) -> None:
    blocks = [{"name": "a", "tuning": {"r": 2}}, {"name": "b", "training": {"batch": {"size": 4}}}]
    first, second = load(tmp_path, tuning={"alpha": 5}, training={"epochs": 2}, runs=blocks).runs
    assert [(sections(run)[1].r, sections(run)[1].alpha) for run in (first, second)] == [
        (2, 5),
        (TuningSettings(method="lora").r, 5),
    ]
    assert [(sections(run)[2].batch.size, sections(run)[2].epochs) for run in (first, second)] == [(16, 2), (4, 2)]


def test_a_grid_spans_all_combinations_in_order(tmp_path: Path) -> None:
    block = {"name": "lora", "grid": {"tuning.r": [2, 8], "training.learning_rate": [1e-3, 3e-4]}}
    recipe = load(tmp_path, seeds=[3, 1], runs=[block])
    points = [(sections(run)[1].r, sections(run)[2].learning_rate, run.seed) for run in recipe.runs]
    assert points == [(r, rate, seed) for r in (2, 8) for rate in (1e-3, 3e-4) for seed in (3, 1)]
    assert len(set(recipe.groups)) == 4
    assert all(run.name == f"{run.group}-seed{run.seed}" and run.group.startswith("lora") for run in recipe.runs)


def test_an_override_wins_over_every_block(tmp_path: Path) -> None:
    blocks = [{"name": "a", "training": {"epochs": 7}}, {"name": "b"}]
    recipe = load(tmp_path, "training.epochs=1", runs=blocks)
    assert [sections(run)[2].epochs for run in recipe.runs] == [1, 1]


@pytest.mark.parametrize("name", ["a/b", "..", "-x", "a b", ""])
def test_a_group_that_cannot_name_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match=r"r\.yaml"):
        load(tmp_path, runs=[{"name": name}])


def test_problems_of_several_groups_are_told_at_once(tmp_path: Path) -> None:
    blocks = [{"name": "a", "tuning": {"r": 0}}, {"name": "b", "training": {"epochs": -1}}]
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, runs=blocks)
    assert "tuning.r" in str(caught.value) and "training.epochs" in str(caught.value)


def test_the_sections_have_their_types() -> None:
    (run, *_) = load_recipe("emotion").runs
    assert [type(section) for section in sections(run)] == [ModelSettings, TuningSettings, TrainingSettings]


@pytest.mark.parametrize("name", sorted(name for name in shipped_recipes() if load_recipe(name).system == "classify"))
def test_the_whole_model_reads_every_shipped_recipe(name: str) -> None:
    """The model that the JSON Schema is made of; runs are expanded by another path."""
    tree = load_recipe(name).tree
    recipe = ClassifyRecipe.model_validate(tree)
    assert [block.name for block in recipe.runs or ()] == [block["name"] for block in tree["runs"]]
