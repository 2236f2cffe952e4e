"""Values to the parts of an N-best list, for every format. Not here: files, ids that occur twice.

Each function returns the part, or None after it has reported why there is none.

Example:
    >>> from tunelet.data.problems import ProblemLog
    >>> log = ProblemLog("lists.jsonl")
    >>> score_of(float("nan"), 3, "nbest[0].score", log) is None
    True
    >>> log.problems()[0].message
    'expected a finite number, found NaN'
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tunelet.data.fields import unusable
from tunelet.data.formats import described
from tunelet.data.nbest import Hypothesis, NBest
from tunelet.data.problems import Report

_DROP = "a hypothesis without a score is to be left out"


@dataclass(frozen=True)
class Found:
    """A list and the line where it begins.

    Attributes:
        value: None where a problem of the list has been reported; its id still counts.
        id: of the utterance; None where it could not be read.
    """

    line: int | None
    id: str | None
    value: NBest | None


def text_of(value: object, line: int | None, field: str, report: Report) -> str | None:
    """A text that may be empty."""
    if not isinstance(value, str):
        report.add(f"expected a text, found {described(value)}", line=line, field=field)
        return None
    if (fault := unusable(value)) is not None:
        report.add(fault, line=line, field=field)
        return None
    return value


def score_of(value: object, line: int | None, field: str, report: Report) -> float | None:
    """A number that is finite; a number written as a text is not guessed at."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        hint = "write it without quotes" if isinstance(value, str) else _DROP
        report.add(f"expected a finite number, found {described(value)}", line=line, field=field, hint=hint)
        return None
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        shown = "NaN" if math.isnan(number) else "a number beyond all bounds"
        report.add(f"expected a finite number, found {shown}", line=line, field=field, hint=_DROP)
        return None
    return number


def hypothesis_of(value: object, line: int | None, field: str, report: Report) -> Hypothesis | None:
    """A hypothesis from an object with ``text`` and ``score``."""
    if not isinstance(value, dict):
        hint = 'write {"text": ..., "score": ...}' if isinstance(value, str) else None
        report.add(
            f"expected an object with text and score, found {described(value)}", line=line, field=field, hint=hint
        )
        return None
    missing = [name for name in ("text", "score") if name not in value]
    for name in missing:
        present = ", ".join(list(value)[:10]) or "nothing"
        report.add(f"missing; there is {present}", line=line, field=f"{field}.{name}")
    text = None if "text" in missing else text_of(value["text"], line, f"{field}.text", report)
    score = None if "score" in missing else score_of(value["score"], line, f"{field}.score", report)
    return None if text is None or score is None else Hypothesis(text, score)


def list_of(
    identity: str | None,
    hypotheses: Sequence[Hypothesis | None],
    ref: str | None,
    speaker: str | None,
    *,
    whole: bool,
) -> NBest | None:
    """The list, if none of its parts is missing.

    Args:
        whole: whether everything beside the hypotheses could be read.
    """
    good = [hypothesis for hypothesis in hypotheses if hypothesis is not None]
    if identity is None or not whole or not good or len(good) != len(hypotheses):
        return None
    return NBest(identity, tuple(good), ref, speaker)


def no_hypotheses(line: int | None, field: str, report: Report) -> None:
    """Report a list with nothing in it."""
    report.add(
        "no hypotheses, expected at least one",
        line=line,
        field=field,
        hint="where the recogniser found nothing, give one with an empty text",
    )
