"""``tunelet check``: is a recipe right, are its data right, what will it cost."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from tunelet.cli.options import DataDir, JsonFile, Overrides, RecipeName


def check(
    recipe: RecipeName = "",
    override: Overrides = None,
    data: DataDir = None,
    schema: Annotated[
        bool,
        typer.Option("--schema", help="Print the JSON Schema of recipes, or of RECIPE's system, and do nothing else."),
    ] = False,
    estimate: Annotated[bool, typer.Option(help="Load the base and time a few steps.")] = True,
    json_file: JsonFile = None,
) -> None:
    """Check a recipe and its data, list its runs and estimate what they need, without training.

    Parameters are counted exactly, memory and time follow from a few real steps of one run of each kind.

    Examples:

      tunelet check emotion

      tunelet check my_recipe.yaml --no-estimate

      tunelet check --schema > recipe.schema.json
    """
    from tunelet.systems import load_recipe, recipe_schema

    if schema:
        system = load_recipe(recipe, override or []).system if recipe else None
        typer.echo(json.dumps(recipe_schema(system), indent=2))
        return
    if not recipe:
        raise typer.BadParameter("give a RECIPE, or --schema")
    loaded = load_recipe(recipe, override or [])
    typer.echo(f"{loaded.name}: {loaded.title}")
    runs, groups = len(loaded.runs), len(loaded.groups)
    counted = f"{runs} run{'s' * (runs > 1)} in {groups} group{'s' * (groups > 1)}"
    typer.echo(f"{counted}: {', '.join(loaded.groups)}")
    from tunelet.cli.check_tables import show_checked
    from tunelet.systems import check_recipe

    show_checked(check_recipe(loaded, data_dir=data, estimate=estimate), json_file)
