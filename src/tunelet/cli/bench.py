"""``tunelet bench``: measures ours beside what a user would pick instead, in one run, as ratios."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from tunelet.base.errors import InputError, Problem
from tunelet.base.files import write_atomic, write_json
from tunelet.base.registry import unknown_name
from tunelet.cli.options import JsonFile

#: under which the folder of benchmarks is imported, wherever it lies
_PACKAGE = "tunelet_benchmarks"


def bench(
    name: Annotated[str, typer.Argument(help="Which benchmark.", metavar="NAME")],
    quick: Annotated[bool, typer.Option("--quick", help="A shorter measurement, at most a minute.")] = False,
    json_file: JsonFile = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the roofline (train, long form) as SVG.")
    ] = None,
) -> None:
    """Run a benchmark and print its ratios (ours divided by the peer's speed, or as the name says).

    Example:

      tunelet bench train --quick --json train.json

      tunelet bench train --json train.json --plot roofline.svg
    """
    found = benchmarks()
    if name not in found:
        raise InputError(Problem(unknown_name("benchmark", name, found)))
    module = load(name)
    if plot is not None and (quick or not hasattr(module, "plot")):
        raise InputError(Problem("--plot draws the roofline of `tunelet bench train`, without --quick"))
    result = module.measure(quick=quick, tell=lambda text: typer.echo(text, err=True))
    if json_file is not None:
        write_json(json_file, result)
    if plot is not None:
        write_atomic(plot, module.plot(result))
    for ratio, value in result["ratios"].items():
        typer.echo(f"{ratio:<32} {value:8.2f}")
    typer.echo(json.dumps(result["machine"]), err=True)


def benchmarks() -> dict[str, Path]:
    """Name -> file of every benchmark. What they share lies in a folder below and is none."""
    return {path.stem: path for path in sorted(_folder().glob("[a-z]*.py"))}


def load(name: str) -> ModuleType:
    """A module of the benchmarks, such as ``train`` or ``common.worker``, imported as part of one package."""
    if _PACKAGE not in sys.modules:
        folder = _folder()
        spec = importlib.util.spec_from_file_location(
            _PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        if spec is None or spec.loader is None:
            raise InputError(Problem("cannot be loaded", folder))
        module = importlib.util.module_from_spec(spec)
        sys.modules[_PACKAGE] = module
        spec.loader.exec_module(module)
    return importlib.import_module(f"{_PACKAGE}.{name}")


def serve(job: str, spec: dict[str, Any], line: Any, log: str) -> None:
    """What a process of a benchmark does; here because it is forked by this module's name (`common.processes`)."""
    load("common.worker").work(job, spec, line, log)


def _folder() -> Path:
    """Where the benchmarks lie: in the installed package, or in the checkout that it runs from."""
    package = Path(__file__).parents[1]
    for folder in (package / "benchmarks", package.parents[1] / "benchmarks"):
        if folder.is_dir():
            return folder
    raise InputError(
        Problem("the benchmarks are not part of this installation", hint="run from a checkout of the project")
    )
