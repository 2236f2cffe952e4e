"""The recipe of the strategies compares like with like. That it runs is tested beside the others of its system."""

from __future__ import annotations

from tunelet.systems import load_recipe
from tunelet.systems.rescore_robustness_recipe import RobustnessSettings, robustness_of


def test_the_strategies_differ_in_the_method_alone() -> None:
    recipe = load_recipe("rescore-strategies")
    methods = {run.group: run.settings["tuning"].model_dump()["method"] for run in recipe.runs}
    assert methods == {name: name for name in (
        "lora", "adalora", "warmup-rank", "mixed-by-layer", "mixed-by-step", "rslora", "full",
    )}  # fmt: skip
    assert {run.seed for run in recipe.runs} == {1, 2, 3} and len(recipe.runs) == 21
    seen = set()
    for run in recipe.runs:
        sections = {key: section.model_dump(mode="json") for key, section in run.settings.items()}
        sections["tuning"].pop("method")
        if run.group == "full":  # all weights want a smaller rate
            assert sections["training"]["learning_rate"] < 1e-3
            sections["training"]["learning_rate"] = 1e-3
        seen.add(repr(sections))
    assert len(seen) == 1


def test_all_are_perturbed_in_the_same_way() -> None:
    found = {robustness_of(run) for run in load_recipe("rescore-strategies").runs}
    assert found == {RobustnessSettings(sets=("test-clean",), p=(0.1, 0.3), seeds=(1, 2), utterances=200)}
