"""Our own format: one object a line. Not here: the other formats.

``{"id": "a-1", "ref": "the sea", "nbest": [{"text": "the see", "score": -1.0}], "speaker": "a"}``; ``ref`` and
``speaker`` may be missing or null, other fields are ignored.

Example:
    >>> from tunelet.data.nbest import Hypothesis, NBest
    >>> line_of(NBest("a-1", (Hypothesis("the see", -1.0),)))
    '{"id": "a-1", "nbest": [{"text": "the see", "score": -1.0}]}'
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tunelet.data.fields import id_of
from tunelet.data.formats import Row, described
from tunelet.data.nbest import NBest
from tunelet.data.nbest_formats import parts
from tunelet.data.nbest_formats.parts import Found
from tunelet.data.problems import Report

NAME = "jsonl"


def read(rows: Iterable[Row], report: Report) -> Iterator[Found]:
    """The lists of a file, one a row; rows with problems have no value."""
    for row in rows:
        if _is_foreign(row, report):
            continue
        yield _found(row, report)


def line_of(one: NBest) -> str:
    """The list as a line, without its line end; what is not known is left out."""
    values: dict[str, Any] = {"id": one.id}
    if one.ref is not None:
        values["ref"] = one.ref
    if one.speaker is not None:
        values["speaker"] = one.speaker
    values["nbest"] = [{"text": hypothesis.text, "score": hypothesis.score} for hypothesis in one.hypotheses]
    return json.dumps(values, ensure_ascii=False, allow_nan=False)


def write(lists: Iterable[NBest]) -> Iterator[str]:
    """The file, line by line."""
    return (line_of(one) + "\n" for one in lists)


def _found(row: Row, report: Report) -> Found:
    count = _Count(report)
    if row.values.get("id") is None:
        count.add("missing", line=row.line, field="id", hint="every list is known by its id")
        identity = None
    else:
        identity = id_of(row, count)
    ref = row.values.get("ref")
    if ref is not None:
        ref = parts.text_of(ref, row.line, "ref", count)
    speaker = row.values.get("speaker")
    if speaker is not None:
        speaker = _speaker(speaker, row.line, count)
    hypotheses = []
    if "nbest" not in row.values:
        present = ", ".join(list(row.values)[:10]) or "nothing"
        count.add(f"missing; there is {present}", line=row.line, field="nbest")
    elif not isinstance(given := row.values["nbest"], list):
        count.add(f"expected a list of hypotheses, found {described(given)}", line=row.line, field="nbest")
    else:
        if not given:
            parts.no_hypotheses(row.line, "nbest", count)
        hypotheses = [parts.hypothesis_of(one, row.line, f"nbest[{i}]", count) for i, one in enumerate(given)]
    return Found(row.line, identity, parts.list_of(identity, hypotheses, ref, speaker, whole=not count.problems))


def _speaker(value: object, line: int, report: Report) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = parts.text_of(value, line, "speaker", report)
    if text is not None and not text.strip():
        report.add("empty", line=line, field="speaker", hint="leave the field out where the speaker is not known")
    return text


def _is_foreign(row: Row, report: Report) -> bool:
    """Whether a row belongs to another format; it is reported."""
    if "nbest" in row.values:
        return False
    message = None
    if "hyp_1" in row.values or any(isinstance(value, dict) and "hyp_1" in value for value in row.values.values()):
        message = "looks like the JSON of mlm-scoring, expected an object with id and nbest"
    elif "input" in row.values and "output" in row.values:
        message = "looks like the JSON of HyPoradise, expected an object with id and nbest"
    if message:
        hint = "a file holds one format only; a file that is one JSON value is named .json"
        report.add(message, line=row.line, hint=hint)
    return message is not None


class _Count:
    """A report that counts what passes through it."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.problems = 0

    def add(self, message: str, *, line: int | None = None, field: str | None = None, hint: str | None = None) -> None:
        self.problems += 1
        self.report.add(message, line=line, field=field, hint=hint)
