"""The JSON of HyPoradise: one list of objects. Not here: the other formats.

``[{"input": ["first hypothesis", "second ..."], "output": "what was said"}]``. It has neither scores nor ids nor
speakers: every score becomes 0.0 (and the set says ``scored=False``), the id is the position, from 0.

Example:
    >>> from tunelet.data.nbest import Hypothesis, NBest
    >>> print("".join(write([NBest("0", (Hypothesis("the see"),), "the sea")])), end="")
    [
    {"input": ["the see"], "output": "the sea"}
    ]
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tunelet.data.formats import described
from tunelet.data.nbest import Hypothesis, NBest
from tunelet.data.nbest_formats import parts
from tunelet.data.nbest_formats.entries import Entry
from tunelet.data.nbest_formats.parts import Found
from tunelet.data.problems import Report

NAME = "hyporadise"


def read(found: Iterable[Entry], report: Report) -> Iterator[Found]:
    """The lists of a file, one an entry; entries with problems have no value."""
    for position, entry in enumerate(found):
        if not isinstance(entry.value, dict):
            message = f"expected an object with input and output, found {described(entry.value)}"
            report.add(message, line=entry.line, field=f"[{position}]")
            yield Found(entry.line, str(position), None)
        else:
            yield Found(entry.line, str(position), _list(position, entry, report))


def write(lists: Iterable[NBest]) -> Iterator[str]:
    """The file, an utterance a line; a list without reference has no ``output``."""
    yield "[\n"
    for i, one in enumerate(lists):
        values: dict[str, Any] = {"input": list(one.texts)}
        if one.ref is not None:
            values["output"] = one.ref
        yield ("" if i == 0 else ",\n") + json.dumps(values, ensure_ascii=False)
    yield "\n]\n"


def _list(position: int, entry: Entry, report: Report) -> NBest | None:
    values: dict[str, Any] = entry.value
    field = f"[{position}].input"
    if "input" not in values:
        foreign = next((key for key in ("nbest", "hyp_1") if key in values), None)
        present = ", ".join(list(values)[:10]) or "nothing"
        hint = "a file holds one format only; ours is JSON Lines, named .jsonl" if foreign else None
        report.add(f"missing; there is {present}", line=entry.line, field=field, hint=hint)
        return None
    given = values["input"]
    if not isinstance(given, list):
        report.add(f"expected a list of texts, found {described(given)}", line=entry.line, field=field)
        return None
    if not given:
        parts.no_hypotheses(entry.line, field, report)
        return None
    texts = [parts.text_of(text, entry.line, f"{field}[{i}]", report) for i, text in enumerate(given)]
    ref, whole = values.get("output"), True
    if ref is not None:
        ref = parts.text_of(ref, entry.line, f"[{position}].output", report)
        whole = ref is not None
    hypotheses = [None if text is None else Hypothesis(text) for text in texts]
    return parts.list_of(str(position), hypotheses, ref, None, whole=whole)
