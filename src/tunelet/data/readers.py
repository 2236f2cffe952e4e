"""Data files to examples: JSON Lines, CSV, TSV, each also gzip-compressed. Not here: which files (`data.sources`).

`read_examples` reads a whole labelled file and tells all its problems at once. `read_texts` streams texts whose
labels are not known, in bounded memory.

Example:
    >>> from pathlib import Path                                            # doctest: +SKIP
    >>> read_examples(Path("train.jsonl"), EMOTION)[0]                      # doctest: +SKIP
    TextExample(id='0', text='i didnt feel humiliated', labels=('sadness',))
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from tunelet.base.errors import DataError
from tunelet.data.fields import id_of, labels_of, text_of
from tunelet.data.formats import Format, Row, format_of, rows_of
from tunelet.data.lines import Line, open_bytes, read_lines
from tunelet.data.problems import ProblemLog, Raise, Report
from tunelet.data.records import Task, TextExample


def read_examples(
    path: Path, task: Task, text_field: str = "text", label_field: str = "label"
) -> tuple[TextExample, ...]:
    """Read a labelled file.

    Args:
        path: ends in .jsonl, .csv or .tsv, or one of these and .gz.
        task: whose labels the file must keep to.
        text_field: field or column of the text.
        label_field: field or column of the label; in a multi-label task a list (in tables, names joined by ``|``).

    Returns:
        The examples in the order of the file. A field ``id`` names them, if every row has one; else their position.

    Raises:
        DataError: with all problems of the file (the first 20 and a count), each with line and field.
    """
    log = ProblemLog(path)
    examples = scan_examples(path, task, text_field, label_field, log)
    log.raise_if_any()
    return examples


def scan_examples(
    path: Path, task: Task, text_field: str, label_field: str, log: ProblemLog
) -> tuple[TextExample, ...]:
    """As `read_examples`, but the problems go to `log`, so that several files can be told together."""
    try:
        form = format_of(path)
        with open_bytes(path) as file:
            counted = _Counted(read_lines(file, log))
            rows = rows_of(form, counted, log, required=(text_field, label_field))
            examples = examples_of(rows, task, text_field, label_field, form, log)
    except DataError as error:  # the file as a whole cannot be read
        for problem in error.problems:
            log.add(problem.message, line=problem.line, field=problem.field, hint=problem.hint)
        return ()
    if not examples and not len(log):
        log.add(f"{counted.emptiness}, expected at least one example")
    return examples


def examples_of(
    rows: Iterable[Row], task: Task, text_field: str, label_field: str, form: Format, log: Report
) -> tuple[TextExample, ...]:
    """Rows to labelled examples with ids that are unique; rows with problems are reported and left out."""
    examples = []
    lines_of_ids: dict[str, int] = {}
    named: bool | None = None
    first_line = 0
    for position, row in enumerate(rows):
        has_id = row.values.get("id") is not None
        if named is None:
            named, first_line = has_id, row.line
        name = str(position)
        if named != has_id:
            other = f"line {first_line} has one" if named else f"line {first_line} has none"
            log.add(
                f"{'missing' if named else 'given'}, but {other}: every row has an id, or none",
                line=row.line,
                field="id",
            )
        elif has_id:
            given = id_of(row, log)
            if given is not None:
                before = lines_of_ids.setdefault(given, row.line)
                if before != row.line:
                    log.add(f"{given!r} is also the id on line {before}", line=row.line, field="id")
                name = given
        text = text_of(row, text_field, log)
        labels = labels_of(row, label_field, task, form, log)
        if text is not None and labels is not None:
            examples.append(TextExample(name, text, labels))
    return tuple(examples)


def read_texts(
    source: Path | BinaryIO,
    *,
    name: str = "<stdin>",
    text_field: str = "text",
    label_field: str = "label",
    form: Format | None = None,
    report: Report | None = None,
) -> Iterator[TextExample]:
    """Stream texts to predict, one at a time.

    Args:
        source: a file (.jsonl, .csv, .tsv or .txt, also .gz) or an open binary stream, which is left open.
        name: what a stream is called in messages.
        text_field: field or column of the text.
        label_field: a label that stands there, or a list of them, is carried along unchecked; all else is no label.
        form: format of a stream. None: a first line that begins with ``{`` means JSON Lines, any other means one
            text a line.
        report: takes problems, and the rows that have one are left out. None: the first problem raises.

    Yields:
        Examples in the order of the source, with ``labels`` empty unless the source has them. Ids that the source
        does not give are positions; they are not checked to be unique, for that would need memory.

    Raises:
        DataError: the source cannot be read, or `report` is None and a row has a problem.
    """
    with ExitStack() as stack:
        if isinstance(source, Path):
            form = form or format_of(source, plain_text=True)
            file = stack.enter_context(open_bytes(source))
            report = Raise(source) if report is None else report
        else:
            file = source
            report = Raise(name) if report is None else report
        lines = read_lines(file, report)
        if form is None:
            form, lines = _sniffed(lines)
        required = () if form == "text" else (text_field,)
        for position, row in enumerate(rows_of(form, lines, report, required)):
            given = id_of(row, report) if row.values.get("id") is not None else str(position)
            text = text_of(row, "text" if form == "text" else text_field, report)
            if text is not None and given is not None:
                yield TextExample(given, text, _labels_carried(row.values.get(label_field)))


def _sniffed(lines: Iterator[Line]) -> tuple[Format, Iterator[Line]]:
    for line in lines:
        if line.text.strip():
            form: Format = "jsonl" if line.text.lstrip().startswith("{") else "text"
            return form, itertools.chain([line], lines)
    return "text", lines


def _labels_carried(value: object) -> tuple[str, ...]:
    if isinstance(value, str) and value:
        return (value,)
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return tuple(value)
    return ()


class _Counted:
    """Lines as they pass, counted, to tell an empty file from one that only looks so."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._all = self._filled = 0

    def __iter__(self) -> Iterator[Line]:
        for line in self._lines:
            self._all += 1
            self._filled += bool(line.text.strip())
            yield line

    @property
    def emptiness(self) -> str:
        if not self._all:
            return "the file is empty"
        return "the file has a header and no rows" if self._filled else "the file has only blank lines"
