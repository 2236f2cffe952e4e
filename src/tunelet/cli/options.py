"""Options that several commands share. Not here: what they do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RecipeName = Annotated[
    str, typer.Argument(help="A shipped recipe (see `tunelet recipes`) or a YAML file.", metavar="RECIPE")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("-o", "--override", metavar="KEY=VALUE", help="Set a key of the recipe, such as training.epochs=1."),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Folder with train, validation and test files; wins over the usual sources."
    ),
]
OutDir = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Folder of the results; by default under tunelet-runs/.")
]
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write what was found as JSON.")]
