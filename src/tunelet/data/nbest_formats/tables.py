"""Kaldi's tables: lines of a key, white space, and the rest. Not here: what keys and rests mean.

Example:
    >>> import io
    >>> from tunelet.data.lines import read_lines
    >>> from tunelet.data.problems import ProblemLog
    >>> log = ProblemLog("text")
    >>> cells(read_lines(io.BytesIO(b"a-1 the sea\\na-2\\n"), log), log)
    {'a-1': Cell(line=1, value='the sea'), 'a-2': Cell(line=2, value='')}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tunelet.base.errors import DataError, InputError, Problem
from tunelet.data.lines import Line, open_bytes, read_lines
from tunelet.data.nbest import NBest
from tunelet.data.problems import ProblemLog, Report


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands beside a key, and on which line; empty where the line is a key alone."""

    line: int
    value: str


def cells(lines: Iterable[Line], report: Report) -> dict[str, Cell]:
    """The rows of a table by key, in order; a key that occurs twice is reported and keeps its first value."""
    found: dict[str, Cell] = {}
    for line in lines:
        if line.broken or not line.text.strip():
            continue
        key, _, rest = line.text.strip().replace("\t", " ").partition(" ")
        before = found.setdefault(key, Cell(line.number, rest.strip()))
        if before.line != line.number:
            report.add(f"the key {key!r} is also on line {before.line}", line=line.number, field=key)
    return found


def table(folder: Path, name: str) -> Path | None:
    """The file `name` of a folder, plain or with .gz behind; None where there is neither."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def read_table(path: Path, logs: list[ProblemLog]) -> dict[str, Cell]:
    """The rows of a file; what is wrong with it goes to a log of its own, which is added to `logs`."""
    log = ProblemLog(path)
    logs.append(log)
    try:
        with open_bytes(path) as file:
            found = cells(read_lines(file, log), log)
    except DataError as error:
        for problem in error.problems:
            log.add(problem.message, hint=problem.hint)
        return {}
    if not found and not len(log):
        log.add("the file is empty, expected lines of an id and its value")
    return found


@dataclass(frozen=True)
class Beside:
    """What stands beside the hypotheses in a folder: references and speakers, by id, where there are such files."""

    refs: Mapping[str, Cell]
    speakers: Mapping[str, Cell]


def beside(folder: Path, logs: list[ProblemLog], references: Path | None = None) -> Beside:
    """The tables ``ref`` (or the file `references`) and ``utt2spk`` of a folder, as far as they exist."""
    ref, speaker = references or table(folder, "ref"), table(folder, "utt2spk")
    return Beside(read_table(ref, logs) if ref else {}, read_table(speaker, logs) if speaker else {})


def write_beside(lists: Iterable[NBest]) -> dict[str, str]:
    """The tables ``ref`` and ``utt2spk`` by name, each only if something is to stand in it."""
    files = {"ref": "", "utt2spk": ""}
    for one in lists:
        if one.ref is not None:
            files["ref"] += row(one.id, one.ref)
        if one.speaker is not None:
            files["utt2spk"] += row(one.id, one.speaker)
    return {name: content for name, content in files.items() if content}


def row(key: str, value: str) -> str:
    """A line of a table; white space in the value becomes single spaces.

    Raises:
        InputError: the key holds white space, and would be cut.
    """
    if not key or key.split() != [key]:
        raise InputError(
            Problem(f"the id {key!r} holds white space, which this format cannot write", hint="write JSON Lines")
        )
    return " ".join([key, *value.split()]) + "\n"
