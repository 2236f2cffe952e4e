"""Lines to rows, for JSON Lines, CSV, TSV and plain text. Not here: which fields a row must have (`data.fields`).

CSV follows RFC 4180 (quotes double inside quotes, a quoted field may hold line ends); TSV follows IANA's
text/tab-separated-values: no quoting at all, so a quote is just a character. Tables begin with the names of their
columns. Blank lines between rows are skipped.

Example:
    >>> from tunelet.data.lines import Line
    >>> from tunelet.data.problems import ProblemLog
    >>> log = ProblemLog("x")
    >>> list(json_rows([Line(1, '{"text": "fine"}'), Line(2, "{oops")], log)), len(log)
    ([Row(line=1, values={'text': 'fine'})], 1)
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tunelet.base.errors import DataError, Problem
from tunelet.base.registry import suggest
from tunelet.data.lines import Line
from tunelet.data.problems import Report

Format = Literal["jsonl", "csv", "tsv", "text"]

#: Formats of labelled files; each is also read with ``.gz`` behind.
SUFFIXES: Mapping[str, Format] = {".jsonl": "jsonl", ".csv": "csv", ".tsv": "tsv"}


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a file: the line on which it begins and its values by field."""

    line: int
    values: Mapping[str, object]


def format_of(path: Path, *, plain_text: bool = False) -> Format:
    """The format that a file's name tells.

    Args:
        plain_text: whether ``.txt``, one text a line, is a format too.

    Raises:
        DataError: the name ends in nothing that is known.
    """
    known: dict[str, Format] = {**SUFFIXES, ".txt": "text"} if plain_text else dict(SUFFIXES)
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if suffix in known:
        return known[suffix]
    hint = "write one JSON object a line and name it .jsonl: jq -c '.[]' OLD > NEW" if suffix == ".json" else None
    raise DataError(Problem(f"unknown format {suffix!r}; expected {', '.join(known)} (or .gz behind)", path, hint=hint))


def rows_of(form: Format, lines: Iterable[Line], report: Report, required: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of a file in format `form`.

    Args:
        required: columns that a table must have; without them its rows are not read.
    """
    if form == "jsonl":
        return json_rows(lines, report)
    if form == "text":
        return text_rows(lines)
    return table_rows(lines, report, tabs=form == "tsv", required=required)


def text_rows(lines: Iterable[Line]) -> Iterator[Row]:
    """Each line that is not blank, as the field ``text``."""
    return (Row(line.number, {"text": line.text}) for line in lines if not line.broken and line.text.strip())


def json_rows(lines: Iterable[Line], report: Report) -> Iterator[Row]:
    """One object from each line that is not blank; what is not an object is reported and left out."""
    first = True
    for line in lines:
        if line.broken or not line.text.strip():
            continue
        try:
            value = json.loads(line.text, object_pairs_hook=_unique)
        except _RepeatedKeyError as error:
            report.add("the key occurs twice in one object", line=line.number, field=str(error))
            continue
        except (ValueError, RecursionError) as error:
            if first and line.text.lstrip().startswith(("[", "{")) and _continues(line.text):
                _report_whole_json(line, report)
                return
            report.add(_json_fault(error), line=line.number, hint="expected one JSON object on each line")
            first = False
            continue
        if not isinstance(value, dict):
            if first and isinstance(value, list):
                _report_whole_json(line, report)
                return
            report.add(f"expected a JSON object, found {described(value)}", line=line.number)
        else:
            yield Row(line.number, value)
        first = False


def table_rows(lines: Iterable[Line], report: Report, *, tabs: bool, required: Sequence[str]) -> Iterator[Row]:
    """One row for each record below the header; each record must have as many cells as the header."""
    broken: set[int] = set()
    name = "TSV" if tabs else "CSV"
    reader = csv.reader(
        _fed(lines, broken),
        delimiter="\t" if tabs else ",",
        quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
        strict=True,
    )
    header: list[str] | None = None
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error) or "field limit" in str(error):
                report.add(
                    "quotes are not balanced: a field that opens in this row is never closed",
                    line=start,
                    hint='a quote inside a quoted field is written twice: ""',
                )
                return
            report.add(f"not {name}: {error}", line=start, hint='fields with quotes or commas stand in "quotes"')
            continue
        if not cells or (len(cells) == 1 and not cells[0].strip()):
            continue  # a blank line
        if header is None:
            header = cells
            if not _header_holds(header, start, required, report, tabs=tabs):
                return
            continue
        if not broken.isdisjoint(range(start, reader.line_num + 1)):
            broken.clear()
            continue  # reported where its bytes were read
        if len(cells) != len(header):
            count = f"{len(cells)} cells" if len(cells) != 1 else "1 cell"
            more = "more" if len(cells) > len(header) else "fewer"
            hint = None if tabs else 'a text with commas stands in "quotes"'
            report.add(f"{count}, {more} than the {len(header)} columns of the header", line=start, hint=hint)
            continue
        yield Row(start, dict(zip(header, cells, strict=True)))


def described(value: object) -> str:
    """A JSON value in words, short enough for a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {value[:40]!r}" + ("…" if len(value) > 40 else "")
    if isinstance(value, (int, float)):
        return "NaN" if value != value else f"the number {str(value)[:40]}"
    return "a list" if isinstance(value, list) else "an object"


def missing_field(name: str, present: Sequence[str], setting: str) -> tuple[str, str]:
    """Message and hint for a field that a row, or a column that a table, does not have.

    Args:
        setting: the keys of a recipe that say which field is read.
    """
    near = suggest(name, list(present))
    shown = ", ".join(present[:10]) + (", ..." if len(present) > 10 else "")
    return (
        f"missing; there is {shown or 'nothing'}",
        f"did you mean {near!r}? {setting} says which is read" if near else (f"{setting} says which is read"),
    )


def _fed(lines: Iterable[Line], broken: set[int]) -> Iterator[str]:
    for line in lines:
        if line.broken:
            broken.add(line.number)
        yield line.text + "\n"


def _header_holds(header: list[str], line: int, required: Sequence[str], report: Report, *, tabs: bool) -> bool:
    before = [name for name in header if name and header.count(name) > 1]
    for name in dict.fromkeys(before):
        report.add("the header names this column twice", line=line, field=name)
    for name in required:
        if name not in header:
            message, hint = missing_field(name, header, "data.text_field or data.label_field")
            if len(header) == 1:
                other = next((mark for mark in (";", "\t", ",", "|") if mark in header[0]), None)
                wanted = "tabs (.tsv)" if tabs else "commas (.csv)"
                hint = f"cells are separated by {wanted}; this file seems to use {other!r}" if other else hint
            report.add(message, line=line, field=name, hint=hint)
    return not before and all(name in header for name in required)


class _RepeatedKeyError(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):  # the json module would keep the last one without a word
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _RepeatedKeyError(key)
            seen.add(key)
    return values


def _json_fault(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at column {error.colno}"
    return "not JSON that can be read: nested too deeply" if isinstance(error, RecursionError) else f"not JSON: {error}"


def _continues(text: str) -> bool:
    # "[", "{" or a line that ends in a comma: the first line of one JSON value that is spread over many lines.
    return text.strip() in ("[", "{") or text.rstrip().endswith(",")


def _report_whole_json(line: Line, report: Report) -> None:
    report.add(
        "the file seems to be one JSON value, expected JSON Lines: one object on each line",
        line=line.number,
        hint="jq -c '.[]' OLD > NEW",
    )
