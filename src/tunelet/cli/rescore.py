"""``tunelet rescore``: N-best lists, or sound, to rescored lists, with the adapter folder of a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from tunelet.base.errors import InputError, Problem
from tunelet.base.files import write_json
from tunelet.cli.options import JsonFile


def rescore(
    lists: Annotated[
        list[Path], typer.Argument(help="N-best lists in any of the formats, or sound files.", metavar="LISTS")
    ],
    adapter: Annotated[Path, typer.Option(metavar="DIR", help="The adapter folder of a run of the system rescore.")],
    out: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write JSON Lines here instead of standard output.")
    ] = None,
    json_file: JsonFile = None,
    base: Annotated[
        str | None, typer.Option(metavar="BASE", help="Base model, if not the one that the scorer names.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that recognise sound.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Use the adapter though its folder does not verify.")] = False,
) -> None:
    """Choose the best hypothesis of each list; one JSON object a line, in the order of the lists.

    Lists in JSON Lines are streamed. Sound is recognised first, as in the run that made the adapter.

    Examples:

      tunelet rescore lists.jsonl --adapter my-run/adapter --out ranked.jsonl --json word-errors.json

      tunelet rescore audio.wav --adapter my-run/adapter
    """
    if out is not None and out.is_dir():
        raise InputError(Problem("is a folder, expected a file or a new name", out, field="--out"))
    from tunelet.systems import rescore_files, rescore_folder

    rescore_files.checked(lists)
    rescorer = rescore_folder.load(adapter, base=base, force=force)
    tally = rescore_files.Tally(rescorer.normalise)
    given = rescore_files.opened(lists, rescorer.recipe.first_pass, workers=workers)
    rows = rescore_files.rescored(rescorer, given, tally)
    if out is None:
        for row in rows:
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    else:
        typer.echo(f"{_write(out, rows):,} rescored lists in {out}", err=True)
    if json_file is not None:
        write_json(json_file, tally.to_json())


def _write(out: Path, rows: Iterator[dict[str, Any]]) -> int:
    """Stream rows to a file beside `out` and put it in place when it is whole; returns their number."""
    part = out.with_name(f".{out.name}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    try:
        with open(part, "w", encoding="utf-8") as target:
            for row in rows:
                target.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return count
