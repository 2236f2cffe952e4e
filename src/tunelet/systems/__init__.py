"""The systems, and the way from a recipe's name to a folder of results. A system only chooses parts.

Not here: what a system does (`systems.classify`), how runs become a folder (`systems.sweep`).

Example:
    >>> recipe = load_recipe("emotion-quick", ["training.epochs=1"])
    >>> folder = run_recipe(recipe)                             # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunelet.base.errors import RecipeError
from tunelet.base.registry import unknown_name
from tunelet.systems.recipes import LoadedRecipe, read_recipe

#: system -> the module that builds it; imported on use, because it imports torch
SYSTEMS = {
    "classify": "tunelet.systems.classify",
    "rescore": "tunelet.systems.rescore",
    "adapt-lm": "tunelet.systems.adapt_lm",
    "fuse": "tunelet.systems.fuse",
    "speech-encoder": "tunelet.systems.speech_encoder",
    "understand-base": "tunelet.systems.understand_base",
    "understand": "tunelet.systems.understand",
}
#: system -> the module with its recipe's schema and the reading of its data, free of torch
SCHEMAS = {
    "classify": "tunelet.systems.classify_recipe",
    "rescore": "tunelet.systems.rescore_recipe",
    "adapt-lm": "tunelet.systems.adapt_lm_recipe",
    "fuse": "tunelet.systems.fuse_recipe",
    "speech-encoder": "tunelet.systems.speech_encoder_recipe",
    "understand-base": "tunelet.systems.understand_base_recipe",
    "understand": "tunelet.systems.understand_recipe",
}


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Read and validate a recipe: a shipped name or a path.

    Args:
        name: such as ``emotion``, or a YAML file.
        overrides: ``key=value`` each.

    Raises:
        RecipeError: everything that is wrong in it, at once.
    """
    tree = read_recipe(str(name), overrides)
    system = tree.data.get("system") if isinstance(tree.data, dict) else None
    if not isinstance(system, str) or system not in SCHEMAS:
        message = "expected the key 'system'" if system is None else unknown_name("system", str(system), SCHEMAS)
        raise RecipeError(tree.problem(message, ("system",), hint="see `tunelet recipes` for recipes to start from"))
    return importlib.import_module(SCHEMAS[system]).expand(tree)  # type: ignore[no-any-return]


def recipe_schema(system: str | None = None) -> dict[str, Any]:
    """JSON Schema of the recipes of a system, or of all: then the key `system` tells which applies."""
    if system is not None:
        return importlib.import_module(SCHEMAS[system]).json_schema()  # type: ignore[no-any-return]
    parts: dict[str, Any] = {}
    rules = []
    for name in SCHEMAS:
        whole = recipe_schema(name)
        parts |= whole.pop("$defs", {})  # what two systems share has one name and one content
        del whole["$schema"]
        parts[whole["title"]] = whole
        chosen = {"properties": {"system": {"const": name}}, "required": ["system"]}
        rules.append({"if": chosen, "then": {"$ref": f"#/$defs/{whole['title']}"}})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"system": {"enum": list(SCHEMAS), "description": "which system runs the recipe"}},
        "required": ["system"],
        "allOf": rules,
        "$defs": parts,
    }


def run_recipe(recipe: LoadedRecipe, *, data_dir: Path | None = None, **options: Any) -> Path:
    """Run what is missing of a recipe and write its report; see `tunelet.systems.sweep.run`.

    Args:
        recipe: the expanded recipe.
        data_dir: folder of data that takes the place of the usual sources.
        options: as `tunelet.systems.sweep.run` takes them.
    """
    recipe.select(options.get("only", "*"))  # as cheap an answer as that about the data
    return _apply("tunelet.systems.sweep:run", recipe, data_dir, {**options, "data_dir": data_dir})  # type: ignore[no-any-return]


def check_recipe(recipe: LoadedRecipe, *, data_dir: Path | None = None, **options: Any) -> Any:
    """Check data and base of a recipe and forecast its cost; see `tunelet.systems.checking.check`."""
    return _apply("tunelet.systems.checking:check", recipe, data_dir, options)


def worker_context(recipe: LoadedRecipe, data_dir: Path | None, cache: Path) -> tuple[Any, LoadedRecipe]:
    """Context and settled recipe of a process that does one run of a sweep; its parent told what is odd in the data."""
    data = importlib.import_module(SCHEMAS[recipe.system]).load_data(recipe, data_dir)
    context = importlib.import_module(SYSTEMS[recipe.system]).prepare(data, cache, lambda event: None)
    return context, _settled(recipe)


def _apply(function: str, recipe: LoadedRecipe, data_dir: Path | None, options: dict[str, Any]) -> Any:
    # the data come first: what is wrong in them is told before the seconds that importing torch takes
    data = importlib.import_module(SCHEMAS[recipe.system]).load_data(recipe, data_dir)
    module, name = function.split(":")
    return getattr(importlib.import_module(module), name)(
        importlib.import_module(SYSTEMS[recipe.system]), _settled(recipe), data, **options
    )


def _settled(recipe: LoadedRecipe) -> LoadedRecipe:
    return importlib.import_module("tunelet.systems.settling").settled(recipe)  # type: ignore[no-any-return]
