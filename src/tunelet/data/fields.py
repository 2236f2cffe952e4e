"""Values of a row to the parts of an example: its id, its text, its labels. Not here: files, or order of examples.

Each function returns the part, or None after it has reported why there is none, so that one row can have several
problems told.

Example:
    >>> from tunelet.data.problems import ProblemLog
    >>> from tunelet.data.formats import Row
    >>> log = ProblemLog("train.jsonl")
    >>> text_of(Row(7, {"text": "   "}), "text", log) is None
    True
    >>> str(log.problems()[0])
    'train.jsonl:7: text: empty: expected at least one visible character'
"""

from __future__ import annotations

import re
import string

from tunelet.base.registry import suggest
from tunelet.data.formats import Format, Row, described, missing_field
from tunelet.data.problems import Report
from tunelet.data.records import Task

#: Between the labels of one cell, in the tables of a multi-label task.
LABEL_SEPARATOR = "|"

# Characters that leave no mark on a page; a text made of them alone says nothing.
_INVISIBLE = string.whitespace + "\u00a0\u00ad\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u2060\u3000\ufeff"
_SURROGATE = re.compile("[\ud800-\udfff]")


def text_of(row: Row, field: str, report: Report) -> str | None:
    """The text of a row: a string with something to see in it."""
    if field not in row.values:
        message, hint = missing_field(field, list(row.values), "data.text_field")
        report.add(message, line=row.line, field=field, hint=hint)
        return None
    text = row.values[field]
    if not isinstance(text, str):
        report.add(f"expected a text, found {described(text)}", line=row.line, field=field)
        return None
    if not text.strip() or not text.strip(_INVISIBLE):
        report.add("empty: expected at least one visible character", line=row.line, field=field)
        return None
    if (fault := unusable(text)) is not None:
        report.add(fault, line=row.line, field=field)
        return None
    return text


def labels_of(row: Row, field: str, task: Task, form: Format, report: Report) -> tuple[str, ...] | None:
    """The labels of a row, in the order of the task; exactly one of them unless the task is multi-label."""
    if field not in row.values:
        message, hint = missing_field(field, list(row.values), "data.label_field")
        report.add(message, line=row.line, field=field, hint=hint)
        return None
    value = row.values[field]
    if not task.multi_label:
        return (value,) if _is_label(value, task, row, field, report) and isinstance(value, str) else None
    if form != "jsonl" and isinstance(value, str):
        value = value.split(LABEL_SEPARATOR) if value else []
    if not isinstance(value, list):
        hint = 'write a list, for example ["joy", "love"], or []'
        report.add(
            f"expected a list of labels in a multi-label task, found {described(value)}",
            line=row.line,
            field=field,
            hint=hint,
        )
        return None
    if not all([_is_label(name, task, row, field, report) for name in value]):  # a list: every one is to be told
        return None
    if len(set(value)) != len(value):
        repeated = next(name for name in value if value.count(name) > 1)
        report.add(f"the label {repeated!r} is given twice", line=row.line, field=field)
        return None
    return tuple(sorted(value, key=task.positions.__getitem__))


def id_of(row: Row, report: Report) -> str | None:
    """The id of a row: a text that is not empty, or a whole number."""
    value = row.values.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        report.add(f"expected a text or a whole number, found {described(value)}", line=row.line, field="id")
        return None
    fault = "empty" if not value.strip() else unusable(value)
    if fault is not None:
        report.add(fault, line=row.line, field="id")
        return None
    return value


def _is_label(value: object, task: Task, row: Row, field: str, report: Report) -> bool:
    if isinstance(value, str) and value in task.positions:
        return True
    known = task.label_names
    shown = ", ".join(known[:12]) + (f", ... ({len(known)} labels)" if len(known) > 12 else "")
    if not isinstance(value, str):
        hint = None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(known):
            hint = f"if the numbers are positions, {value} is to be written as {known[value]!r}"
        report.add(
            f"expected the name of a label ({shown}), found {described(value)}", line=row.line, field=field, hint=hint
        )
        return False
    near = suggest(value, list(known))
    hint = f"did you mean {near!r}?" if near else None
    report.add(
        f"unknown label {value[:60]!r}, expected one of {shown}" if value else f"empty, expected one of {shown}",
        line=row.line,
        field=field,
        hint=hint,
    )
    return False


def unusable(text: str) -> str | None:
    """What makes a string that JSON can spell (by an escape) unfit as a text."""
    if "\0" in text:
        return f"holds a NUL character at position {text.index(chr(0))}"
    if (lone := _SURROGATE.search(text)) is not None:
        return f"holds half of a surrogate pair (\\u{ord(lone.group()):04x}) at position {lone.start()}"
    return None
