"""``tunelet run``: from a recipe to a folder with a report."""

from __future__ import annotations

from typing import Annotated

import typer

from tunelet.cli.options import DataDir, OutDir, Overrides, RecipeName


def run(
    recipe: RecipeName,
    override: Overrides = None,
    data: DataDir = None,
    out: OutDir = None,
    only: Annotated[
        str, typer.Option(metavar="PATTERN", help="Run the groups that match, such as 'lora-*', or runs: '*-seed1'.")
    ] = "*",
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Runs that train at the same time.")] = 1,
    together: Annotated[
        int,
        typer.Option(min=1, help="Low-rank runs that train in one process, sharing passes through the base."),
    ] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Tell results only.")] = False,
) -> None:
    """Run what is missing of a recipe, write its report and print the folder.

    Running the same command again, after it ended or was stopped, does only what is missing.

    Examples:

      tunelet run emotion-quick

      tunelet run emotion -o training.epochs=3 -o seeds=[1]

      tunelet run emotion --jobs 2

      tunelet run emotion-paper --only 'lora-*' --together 12

      tunelet run my_recipe.yaml --data my_texts/ --out results/
    """
    from tunelet.cli.progress import ProgressDisplay
    from tunelet.systems import load_recipe, run_recipe

    loaded = load_recipe(recipe, override or [])
    with ProgressDisplay(quiet=quiet) as display:
        folder = run_recipe(
            loaded,
            data_dir=data,
            out=out,
            only=only,
            jobs=jobs,
            together=together,
            observer=display,
            interrupted=lambda: display.interrupted,
        )
    typer.echo(str(folder))
