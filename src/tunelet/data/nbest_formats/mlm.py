"""The JSON of awslabs/mlm-scoring: one object, an utterance a key. Not here: the other formats.

``{"utt": {"ref": "...", "hyp_1": {"score": -1.0, "text": "..."}, "hyp_2": ...}}``. ``ref`` may be missing; hypotheses
are numbered from 1 without a gap, and their numbers, not their places, are their order. It has no speakers.

Example:
    >>> from tunelet.data.nbest import Hypothesis, NBest
    >>> print("".join(write([NBest("a-1", (Hypothesis("the see", -1.0),), "the sea")])), end="")
    {
    "a-1": {"ref": "the sea", "hyp_1": {"score": -1.0, "text": "the see"}}
    }
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from tunelet.data.fields import id_of
from tunelet.data.formats import Row, described
from tunelet.data.nbest import NBest
from tunelet.data.nbest_formats import parts
from tunelet.data.nbest_formats.entries import Entry
from tunelet.data.nbest_formats.parts import Found
from tunelet.data.problems import Report

NAME = "mlm-scoring"

_HYPOTHESIS = re.compile(r"hyp_([1-9][0-9]*)")


def read(found: Iterable[Entry], report: Report) -> Iterator[Found]:
    """The lists of a file, one an entry; entries with problems have no value."""
    for entry in found:
        identity = id_of(Row(entry.line, {"id": entry.key}), report)
        if not isinstance(entry.value, dict):
            message = f"expected an object with ref and hyp_1, hyp_2, ..., found {described(entry.value)}"
            report.add(message, line=entry.line, field=entry.key)
            yield Found(entry.line, identity, None)
            continue
        yield Found(entry.line, identity, _list(identity, entry, report))


def write(lists: Iterable[NBest]) -> Iterator[str]:
    """The file, an utterance a line."""
    yield "{\n"
    for i, one in enumerate(lists):
        values: dict[str, Any] = {} if one.ref is None else {"ref": one.ref}
        for number, hypothesis in enumerate(one.hypotheses, 1):
            values[f"hyp_{number}"] = {"score": hypothesis.score, "text": hypothesis.text}
        text = json.dumps(values, ensure_ascii=False, allow_nan=False)
        yield f"{',' if i else ''}{chr(10) if i else ''}{json.dumps(one.id, ensure_ascii=False)}: {text}"
    yield "\n}\n"


def _list(identity: str | None, entry: Entry, report: Report) -> NBest | None:
    values: dict[str, Any] = entry.value
    name = entry.key
    foreign = next((key for key in ("nbest", "input") if key in values), None)
    if foreign is not None and not any(map(_HYPOTHESIS.fullmatch, values)):
        message = f"has {foreign!r}, as in another format; expected hyp_1, hyp_2, ..."
        report.add(message, line=entry.line, field=name, hint="a file holds one format only")
        return None
    ref, whole = values.get("ref"), True
    if ref is not None:
        ref = parts.text_of(ref, entry.line, f"{name}.ref", report)
        whole = ref is not None
    numbered = {int(match[1]): key for key in values if (match := _HYPOTHESIS.fullmatch(key))}
    for key in values:
        if key.startswith("hyp") and not _HYPOTHESIS.fullmatch(key):
            report.add("expected a key like hyp_1", line=entry.line, field=f"{name}.{key}")
            whole = False
    if not numbered:
        parts.no_hypotheses(entry.line, str(name), report)
        return None
    gap = next((number for number in range(1, len(numbered) + 1) if number not in numbered), None)
    if gap is not None:
        message = f"missing, though there is hyp_{max(numbered)}; hypotheses are numbered from 1 without a gap"
        report.add(message, line=entry.line, field=f"{name}.hyp_{gap}")
        whole = False
    hypotheses = [
        parts.hypothesis_of(values[numbered[number]], entry.line, f"{name}.{numbered[number]}", report)
        for number in sorted(numbered)
    ]
    return parts.list_of(identity, hypotheses, ref, None, whole=whole)
