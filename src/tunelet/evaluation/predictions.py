"""One row per example: what was asked, what was right, what the model said and how sure it was.

These rows are what every score, test and example table can be traced to. Not here: the forward pass (`inference`).

A row of the JSON Lines file, for one label per example and for several:

    {"id": "17", "text": "...", "label": "joy", "predicted": "love", "probabilities": {"sadness": 0.1, ...}}
    {"id": "17", "text": "...", "labels": ["joy", "love"], "predicted": ["joy"], "probabilities": {...}}

Without a known label, as in `tunelet predict`, the key `label` or `labels` is absent.

Example:
    >>> row = Prediction("17", "i am glad", ("joy",), ("joy",), {"sadness": 0.1, "joy": 0.9})
    >>> row.correct, row.confidence
    (True, 0.9)
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tunelet.base.errors import InputError, Problem
from tunelet.data.records import TextExample
from tunelet.evaluation.probabilities import checked_logits, class_probabilities, label_probabilities


@dataclass(frozen=True)
class Prediction:
    """What the model said about one example.

    Attributes:
        id, text: of the example.
        labels: its right labels, or None if they are unknown. (Multi label: an empty tuple says that none is right.)
        predicted: the label that was predicted; for multi label any number of them, in the order of the task.
        probabilities: of each label, in the order of the task; they add up to 1 unless `multi_label`.
        multi_label: whether an example may have several labels.
    """

    id: str
    text: str
    labels: tuple[str, ...] | None
    predicted: tuple[str, ...]
    probabilities: Mapping[str, float]
    multi_label: bool = False

    @property
    def correct(self) -> bool | None:
        """Whether the (whole set of) predicted labels is right; None if that is unknown."""
        return None if self.labels is None else set(self.labels) == set(self.predicted)

    @property
    def confidence(self) -> float:
        """Highest probability of a label."""
        return max(self.probabilities.values())

    def to_json(self) -> dict[str, Any]:
        """The row as written to disk."""
        row: dict[str, Any] = {"id": self.id, "text": self.text}
        if self.labels is not None:
            row |= {"labels": list(self.labels)} if self.multi_label else {"label": self.labels[0]}
        row["predicted"] = list(self.predicted) if self.multi_label else self.predicted[0]
        return row | {"probabilities": dict(self.probabilities)}


def make_predictions(
    examples: Sequence[TextExample],
    logits: ArrayLike,
    labels: Sequence[str],
    *,
    multi_label: bool,
    labelled: bool = True,
    threshold: float = 0.5,
) -> Iterator[Prediction]:
    """Turn logits into rows.

    Args:
        examples: N of them.
        logits: (N, C), row by row those of the examples.
        labels: names of the C labels, in order.
        multi_label: logistic function per label instead of a softmax over labels.
        labelled: whether an example without labels is known to have none (multi label only); else they are unknown.
        threshold: for multi label, the probability from which a label is predicted.

    Raises:
        InputError: shapes that do not fit.
        TuneletError: a logit is NaN or infinite.
    """
    values = checked_logits(logits, labels)
    if len(values) != len(examples):
        raise InputError(f"{len(examples)} examples, but {len(values)} rows of logits")
    probabilities = label_probabilities(values) if multi_label else class_probabilities(values)
    best = values.argmax(axis=1).tolist()
    for example, row, index in zip(examples, probabilities, best, strict=True):
        chosen = np.flatnonzero(row >= threshold).tolist() if multi_label else [index]
        yield Prediction(
            id=example.id,
            text=example.text,
            labels=example.labels if example.labels or (multi_label and labelled) else None,
            predicted=tuple(labels[position] for position in chosen),
            # six digits are what float32 logits hold; of small probabilities too, since losses are made from them
            probabilities={name: float(f"{share:.6g}") for name, share in zip(labels, row.tolist(), strict=True)},
            multi_label=multi_label,
        )


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> int:
    """Write rows as JSON Lines, one at a time, so that any number of them fits into memory.

    The file appears under its name when all rows are written; if anything fails before, nothing changes.

    Returns:
        The number of rows.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # not `base.files.write_atomic`, which wants the whole content at once
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".part", dir=path.parent) as folder:
        part, rows = Path(folder) / path.name, 0
        with open(part, "w", encoding="utf-8", newline="\n") as file:
            for prediction in predictions:
                file.write(json.dumps(prediction.to_json(), ensure_ascii=False, allow_nan=False) + "\n")
                rows += 1
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    return rows


def read_predictions(path: Path) -> tuple[Prediction, ...]:
    """Read what `write_predictions` wrote.

    Raises:
        InputError: rows that are not JSON objects, or lack a field, or hold another type; all of them, with lines.
    """
    problems: list[Problem] = []
    rows: list[Prediction] = []
    if not Path(path).is_file():
        raise InputError(Problem("there is no such file", file=path))
    with open(path, "rb") as file:  # bytes, because they split at \n alone
        for number, line in enumerate(file, start=1):
            try:
                rows.append(_parsed(json.loads(line)))
            except _FieldError as error:
                problems.append(Problem(error.message, file=path, line=number, field=error.field))
            except ValueError as error:  # JSON, or UTF-8
                problems.append(Problem(f"not JSON: {error}", file=path, line=number))
    if problems:
        raise InputError(problems)
    return tuple(rows)


def align(*runs: Sequence[Prediction]) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """Gold labels and predictions of several runs on the same examples, for `statistics`.

    Args:
        runs: K lists of predictions with one label each, in any order; rows are matched by id.

    Returns:
        gold (n,) and predicted (K, n), as names, in the order of the first run.

    Raises:
        InputError: the runs do not have the same ids, texts or gold labels, or ids repeat, or a row is multi label
            or without a label.
    """
    if not runs or not runs[0]:
        raise InputError("there are no predictions to compare")
    tables = [{row.id: row for row in run} for run in runs]
    problems: list[Problem] = []
    for number, (run, table) in enumerate(zip(runs, tables, strict=True), start=1):
        name = f"run {number}"
        if len(table) != len(run):
            problems.append(Problem(f"{len(run) - len(table)} ids occur twice", file=name))
        if odd := sorted(table.keys() ^ tables[0].keys()):
            problems.append(Problem(f"{len(odd)} ids are not in both it and run 1, first {odd[0]!r}", file=name))
        for first in runs[0]:
            mine = table.get(first.id, first)
            if mine.multi_label or mine.labels is None:
                problems.append(Problem(f"id {first.id!r} needs one right label, found {mine.labels}", file=name))
            elif (mine.labels, mine.text) != (first.labels, first.text):
                sides = f"{mine.labels} {mine.text!r}, but {first.labels} {first.text!r} in run 1"
                problems.append(Problem(f"id {first.id!r} is {sides}", file=name))
    if problems:
        raise InputError(problems)
    gold = np.array([row.labels[0] for row in runs[0] if row.labels])
    return gold, np.array([[table[row.id].predicted[0] for row in runs[0]] for table in tables])


class _FieldError(Exception):
    """A field of a row is absent or of another type."""

    def __init__(self, field: str | None, message: str) -> None:
        super().__init__(message)
        self.field, self.message = field, message


def _parsed(row: Any) -> Prediction:
    if not isinstance(row, dict):
        raise _FieldError(None, f"expected an object, found {type(row).__name__}")

    def field(name: str, kind: type) -> Any:
        if not isinstance(row.get(name), kind):
            found = repr(row[name]) if name in row else "nothing"
            raise _FieldError(name, f"expected a {kind.__name__}, found {found}")
        return row[name]

    multi_label = isinstance(row.get("predicted"), list)
    labels: tuple[str, ...] | None
    if multi_label:
        labels = tuple(field("labels", list)) if "labels" in row else None
        predicted = tuple(field("predicted", list))
    else:
        labels = (field("label", str),) if "label" in row else None
        predicted = (field("predicted", str),)
    return Prediction(
        field("id", str), field("text", str), labels, predicted, field("probabilities", dict), multi_label
    )
