"""The scores of cells under resampled test examples, from the answers beside `result.json`. Not here: averages.

A cell whose answers are not on disk, are not those that it was scored by, or whose metric counts do not give, has its
score alone; the intervals then speak of no other examples, and say so.

Example:
    >>> scores = Resampled(view, Path("out"))                           # doctest: +SKIP
    >>> scores.of(view.main[0])[0] == view.main[0].cell.score           # doctest: +SKIP
    True
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tunelet.base.errors import InputError, Problem
from tunelet.evaluation.answer_resamples import METRICS, AnswerTable, item_draws, often, resampled_scores
from tunelet.evaluation.probabilities import Floats
from tunelet.report.understand_view import Asked, Key, View

#: resamples of the examples of a task
DRAWS = 600


class Resampled:
    """Scores of each cell: as it is, then under each resample. Read once, when first asked for."""

    def __init__(self, view: View, folder: Path) -> None:
        self._view, self._folder = view, folder
        self._tasks: dict[str, dict[Key, Floats]] = {}
        self.without: set[str] = set()

    def of(self, asked: Asked) -> Floats:
        """(1 + D,) of the task's own metric; D is 0 where the examples cannot be resampled.

        Raises:
            InputError: a file of answers is damaged; file and line are named.
        """
        task = asked.cell.task
        if task not in self._tasks:
            self._tasks[task] = self._read(task)
        return self._tasks[task].get(asked.key, np.array([asked.cell.score]))

    def _read(self, task: str) -> dict[Key, Floats]:
        labels = self._view.labels(task)
        cells = [one for one in self._view.asked if one.cell.task == task]
        tables: dict[Key, tuple[Asked, AnswerTable]] = {}
        for one in cells:
            file = self._file(one)
            if labels and file is not None and one.cell.metric in METRICS:
                tables[one.key] = (one, read_answers(file, labels))
        ids = {name for _, table in tables.values() for name in table.ids}
        draws = item_draws(sorted(ids), task, 1, DRAWS) if ids else {}
        counts: dict[tuple[str, ...], Floats] = {}
        found = {}
        for key, (one, table) in tables.items():
            if table.ids not in counts:
                counts[table.ids] = often(draws, table.ids)
            scores = resampled_scores(table, one.cell.metric, counts[table.ids])
            if scores is not None and abs(scores[0] - one.cell.score) < 1e-6:
                found[key] = scores
        if len(found) < len(cells):
            self.without.add(task)
        return found

    def _file(self, one: Asked) -> Path | None:
        if one.run is None or one.cell.answers_file is None:
            return None
        file = self._folder / one.run.folder / one.cell.answers_file
        inside = file.resolve().is_relative_to(self._folder.resolve())
        return file if inside and file.is_file() else None


def read_answers(file: Path, labels: tuple[str, ...]) -> AnswerTable:
    """The answers of one cell.

    Raises:
        InputError: a line is not what a run writes; file, line and field are named.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    if not lines:
        raise InputError(Problem("holds no answer", file=file, hint="run the recipe again"))
    try:
        return _table(json.loads(f"[{','.join(lines)}]"), labels)  # at once: three times as fast as line by line
    except _DAMAGE:
        for number, line in enumerate(lines, start=1):
            _check(line, labels, file, number)
        raise


#: what reading a damaged line may raise
_DAMAGE = (KeyError, TypeError, ValueError, InputError)


def _table(rows: list[Any], labels: tuple[str, ...]) -> AnswerTable:
    ids = [f"{row.get('split', '')}/{row['id']}" for row in rows]
    return AnswerTable.of(ids, [row["labels"] for row in rows], [row["answer"] for row in rows], labels)


def _check(line: str, labels: tuple[str, ...], file: Path, number: int) -> None:
    try:
        _table([json.loads(line)], labels)
    except _DAMAGE as error:
        field = str(error.args[0]) if isinstance(error, KeyError) else None
        message = "missing" if field else f"not an answer: {error}"
        hint = "take the run's folder away and run the recipe again: it is made anew, all others are kept"
        raise InputError(Problem(message, file=file, line=number, field=field, hint=hint)) from None
