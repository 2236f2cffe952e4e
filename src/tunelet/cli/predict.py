"""``tunelet predict``: labels and probabilities for texts, from the folder of an adapter or of a fusion."""

from __future__ import annotations

import enum
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunelet.base.errors import AdapterError, InputError, Problem

if TYPE_CHECKING:
    from tunelet.data.records import TextExample


class Precision(enum.Enum):
    """Type of the encoder's products."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    int8 = "int8"


def predict(
    adapter: Annotated[
        Path, typer.Argument(help="An adapter folder, of Tunelet or of PEFT; or a fusion's.", metavar="ADAPTER")
    ],
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; without texts and --file: standard input, one a line.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="IN", help="Texts as .jsonl, .csv, .tsv or .txt, also .gz.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write JSON Lines here instead of standard output.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="BASE", help="Base model, if not the one that the adapter names.")
    ] = None,
    field: Annotated[str, typer.Option(metavar="NAME", help="Field that holds the text.")] = "text",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Texts in a batch; by default as many as make a good batch by tokens.")
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(
            help="Type of the encoder's products. auto: bf16 where the processor has instructions for it, else fp32. "
            "bf16 and int8 move probabilities a little; what is nearly a tie is answered again in fp32. "
            "A fusion answers in fp32."
        ),
    ] = Precision.auto,
    expert: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="Where an expert of a fusion lies, if it was moved; may be repeated."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Use the adapter though its folder does not verify.")] = False,
) -> None:
    """Predict labels with probabilities, one JSON object a line, in the order of the texts.

    Files of any length are streamed.

    Examples:

      tunelet predict my-adapter "i could not be happier"

      tunelet predict my-adapter --file in.jsonl --out out.jsonl

      cat texts.txt | tunelet predict my-adapter

      tunelet predict my-fusion --file in.jsonl
    """
    if texts and file:
        raise InputError(Problem("both texts and --file were given", hint="give one of them"))
    if out is not None and out.is_dir():
        raise InputError(Problem("is a folder, expected a file or a new name", out, field="--out"))
    if not adapter.is_dir():
        raise AdapterError(Problem("no such folder", adapter, hint="give the adapter/ folder that a run printed"))
    moved = {"adapters": _places(expert)} if expert else {}
    examples = _begun(_examples(texts, file, field))
    from tunelet.evaluation.inference import predict_stream
    from tunelet.tuning.folder import load_adapter
    from tunelet.tuning.inference import for_inference

    loaded = load_adapter(adapter, base=base, force=force, **moved)
    for warning in loaded.warnings:
        typer.echo(f"warning: {warning}", err=True)
    ready = for_inference(loaded, precision=precision.value)
    rows = (row.to_json() for row in predict_stream(ready, examples, batch_size=batch_size))
    if out is None:
        for row in rows:
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    else:
        typer.echo(f"{_write(out, rows):,} predictions in {out}", err=True)
    if ready.guard is not None:
        typer.echo(f"{ready.precision}: {ready.guard.told()}", err=True)


def _places(named: list[str]) -> dict[str, Path]:
    """Name of an expert -> its folder."""
    wrong = [one for one in named if not all(one.partition("="))]
    if wrong:
        raise InputError(Problem(f"found {wrong[0]!r}, expected NAME=DIR", field="--expert"))
    return {one.partition("=")[0]: Path(one.partition("=")[2]) for one in named}


def _examples(texts: list[str] | None, file: Path | None, field: str) -> Iterator[TextExample]:
    from tunelet.data.readers import read_texts
    from tunelet.data.records import TextExample

    if texts:
        return iter([TextExample(str(number), text, ()) for number, text in enumerate(texts)])
    return read_texts(file if file is not None else sys.stdin.buffer, text_field=field)


def _begun(examples: Iterator[TextExample]) -> Iterator[TextExample]:
    """The same examples with the first one read: a wrong file is told before the seconds that importing torch takes."""
    first = list(itertools.islice(examples, 1))
    return itertools.chain(first, examples)


def _write(out: Path, rows: Iterator[dict[str, Any]]) -> int:
    """Stream rows to a file beside `out` with a bar, and put it in place when it is whole; returns their number."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    part = out.with_name(f".{out.name}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    columns = (SpinnerColumn(), TextColumn("{task.completed:,} texts, {task.speed} a second"), TimeElapsedColumn())
    try:
        with (
            open(part, "w", encoding="utf-8") as target,
            Progress(*columns, console=Console(stderr=True), transient=True) as bar,
        ):
            task = bar.add_task("predict", total=None)
            for row in rows:
                target.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
                bar.advance(task)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return count
