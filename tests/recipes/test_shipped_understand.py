"""The shipped recipes of `understand` run, whole, at toy size: every block of theirs, on toy tasks with a toy base."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toy import toy_base
from toy_understand import toy_told_tasks
from tunelet.report.result_schema import model_of, validate_as
from tunelet.systems import load_recipe, run_recipe
from tunelet.systems.recipes import shipped_recipes
from tunelet.systems.understand_recipe import load_data

SMALL = [
    "data.k=[0, 1]",
    "data.items=3",
    "data.train_limit=6",
    "data.validation=3",
    "model.max_length=256",
    "seeds=[1]",
    "base.stage.episodes.number=8",
    "base.stage.episodes.validation=4",
    "base.stage.episodes.most_classes=2",
    "base.stage.training.max_steps=1",
    "base.stage.training.evaluate_every=1",
    "base.stage.training.batch.size=4",
    "training.max_steps=1",
    "training.batch.size=4",
    "training.evaluate_every=1",
]
#: what keeps a recipe of speech from needing a synthesiser and an encoder
MUTE = ["data.query=[text]", "data.speak=false", "data.cascade=false", "model.ears=null", "approach.query=text"]


def of_understand() -> list[str]:
    """Names of the shipped recipes of this system."""
    return [name for name in sorted(shipped_recipes()) if load_recipe(name).system == "understand"]


@pytest.mark.parametrize("name", of_understand())
def test_recipe_runs_at_toy_size(name: str, tmp_path: Path) -> None:
    base, tasks = toy_base(tmp_path / "base"), toy_told_tasks(tmp_path / "tasks", train=12, other=6)
    told = [f"data.sources=[{tasks}/moods.yaml]", f"data.tasks=[{tasks}/moods.yaml, {tasks}/places.yaml]",
            f"base.stage.data.tasks=[{tasks}/pets.yaml]", f"model.base={base}", f"data.encoder={base}"]  # fmt: skip
    recipe = load_recipe(name, [*SMALL, *MUTE, *told])
    folder = run_recipe(recipe, out=tmp_path / "out")
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    validate_as(model_of(result["system"]), result)
    assert result["finished"] and [run["name"] for run in result["runs"]] == [run.name for run in recipe.runs]
    assert len(result["cells"]) == 4 * len(recipe.runs) and all(cell["n"] == 3 for cell in result["cells"])
    assert (folder / "report.html").stat().st_size > 10_000


def test_the_quick_recipe_needs_nothing_but_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNELET_DATA", raising=False)
    data = load_data(load_recipe("understand-quick"), None)
    assert data.sources == ("front_desk_act",) and len(data.asked) == 3
    assert {len(told.test) for told in data.tasks.values()} == {60}
    (start,) = data.starts.values()
    assert start.data is not None and set(start.data.tasks) & set(data.tasks) == set()


def test_the_real_recipes_tune_on_three_tasks_and_ask_three_others_at_every_k_with_several_seeds() -> None:
    for name, seeds in (("understand-text", 5), ("understand", 3)):
        recipe = load_recipe(name)
        section = recipe.data.model_dump()
        recorded = (
            ("spoken_digits",) if name == "understand" else ()
        )  # real speech, beside the three of the text recipe
        assert section["tasks"] == ("trec6", "emotion", "snips", *recorded) and len(section["sources"]) == 3
        assert section["k"] == (0, 1, 2, 3, 4, 5) and section["items"] >= 500
        assert not set(section["sources"]) & set(section["tasks"])
        random = [run for run in recipe.runs if run.group.startswith("random-") and run.group.count("-") == 1]
        assert len(random) == seeds * len(section["sources"])
        regimes = {run.settings["approach"].regime for run in recipe.runs}  # type: ignore[attr-defined]
        assert regimes == {"none", "regular", "symbol", "random", "knn", "definition"}
