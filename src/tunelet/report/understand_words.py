"""What held and what did not, in plain words made of the numbers of an `understand` sweep. Not here: the numbers.

A sentence says yes or no only where the interval is clear of zero and p is below 0.05, also after correction for being
one of several; else it says that the question is open, and how far the truth may lie on either side.

Example:
    >>> answer("Do random labels help?", "random", "regular", 0.021, 0.004, 0.038, 1)
    'Do random labels help? Yes: random is 2.1 points above regular [0.4, 3.8].'
    >>> answer("Do random labels help?", "random", "regular", 0.006, -0.01, 0.022, 0)
    'Do random labels help? Undecided: +0.6 points [-1.0, +2.2] for random against regular.'
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tunelet.report.understand_differences import points
from tunelet.report.understand_numbers import SEEN, UNSEEN, Compared

_QUESTIONS = {
    ("random-regular", UNSEEN): "Do random labels beat regular ones on tasks that were not tuned on?",
    ("symbol-regular", UNSEEN): "Do symbols beat regular labels on tasks that were not tuned on?",
    (
        "regular-regular",
        UNSEEN,
    ): "Does the other kind of regular tuning beat the first on tasks that were not tuned on?",
    ("random-symbol", UNSEEN): "Do random labels beat symbols on tasks that were not tuned on?",
    ("regular-none", UNSEEN): "Does tuning with regular labels help on other tasks at all?",
    ("symbol-none", UNSEEN): "Does tuning with symbols help on other tasks?",
    ("random-none", UNSEEN): "Does tuning with random labels help on other tasks?",
    ("random-regular", SEEN): "On the very task that was tuned on, do random labels beat regular ones?",
    ("none-knn", ""): "With demonstrations, does the untuned model beat a vote of the nearest neighbours?",
    ("none-definition", ""): "Without demonstrations, does the untuned model beat the nearest definition?",
    ("random-knn", UNSEEN): "With demonstrations, does tuning with random labels beat the nearest neighbours?",
    (
        "random-definition",
        UNSEEN,
    ): "Without demonstrations, does tuning with random labels beat the nearest definition?",
    ("few-zero", ""): "Do demonstrations help the untuned model?",
    ("few-zero", UNSEEN): "Do demonstrations help after tuning, on other tasks?",
}

#: what the paper claims of these
_CLAIMED = {("random-regular", UNSEEN): "yes", ("random-none", UNSEEN): "yes", ("random-regular", SEEN): "no",
            ("few-zero", ""): "yes", ("few-zero", UNSEEN): "yes", ("regular-none", UNSEEN): "yes",
            ("symbol-none", UNSEEN): "yes"}  # fmt: skip

#: the paper's claims and what can be asked of them here
PAPER = (
    "The paper tunes a speech-text language model on one task and asks it another. It claims that class names which are"
    " permuted in every batch (random labels) make the model read definitions and demonstrations, so that it does"
    " better on tasks that it never saw than after tuning with true names (regular) or with fixed symbols. Its table"
    " follows in the layout of ours, then the percentages of its text, recomputed, beside the same of ours.",
)


def statements(rows: Sequence[Compared]) -> tuple[str, ...]:
    """A sentence for each comparison that answers a question."""
    return tuple(_sentence(row) for row in rows if (row.what, row.where) in _QUESTIONS)


def answer(
    question: str, first: str, second: str, value: float, low: float | None, high: float | None, side: int
) -> str:
    """A question with its answer; `side` is 1 or -1 where the difference is clear of zero."""
    if side == 0 or low is None or high is None:
        bare = " No interval: one task, source and seed." if low is None else ""
        return f"{question} Undecided: {_spelled(value, low, high)} for {first} against {second}.{bare}"
    shown = (value, low, high) if side > 0 else (-value, -high, -low)
    size, start, end = (f"{100 * number:.1f}" for number in shown)
    where = "above" if side > 0 else "below"
    told = "Yes" if side > 0 else "No"
    return f"{question} {told}: {first} is {size} points {where} {second} [{start}, {end}]."


def _sentence(row: Compared) -> str:
    found, key = row.found, (row.what, row.where)
    told = answer(_QUESTIONS[key], row.first, row.second, found.value, found.low, found.high, row.side)
    said = "".join(_why_open(row))
    claimed = _CLAIMED.get(key)
    paper = f" The paper: {claimed}." if claimed else ""
    return f"{row.heard[0].upper()}{row.heard[1:]}: {told}{said}{paper}"


def _why_open(row: Compared) -> Iterable[str]:
    """Why a difference whose interval is clear of zero proves nothing all the same."""
    found = row.found
    if row.side or found.low is None or found.high is None or found.low <= 0 <= found.high:
        return
    if 2.0 ** (1 - found.cells) >= 0.05:
        yield f" The interval is clear of zero, but {found.cells} models and tasks are too few to say."
    elif row.p_holm is not None:
        yield f" The interval is clear of zero; corrected for all questions (Holm p {row.p_holm:.2f}) it is not enough."


def _spelled(value: float, low: float | None, high: float | None) -> str:
    number, _, interval = points(value, low, high).partition(" ")
    return f"{number} points {interval}".rstrip()
