"""Collecting what is wrong with one file, so that a user hears all of it at once. Not here: raising early.

Example:
    >>> log = ProblemLog("train.jsonl")
    >>> log.add("no text", line=3, field="text")
    >>> len(log)
    1
    >>> str(log.problems()[0])
    'train.jsonl:3: text: no text'
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tunelet.base.errors import DataError, Problem

#: How many different problems of one file are told; the others are counted.
SHOWN = 20
#: How many lines are named for a problem that recurs.
LINES = 5


class Report(Protocol):
    """Takes what is wrong: a `ProblemLog` keeps it, `Raise` stops at it."""

    def add(self, message: str, *, line: int | None = None, field: str | None = None, hint: str | None = None) -> None:
        """Tell one problem."""


@dataclass
class _Kept:
    lines: list[int]
    count: int = 0


class ProblemLog:
    """What is wrong with a file: the first `SHOWN` different problems, with the lines where each one recurs.

    Memory stays bounded however bad the file is.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = file
        self._kept: dict[tuple[str, str | None, str | None], _Kept] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, message: str, *, line: int | None = None, field: str | None = None, hint: str | None = None) -> None:
        """Keep one problem of the file."""
        self._count += 1
        kept = self._kept.get((message, field, hint))
        if kept is None:
            if len(self._kept) == SHOWN:
                return
            kept = self._kept[message, field, hint] = _Kept([])
        kept.count += 1
        if line is not None and len(kept.lines) < LINES:
            kept.lines.append(line)

    def problems(self) -> list[Problem]:
        """What was kept, in the order of the file, and a last entry that counts the rest."""
        told = []
        for (message, field, hint), kept in self._kept.items():
            line = kept.lines[0] if kept.lines else None
            told.append(Problem(message + _also(kept), self.file, line, field, hint))
        told.sort(key=lambda problem: problem.line or 0)  # stable: fields of a line stay in order
        rest = self._count - sum(kept.count for kept in self._kept.values())
        if rest:
            told.append(Problem(f"and {rest} more {'problem' if rest == 1 else 'problems'} in this file", self.file))
        return told

    def raise_if_any(self) -> None:
        """Raise a `DataError` with all problems, if there are any."""
        raise_together([self])


class Raise:
    """A `Report` that raises each problem at once: for streams, which have no end to wait for."""

    def __init__(self, file: str | Path) -> None:
        self.file = file

    def add(self, message: str, *, line: int | None = None, field: str | None = None, hint: str | None = None) -> None:
        """Raise the problem as a `DataError`."""
        raise DataError(Problem(message, self.file, line, field, hint))


def raise_together(logs: list[ProblemLog]) -> None:
    """Raise one `DataError` with the problems of several files, if there are any; each file keeps its own count."""
    problems = [problem for log in logs for problem in log.problems()]
    if problems:
        raise DataError(problems, shown=len(problems))


def _also(kept: _Kept) -> str:
    if kept.count == 1:
        return ""
    if not kept.lines:
        return f" ({kept.count} times)"
    lines = ", ".join(map(str, kept.lines[1:]))
    more = kept.count - len(kept.lines)
    return f" (also in line{'' if kept.count == 2 else 's'} {lines}{f' and {more} more' if more else ''})"
