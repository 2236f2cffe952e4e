"""The schema of `adapt-lm` recipes: sections, grids, and settings that mean nothing there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunelet.base.errors import RecipeError
from tunelet.systems import load_recipe
from tunelet.systems.adapt_lm_recipe import sections

RECIPE = "system: adapt-lm\nname: mine\n"


def load(tmp_path: Path, more: str = "") -> object:
    (tmp_path / "mine.yaml").write_text(RECIPE + more, encoding="utf-8")
    return load_recipe(tmp_path / "mine.yaml")


def test_the_smallest_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(RECIPE, encoding="utf-8")
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert (recipe.system, recipe.groups) == ("adapt-lm", ["lora"])
    _, language, _, training = sections(recipe.runs[0])
    assert (language.kind, language.vocabulary, training.select) == ("masked", "full", "loss")


def test_a_grid_over_the_language_section(tmp_path: Path) -> None:
    grid = "seeds: [1, 2]\nruns:\n  - {name: a, grid: {language.kind: [masked, causal]}}\n"
    (tmp_path / "mine.yaml").write_text(RECIPE + grid, encoding="utf-8")
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert recipe.groups == ["a-kindmasked", "a-kindcausal"] and len(recipe.runs) == 4
    assert [sections(run)[1].kind for run in recipe.runs] == ["masked", "masked", "causal", "causal"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("training: {select: accuracy}\n", r"mine\.yaml:3.*training\.select.*'loss'"),
        ("training: {label_smoothing: 0.1}\n", "label_smoothing is for classification"),
        ("training: {batch: {pad_to: max}}\n", "pad_to: max is for classification"),
        ("language: {lists: [a.jsonl]}\n", "lists are for vocabulary: cut"),
        ("language: {knd: causal}\n", r"unknown key; did you mean 'kind'\?"),
        ("data: {validation: 0.6}\n", r"data\.validation.*less than 0\.5"),
        ("data: {limit: {tset: 3}}\n", "limit"),
        ("seeds: [1, 1]\n", "different seeds"),
    ],
)
def test_what_means_nothing_is_refused(more: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=said):
        load(tmp_path, more)


def test_the_name_is_that_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("system: adapt-lm\nname: a/b\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="a folder carries the name"):
        load_recipe(tmp_path / "mine.yaml")
