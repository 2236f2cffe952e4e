"""The tables of the `fuse` report. Not here: the numbers (`fuse_numbers`), what stands around them (`fuse`).

Example:
    >>> accuracy_tables(grid)[0].columns[0].label           # doctest: +SKIP
    'method'
"""

from __future__ import annotations

from collections.abc import Sequence

from tunelet.evaluation.paired_cells import CellDifference
from tunelet.report.formats import NONE, binary, compact, count, duration, p_value, percent, spread
from tunelet.report.fuse_numbers import ALL, Compared, Grid
from tunelet.report.fuse_schema import FuseResult, FuseRun
from tunelet.report.tables import Column, Row, Table, estimate


def accuracy_tables(grid: Grid) -> tuple[Table, ...]:
    """For each training size, a row for each method and a column for each task."""
    tables = []
    for size in grid.sizes:
        columns = (Column("method", text=True), Column("mean over tasks"), *(Column(task) for task in grid.tasks))
        rows = []
        for method in grid.methods:
            found = [grid.accuracies(method, size, task) for task in grid.tasks]
            means = percent(grid.mean(method, size))
            rows.append(Row((method, means, *(spread(estimate(row)) if row else NONE for row in found))))
        told = "all training examples" if size == ALL else f"at most {size} training examples of the target"
        note = "± is half a 95 % t interval over seeds. Every method chooses its checkpoint on validation."
        tables.append(Table(f"Test accuracy in %, {told}", columns, tuple(rows), (note,)))
    return tuple(tables)


def comparison_table(compared: Sequence[Compared]) -> Table:
    """The reference method against the others."""
    columns = (
        Column("first", text=True), Column("second", text=True), Column("examples"), Column("difference, points"),
        Column("95 % interval"), Column("p"), Column("p (Holm)"), Column("tasks"), Column("cells"),
    )  # fmt: skip
    rows = [
        Row((row.first, row.second, row.size, f"{100 * row.found.difference:+z.2f}",
             _interval(row.found), p_value(row.found.p), p_value(row.p_holm),
             str(row.found.tasks), str(row.found.cells)))
        for row in compared
    ]  # fmt: skip
    note = (
        "Paired bootstrap over tasks, and over seeds within a task (10,000 resamples): a cell is a task with a seed."
        " With few cells it is coarse; p is never below what a sign test of as many cells could say."
    )
    return Table("Differences in test accuracy", columns, tuple(rows), (note,))


def _interval(found: CellDifference) -> str:
    if found.low is None or found.high is None:
        return NONE
    return f"[{100 * found.low:+z.2f}, {100 * found.high:+z.2f}]"


def cost_table(grid: Grid) -> Table:
    """What a run of each method costs, at the largest training size."""
    columns: tuple[Column, ...] = (
        Column("method", text=True), Column("trained"), Column("total", help="base, experts and what trains"),
        Column("train time", help="of the method's own stage, mean over runs"),
        Column("experts", help="training time of its experts, which all runs of a sweep share"),
        Column("vectors", help="time for pooled vectors that were not on disk"), Column("peak memory"),
        Column("on disk"), Column("answers/s", help="from text to answer on test; where all is computed from texts"),
    )  # fmt: skip
    size = grid.sizes[-1]
    rows = []
    for method in grid.methods:
        runs = grid.at(method, size)
        if runs:
            rows.append(Row((method, *_costs(runs))))
    if all(row.cells[-1] == NONE for row in rows):
        columns, rows = columns[:-1], [Row(row.cells[:-1]) for row in rows]
    told = "all" if size == ALL else size
    return Table(f"Cost of a run ({told} training examples)", columns, tuple(rows))


def _costs(runs: Sequence[FuseRun]) -> tuple[str, ...]:
    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    cost = [run.resources for run in runs]
    speed = [run.stages.answers_per_second for run in runs if run.stages.answers_per_second is not None]
    return (
        compact(mean([one.trainable_parameters for one in cost])),
        compact(mean([one.total_parameters for one in cost])),
        duration(mean([one.train_seconds for one in cost])),
        duration(mean([run.stages.experts for run in runs])),
        duration(mean([run.stages.vectors for run in runs])),
        binary(max(one.peak_memory_bytes for one in cost)),
        binary(mean([one.adapter_bytes for one in cost])),
        count(mean(speed)) if speed else NONE,
    )


def data_table(result: FuseResult) -> Table:
    """The tasks."""
    splits = ("train", "validation", "test")
    columns = (Column("task", text=True), Column("labels"), *map(Column, splits), Column("from", text=True))
    rows = tuple(
        Row((name, str(len(task.labels)), *(count(task.splits.get(split)) for split in splits), task.source.location))
        for name, task in result.data.tasks.items()
    )
    return Table("Tasks, before any training size is applied", columns, rows)


def example_tables(runs: Sequence[FuseRun]) -> tuple[Table, ...]:
    """Test texts with the weights of their experts, a table for each task."""
    tables = []
    for run in runs:
        if run.attention is None:
            continue
        columns = (Column("text", text=True), Column("gold", text=True), Column("predicted", text=True),
                   *(Column(f"{name} %") for name in run.attention.experts))  # fmt: skip
        rows = [
            Row((one.text, one.gold, one.predicted, *(percent(weight, 0) for weight in one.weights)),
                "right" if one.gold == one.predicted else "wrong")
            for one in run.attention.examples
        ]  # fmt: skip
        by_label = [
            Row((f"mean of {label}", label, NONE, *(percent(weight, 0) for weight in weights)))
            for label, weights in run.attention.by_label.items()
        ]
        tables.append(Table(f"{run.target}: weights of single texts, and by gold label", columns, (*rows, *by_label)))
    return tuple(tables)
