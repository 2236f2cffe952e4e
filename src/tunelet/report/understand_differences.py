"""Tables and records of paired differences in the `understand` report. Not here: how they are computed.

Example:
    >>> points(0.0213, 0.004, 0.039)
    '+2.1 [+0.4, +3.9]'
"""

from __future__ import annotations

from collections.abc import Sequence

from tunelet.evaluation.crossed_cells import CrossedValue
from tunelet.report.csvs import Record
from tunelet.report.formats import NONE, p_value
from tunelet.report.tables import Column, Row, Table
from tunelet.report.understand_numbers import Compared

VERDICTS = {1: "first better", -1: "second better", 0: "undecided"}

#: how every interval of the page is made, in plain words
HOW = (
    "Every difference is paired: the same task, source, number of demonstrations, seed and kind of query on both sides,"
    " and the same test examples. Its interval says how far it would move with other draws of what the last column"
    " names: tasks and sources are drawn apart, seeds within a source, and test examples for all models of a task at"
    " once. Test examples are drawn where every run's answers lie beside the result; numbers of demonstrations are not"
    " drawn at all."
)
CAVEAT = (
    "With few tasks and sources such intervals are rather too narrow, and they speak of tasks like these. “Undecided”"
    " does not mean equal. A p-value is never below what a sign test of as many cells could say; a verdict holds only"
    " where the p-value corrected for all rows of the same kind of query (Holm) is below 0.05, too."
)


def comparison_table(rows: Sequence[Compared], caption: str) -> Table:
    """A row for each comparison."""
    columns: tuple[Column, ...] = (
        Column("first", text=True), Column("second", text=True), Column("asked", text=True), Column("on", text=True),
        Column("demonstrations", text=True), Column("difference, points"), Column("95 % interval"),
        Column("verdict", text=True), Column("p"), Column("p (Holm)"), Column("tasks"), Column("sources"),
        Column("models × tasks", help="numbers that were averaged: a task, source and seed each"),
        Column("drawn anew", text=True),
    )  # fmt: skip
    if all(row.p_holm is None for row in rows):
        columns = (*columns[:9], *columns[10:])
    shown = []
    for row in rows:
        found = row.found
        corrected = (
            () if row.p_holm is None and len(columns) < 14 else (_p(row.p_holm if found.low is not None else None),)
        )
        shown.append(
            Row((row.first, row.second, row.heard, row.where or "all tasks", row.scope, f"{100 * found.value:+z.2f}",
                 ends(found), VERDICTS[row.side], _p(found.p if found.low is not None else None),
                 *corrected, str(found.tasks), str(found.sources), str(found.cells),
                 ", ".join(found.resampled) or "nothing"))
        )  # fmt: skip
    return Table(caption, columns, tuple(shown))


def difference_records(rows: Sequence[Compared]) -> list[Record]:
    """All of them, raw."""
    return [
        {"first": row.first, "second": row.second, "heard": row.heard, "on": row.where, "scope": row.scope,
         **row.found.to_json(), "p_holm": row.p_holm, "verdict": VERDICTS[row.side]}
        for row in rows
    ]  # fmt: skip


def points(value: float, low: float | None, high: float | None) -> str:
    """A difference in points with its interval."""
    told = f"{100 * value:+z.1f}"
    return told if low is None or high is None else f"{told} [{100 * low:+z.1f}, {100 * high:+z.1f}]"


def told(found: CrossedValue | None) -> str:
    """`points` of a value; a dash for none."""
    return NONE if found is None else points(found.value, found.low, found.high)


def ends(found: CrossedValue) -> str:
    """The interval in points."""
    if found.low is None or found.high is None:
        return NONE
    return f"[{100 * found.low:+z.2f}, {100 * found.high:+z.2f}]"


def _p(p: float | None) -> str:
    return NONE if p is None else p_value(p)
