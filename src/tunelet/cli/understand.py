"""``tunelet understand``: a task that is told in words, asked about texts or sound, with a run's adapter folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from tunelet.base.errors import InputError, Problem
from tunelet.base.files import write_json
from tunelet.cli.options import DataDir, JsonFile


def understand(
    task: Annotated[str, typer.Option(metavar="TASK", help="A task file, or the name of a task that comes along.")],
    adapter: Annotated[Path, typer.Option(metavar="DIR", help="The adapter folder of a run of `understand`.")],
    queries: Annotated[
        list[str] | None,
        typer.Argument(help="Texts, or sound files; without: standard input, one a line.", metavar="QUERIES"),
    ] = None,
    k: Annotated[
        int, typer.Option("--k", min=0, max=20, help="Examples of the task's train and validation that are shown.")
    ] = 0,
    data: DataDir = None,
    json_file: JsonFile = None,
    base: Annotated[
        str | None, typer.Option(metavar="BASE", help="Base model, if not the one that the folder names.")
    ] = None,
    encoder: Annotated[
        str, typer.Option(metavar="BASE", help="Base of the sentence vectors that choose the examples.")
    ] = "embedded:minilm",
    force: Annotated[bool, typer.Option("--force", help="Use the adapter though its folder does not verify.")] = False,
) -> None:
    """Answer with classes of a task that is told in words; one JSON object a line, in the order of the queries.

    A row has the class, a score for each (higher is likelier), and the examples that were shown. Sound is heard by
    the model if it has ears; else it is recognised first, and the row says what was heard.

    Examples:

      tunelet understand --task reviews.yaml --adapter my-run/adapter "The soup was cold."

      tunelet understand --task reviews.yaml --adapter my-run/adapter --k 5 call.wav --json answers.json

      cat texts.txt | tunelet understand --task snips --adapter my-run/adapter
    """
    from tunelet.data.understanding.tasks import find_task

    told = find_task(task, "--task")
    if not adapter.is_dir():
        raise InputError(Problem("no such folder", adapter, field="--adapter"))
    from tunelet.systems import understand_folder

    loaded = understand_folder.load(adapter, base=base, force=force)
    for warning in loaded.warnings:
        typer.echo(f"warning: {warning}", err=True)
    asked = understand_folder.ToldTask(told, loaded, k, data, encoder)
    kept: list[dict[str, Any]] = []
    for row in asked.rows(queries or _lines(sys.stdin)):
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        sys.stdout.flush()
        if json_file is not None:
            kept.append(row)
    if json_file is not None:
        write_json(json_file, {"task": told.name, "adapter": str(adapter), "k": k, "answers": kept})


def _lines(stream: Iterable[str]) -> Iterator[str]:
    """Lines that are not blank."""
    for line in stream:
        if line.strip():
            yield line.rstrip("\n")
