"""The shipped recipes of `rescore` run at toy size, on lists like LibriSpeech's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from toy_language import toy_encoder
from toy_rescore import BOOK, toy_lists
from tunelet.data.nbest import NBest
from tunelet.data.nbest_files import write_nbest
from tunelet.report.result_schema import model_of, validate_as
from tunelet.systems import load_recipe, run_recipe
from tunelet.systems.recipes import shipped_recipes

SMALL = [
    "training.max_steps=2",
    "training.batch.size=4",
    "training.evaluate_every=1",
    "model.max_length=48",
    "seeds=[1]",
]


def of_rescore() -> list[str]:
    """Names of the shipped recipes of this system."""
    return [name for name in sorted(shipped_recipes()) if load_recipe(name).system == "rescore"]


def like_librispeech(name: str, first: int) -> list[NBest]:
    """Toy lists with ids of four speakers."""
    lists = toy_lists(name, 12)
    return [replace(one, id=f"{first + number % 4}-1-{number:04}") for number, one in enumerate(lists)]


def toy_librispeech(folder: Path) -> Path:
    """A folder laid out as the recipes want it."""
    lists = folder / "nbest" / "librispeech_espnet100"
    lists.mkdir(parents=True)
    for number, name in enumerate(("dev_clean", "dev_other", "test_clean")):
        write_nbest(lists / f"{name}.jsonl", like_librispeech(name, 10 * number))
    for book in ("gutenberg", "gutenberg_more"):
        (folder / "text" / book).mkdir(parents=True)
        (folder / "text" / book / "book.txt").write_text(BOOK, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", of_rescore())
def test_recipe_runs_at_toy_size(name: str, tmp_path: Path) -> None:
    toy_encoder(tmp_path / "base")
    recipe = load_recipe(name, [*SMALL, f"model.base={tmp_path / 'base'}"])
    folder = run_recipe(recipe, data_dir=toy_librispeech(tmp_path / "data"), out=tmp_path / "out")
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    validate_as(model_of("rescore"), result)
    assert result["finished"]
    assert [run["name"] for run in result["runs"]] == result["planned"] == [run.name for run in recipe.runs]
    (test,) = [split for split in result["data"]["splits"] if split not in ("train", "dev")]
    for run in result["runs"]:
        found = run["metrics"][test]
        assert found["utterances"] == result["data"]["splits"][test]
        assert found["errors_oracle"] <= found["errors_rescored"]
    assert (folder / "report.html").stat().st_size > 10_000
