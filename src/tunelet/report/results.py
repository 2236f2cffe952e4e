"""A sweep folder, read and given types: runs, their learning curves and their test predictions.

Reads only `result.json`, `audit.json`, `runs/*/metrics.jsonl` and `runs/*/predictions/test.jsonl`. Works half-way
through a sweep: what is missing is listed, never guessed. Not here: means, intervals and tables (`groups.py`,
`tables.py`).

Example:
    >>> sweep = read_sweep(Path("out/emotion"))             # doctest: +SKIP
    >>> [run.name for run in sweep.runs], sweep.missing     # doctest: +SKIP
    (['full-seed1', 'lora-seed1'], ('lora-seed2',))
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunelet.base.errors import DamagedFileError, InputError, Problem
from tunelet.base.files import read_json
from tunelet.evaluation.predictions import read_predictions
from tunelet.report import result_schema
from tunelet.report.result_schema import Result, Run


@dataclass(frozen=True)
class Evaluated:
    """Validation scores at one step: the other half of a learning curve."""

    step: int
    accuracy: float
    loss: float


@dataclass(frozen=True)
class Curve:
    """What `metrics.jsonl` says: `train` holds (step, mean loss since the last row), `validation` the evaluations."""

    train: tuple[tuple[int, float], ...] = ()
    validation: tuple[Evaluated, ...] = ()


@dataclass(frozen=True)
class Predictions:
    """Test predictions of one run as columns; N rows, C labels.

    Attributes:
        ids, texts: of each row.
        gold, predicted: (N,) label indices; for multi label (N, C) of 0 and 1.
        probabilities: (N, C) float32.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    gold: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """(N,) bool; for multi label, whether the whole label set is right."""
        hits = np.asarray(self.gold == self.predicted)
        return hits if hits.ndim == 1 else np.asarray(hits.all(axis=1))


@dataclass(frozen=True)
class LoadedRun:
    """A finished run with what its folder holds; `predictions` is None if the file is absent."""

    run: Run
    curve: Curve
    predictions: Predictions | None

    @property
    def name(self) -> str:
        return self.run.name


@dataclass(frozen=True)
class Missing:
    """A planned run without a result; `last_step` is the last step its log tells of, None if it has not begun."""

    name: str
    last_step: int | None


@dataclass(frozen=True)
class Sweep:
    """Everything the report is made from."""

    folder: Path
    result: Result
    runs: tuple[LoadedRun, ...]
    missing: tuple[Missing, ...]
    audit: dict[str, Any] | None
    warnings: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.result.data.labels)

    @property
    def multi_label(self) -> bool:
        """Whether an example may carry several labels (said by result.json, else read off the predictions)."""
        told = [run.predictions.gold.ndim == 2 for run in self.runs if run.predictions is not None]
        return self.result.data.multi_label or any(told)


def read_sweep(folder: Path) -> Sweep:
    """Read a sweep folder.

    Raises:
        InputError: `result.json` is missing or wrong, or a row of a log or prediction file is; file, line and field
            are named, all problems of a file at once.
    """
    folder = Path(folder)
    file = folder / "result.json"
    if not file.is_file():
        raise InputError(Problem("no result.json here", file=folder, hint="give the folder that `tunelet run` printed"))
    result = result_schema.validate(_parsed(file), file)
    warnings: list[str] = []
    runs = tuple(_load_run(folder, run, result, warnings) for run in result.runs)
    done = {run.name for run in result.runs}
    missing = tuple(Missing(name, _last_step(folder, name)) for name in result.planned if name not in done)
    audit = _parsed(folder / "audit.json") if (folder / "audit.json").is_file() else None
    if audit is None:
        warnings.append("audit.json is not there yet, so the data audit is left out.")
    return Sweep(folder, result, runs, missing, audit, tuple(warnings))


def read_curve(file: Path) -> Curve:
    """Read a `metrics.jsonl`. Rows of a run in progress may end in a torn line: that one alone is left out."""
    train: list[tuple[int, float]] = []
    validation: list[Evaluated] = []
    for line, row in _rows(file, torn_end=True):
        step = _number(row, "step", file, line)
        if row.get("train_loss") is not None:
            train.append((int(step), _number(row, "train_loss", file, line)))
        scores = row.get("validation")
        if isinstance(scores, dict):
            accuracy, loss = (_number(scores, key, file, line) for key in ("accuracy", "loss"))
            validation.append(Evaluated(int(step), accuracy, loss))
    return Curve(tuple(train), tuple(validation))


def read_test_predictions(file: Path, labels: tuple[str, ...]) -> Predictions:
    """Read a `predictions/test.jsonl` into columns.

    Raises:
        InputError: a row lacks a field, or names a label that result.json does not; all bad rows at once.
    """
    rows = read_predictions(file)
    index = {name: number for number, name in enumerate(labels)}
    problems: list[Problem] = []
    for line, row in enumerate(rows, start=1):
        named = {*(row.labels or ()), *row.predicted}
        if unknown := sorted(named - index.keys()):
            message = f"found {', '.join(map(repr, unknown))}; the labels are {', '.join(labels)}"
            problems.append(Problem(message, file=file, line=line, field="label or predicted"))
        if lacking := sorted(index.keys() - row.probabilities.keys()):
            problems.append(Problem(f"no probability of {lacking}", file=file, line=line, field="probabilities"))
        if row.correct is None:
            problems.append(Problem("no right label", file=file, line=line, field="label"))
        if row.multi_label != rows[0].multi_label:
            problems.append(Problem("single and multi label rows are mixed", file=file, line=line, field="predicted"))
    if problems:
        raise InputError(problems)

    def encode(names: tuple[str, ...]) -> int | list[int]:
        return [int(label in names) for label in labels] if rows[0].multi_label else index[names[0]]

    chances = [[float(row.probabilities[label]) for label in labels] for row in rows]
    return Predictions(
        ids=tuple(row.id for row in rows),
        texts=tuple(row.text for row in rows),
        gold=np.array([encode(row.labels or ()) for row in rows], np.int64),
        predicted=np.array([encode(row.predicted) for row in rows], np.int64),
        probabilities=np.array(chances, np.float32).reshape(len(rows), len(labels)),
    )


def _load_run(folder: Path, run: Run, result: Result, warnings: list[str]) -> LoadedRun:
    home = folder / run.folder
    log, rows = home / "metrics.jsonl", home / "predictions" / "test.jsonl"
    if not log.is_file():
        warnings.append(f"{run.name}: {run.folder}/metrics.jsonl is missing, so it has no learning curve.")
    curve = read_curve(log) if log.is_file() else Curve()
    if not rows.is_file():
        warnings.append(f"{run.name}: {run.folder}/predictions/test.jsonl is missing, so examples and tests lack it.")
        return LoadedRun(run, curve, None)
    predictions = read_test_predictions(rows, tuple(result.data.labels))
    told = run.metrics.get("test")
    if told is not None and len(predictions.ids):
        counted = float(predictions.correct.mean())
        if len(predictions.ids) != told.n or abs(counted - told.accuracy) > 1e-6:
            warnings.append(
                f"{run.name}: result.json says test accuracy {told.accuracy:.4f} (n {told.n}), but its prediction rows"
                f" give {counted:.4f} (n {len(predictions.ids)})."
            )
    return LoadedRun(run, curve, predictions)


def _last_step(folder: Path, name: str) -> int | None:
    for file in sorted((folder / "runs").glob(f"{name}-*/metrics.jsonl")):
        try:
            curve = read_curve(file)
        except InputError:  # a log that is being written must not stop the report of the finished runs
            continue
        steps = [step for step, _ in curve.train] + [row.step for row in curve.validation]
        if steps:
            return max(steps)
    return None


def _parsed(file: Path) -> Any:
    try:
        return read_json(file)
    except DamagedFileError as error:
        raise InputError(str(error)) from None


def _rows(file: Path, *, torn_end: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON Lines file with their line numbers. Splits on newline only."""
    lines = file.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            if torn_end and number == len(lines):
                return
            raise InputError(Problem(f"not JSON: {error}", file=file, line=number)) from None
        if not isinstance(row, dict):
            raise InputError(Problem(f"expected an object, found {type(row).__name__}", file=file, line=number))
        yield number, row


def _number(row: dict[str, Any], field: str, file: Path, line: int) -> float:
    value = row.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(Problem(f"expected a number, found {value!r}", file=file, line=line, field=field))
    return float(value)
