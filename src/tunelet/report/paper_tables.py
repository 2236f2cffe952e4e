"""The paper's Tables 2-7 with our runs beside them. Published rows are marked as such; ours stand under the cell that
they repeat. Not here: the printed numbers (`published.py`).

Whether a comparison is fair is said, not assumed: another base model, other data or another reading of "attention"
stand in the notes.

Example:
    >>> tables = validation_tables(groups, sweep)           # doctest: +SKIP
    >>> [row.kind for row in tables[0].rows[:2]]            # doctest: +SKIP
    ['published', 'ours']
"""

from __future__ import annotations

from collections.abc import Sequence

from tunelet.report import published
from tunelet.report.examples import SideBySide
from tunelet.report.formats import NONE, binary, compact, count, decimal, duration, learning_rate, percent, spread
from tunelet.report.groups import Estimate, Group, family, targets_of
from tunelet.report.published import Note, PublishedRun
from tunelet.report.results import Sweep
from tunelet.report.tables import Column, Row, Table

_TITLES = {
    2: "Table 2: full fine-tuning, validation",
    3: "Table 3: LoRA on “attention”, validation",
    4: "Table 4: LoRA on “attention + linear”, validation",
}

#: Groups of a recipe that is not the paper's grid that are shown beside the paper's best rows.
MOST_GROUPS = 12


def applies(sweep: Sweep) -> bool:
    """Whether the paper speaks of this task at all."""
    return sweep.result.system == "classify" and sweep.result.data.task == published.TASK


def fairness(sweep: Sweep) -> tuple[str, ...]:
    """What differs between the paper's setting and ours, in sentences; empty if nothing does."""
    told = []
    if sweep.result.data.splits != published.SPLITS:
        sizes = " / ".join(f"{size:,}" for size in sweep.result.data.splits.values())
        told.append(f"The data are not the paper's: {sizes} examples instead of 16,000 / 2,000 / 2,000. The published"
                    " numbers stand here for orientation, not for comparison.")  # fmt: skip
    others = sorted({run.run.base.name for run in sweep.runs} - {published.BASE})
    if others:
        told.append(f"The base model is {', '.join(others)}; the paper's was {published.BASE} (109 M parameters).")
    return tuple(told)


def matches(groups: Sequence[Group]) -> dict[PublishedRun, list[tuple[Group, str]]]:
    """The groups that repeat a published cell, each with the reading it takes of the paper."""
    found: dict[PublishedRun, list[tuple[Group, str]]] = {}
    for group in groups:
        rate, decay = (group.setting("training", key) for key in ("learning_rate", "weight_decay"))
        if rate is None or decay is None:
            continue
        cell = published.find_runs(group.method, targets_of(group), group.setting("tuning", "r"), rate, decay)
        if cell is not None:
            found.setdefault(cell[0], []).append((group, cell[1]))
    return found


def validation_tables(groups: Sequence[Group], sweep: Sweep) -> tuple[Table, ...]:
    """Tables 2, 3 and 4: every published cell with our runs of the same setting.

    A table of which no cell was run is left out. If none was, one table sets our groups beside the paper's best rows.
    """
    found = matches(groups)
    tables = []
    for number, title in _TITLES.items():
        cells = [run for run in published.RUNS if run.table == number]
        if any(run in found for run in cells):
            rows = [row for run in cells for row in (_published_row(run), *(_our_row(*o) for o in found.get(run, ())))]
            tables.append(Table(title, _COLUMNS, tuple(rows), _notes((number,))))
    if tables:
        return tuple(tables)
    best = [_published_row(run) for run in published.RUNS if run.is_best]
    rows = [*best, *(_our_row(group, "") for group in groups[:MOST_GROUPS])]
    title = "The best rows of Tables 2-4 beside our settings, validation"
    return (Table(title, _COLUMNS, tuple(rows), _notes((2, 3, 4))),)


def test_table(groups: Sequence[Group], best: Group) -> Table:
    """Table 5: the published test scores, with the interval that 2,000 examples leave, and ours."""
    columns = (Column("setting", text=True), Column("source", text=True), Column("loss"), Column("accuracy %"),
               Column("95 % interval"), Column("weighted F1 %"))  # fmt: skip
    rows = []
    for test in published.TESTS:
        ends = f"[{100 * test.interval.low:.1f}, {100 * test.interval.high:.1f}]"
        cells = (test.name, test.source, f"{test.loss:.4f}", f"{test.accuracy:.2f}", ends, f"{test.f1:.2f}")
        rows.append(Row(cells, "published"))
    shown = list(groups)
    if len(shown) > MOST_GROUPS:  # as in the paper: of each kind the one that validation prefers
        first = {family(group): group for group in (*reversed(groups), best)}
        shown = [group for group in groups if group in first.values()]
    for group in shown:
        accuracy = group.test("accuracy")
        cells = (group.name, f"ours, {_seeds(group)}", decimal(_mean(group.test("loss")), 4), percent(_mean(accuracy)),
                 _ends(accuracy), percent(_mean(group.test("weighted_f1"))))  # fmt: skip
        rows.append(Row(cells, "best" if group is best else "ours"))
    told = "The published rows' intervals are ours (Wilson, n = 2,000). Our rows: t over seeds, Wilson for one seed."
    notes = (*_notes((5,)), told)
    return Table("Table 5: test", columns, tuple(rows), notes)


def example_table(rows: Sequence[SideBySide]) -> Table:
    """Tables 6 and 7: what the paper's models answered, and ours, to the same test sentences."""
    columns = (Column("sentence", text=True), Column("table"), Column("gold", text=True),
               Column("published answer", text=True), Column("our answer", text=True),
               Column("confidence"))  # fmt: skip
    out = []
    for row in rows:
        told, ours = row.published, row.ours
        gold = told.gold if told.gold == ours.gold else f"{ours.gold} (printed: {told.gold})"
        cells = (ours.text, str(told.table), gold, told.predicted, ours.predicted, percent(ours.confidence, 0) + " %")
        out.append(Row(cells, "right" if ours.right else "wrong"))
    return Table("Tables 6 and 7: the paper's example sentences, with our answers", columns, tuple(out), _notes((6,)))


def all_notes() -> tuple[Note, ...]:
    """Everything that is wrong in the paper, as far as we know."""
    return published.NOTES


_COLUMNS = (
    Column("setting", text=True), Column("source", text=True), Column("loss"), Column("accuracy %"),
    Column("precision %", help="weighted"), Column("recall %", help="weighted"), Column("F1 %", help="weighted"),
    Column("runtime", help="with evaluation"), Column("steps"),
    Column("steps/s", help="steps taken / runtime, evaluation included"),
    Column("as printed", help="the paper's “steps per second”: planned steps / runtime"),
    Column("memory"), Column("trained"), Column("share %"),
)  # fmt: skip


def _published_row(run: PublishedRun) -> Row:
    cells = (
        _setting(run.r, run.learning_rate, run.weight_decay), run.source, f"{run.loss:.4f}", f"{run.accuracy:.2f}",
        f"{run.precision:.2f}", f"{run.recall:.2f}", f"{run.f1:.2f}", duration(run.runtime), f"{run.steps:,}",
        f"{run.true_steps_per_second:.2f}", f"{run.steps_per_second:.3f}", f"{run.memory_gb:.2f} GB", run.trainable,
        f"{run.trainable_percent:g}",
    )  # fmt: skip
    return Row(cells, "published")


def _our_row(group: Group, reading: str) -> Row:
    steps, wall = group.cost("steps"), group.cost("wall_seconds")
    scores = [group.score(metric, "validation") for metric in ("weighted_precision", "weighted_recall", "weighted_f1")]
    cells = (
        group.name + (f" ({reading})" if reading else ""), f"ours, {_seeds(group)}",
        decimal(_mean(group.score("loss", "validation")), 4), spread(group.score("accuracy", "validation")),
        *(percent(_mean(score)) for score in scores), duration(wall), count(steps),
        decimal(steps / wall, 2) if steps and wall else NONE, NONE, binary(group.cost("peak_memory_bytes")),
        compact(group.cost("trainable_parameters")), percent(group.trainable_share, 3),
    )  # fmt: skip
    return Row(cells, "ours")


def _setting(r: int | None, rate: float, decay: float) -> str:
    start = "" if r is None else f"r {r}, "
    return f"{start}lr {learning_rate(rate)}" + (f", weight decay {decay:g}" if r is None else "")


def _notes(tables: tuple[int, ...]) -> tuple[str, ...]:
    numbers = [str(place) for place, note in enumerate(published.NOTES, 1) if set(note.tables) & set(tables)]
    listed = numbers[0] if len(numbers) == 1 else f"{', '.join(numbers[:-1])} and {numbers[-1]}"
    plural = "s" if len(numbers) > 1 else ""
    return (f"What is wrong in the published rows: note{plural} {listed} of “The paper beside ours”.",)


def _mean(estimate: Estimate | None) -> float | None:
    return estimate.mean if estimate else None


def _ends(estimate: Estimate | None) -> str:
    if estimate is None or estimate.interval is None:
        return NONE
    return f"[{100 * estimate.interval.low:.1f}, {100 * estimate.interval.high:.1f}]"


def _seeds(group: Group) -> str:
    return f"{len(group.runs)} seed" + ("s" if len(group.runs) > 1 else "")
