"""Tables of the `understand` report: the paper's Table 1 with ours and with its own numbers, and what follows from it.

Not here: differences (`understand_differences`), variations of the question (`understand_controls`).

Example:
    >>> main_table(view, "speech").columns[1].label                     # doctest: +SKIP
    'meld, k 0'
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

from tunelet.report import understand_published as published
from tunelet.report.csvs import Record
from tunelet.report.formats import NONE, binary, compact, count, decimal, duration, percent
from tunelet.report.tables import Column, Row, Table
from tunelet.report.understand_numbers import Numbers
from tunelet.report.understand_schema import UnderstandResult, UnderstandRun, parts
from tunelet.report.understand_view import View, named

#: stands behind a score on the task that was tuned on
MATCHED = " •"
HEARD_AS = {"text": "text queries", "speech": "spoken queries", "cascade": "spoken queries, heard by a recogniser"}


def main_table(view: View, heard: str) -> Table:
    """A row for each source and block, a column for each task and k: mean over seeds with its spread."""
    cells: dict[tuple[str, str, str, int], list[float]] = {}
    matched = set()
    for one in view.main:
        if one.cell.heard == heard:
            key = (one.cell.source, one.cell.way, one.cell.task, one.cell.k)
            cells.setdefault(key, []).append(one.cell.score)
            matched |= {key} if one.cell.is_matched else set()
    columns = [(task, k) for task in view.tasks for k in view.ks if any(key[2:] == (task, k) for key in cells)]
    rows = []
    for source, way in view.rows():
        keys = [(source, way, *column) for column in columns]
        if any(key in cells for key in keys):
            told = (around(cells.get(key)) + (MATCHED if key in matched else "") for key in keys)
            rows.append(Row((named(source, way), *told)))
    own = {one.cell.task: one.cell.metric for one in view.main if one.cell.metric != "macro_f1"}
    metrics = "".join(f"; of {task} {metric.replace('_f1', '-F1')}" for task, metric in own.items())
    notes = (
        f"Macro-F1{metrics}, in %. Rows: the task that was tuned on, and its labels. ± is the standard deviation over"
        f" seeds. “{MATCHED.strip()}”: tuned on the very task.",
    )
    heads = (Column("tuned on, labels", text=True), *(Column(f"{task}, k\u00a0{k}") for task, k in columns))
    return Table(f"Scores by source, labels, task and demonstrations: {HEARD_AS[heard]}", heads, tuple(rows), notes)


def paper_table() -> Table:
    """The paper's Table 1 in the same layout."""
    pairs = list(dict.fromkeys((row.source, row.regime) for row in published.ROWS))
    pairs.sort(key=lambda pair: ("none", "Voxceleb", "HVB").index(pair[0]))
    found = {(row.source, row.regime, row.task): row for row in published.ROWS}
    rows = []
    for pair in pairs:
        told: list[str] = []
        for task in published.TASKS:
            row = found.get((*pair, task))
            mark = MATCHED if row is not None and row.matched else ""
            told += [NONE] * len(published.KS) if row is None else [f"{value:.1f}{mark}" for value in row.values]
        rows.append(Row((named(*pair), *told), "published"))
    columns = (Column("tuned on, labels", text=True),
               *(Column(f"{task}, k\u00a0{k}") for task in published.TASKS for k in published.KS))  # fmt: skip
    notes = (
        f"Source: {published.SOURCE}: SALMONN-13B, spoken queries; macro-F1, of Voxpopuli micro-F1, in %. Another"
        " model, other tasks: it stands here for its shape, not for comparison.",
    )
    return Table("The paper's table in the same layout", columns, tuple(rows), notes)


def relative_table(view: View, numbers: Numbers, heard: str) -> Table:
    """The percentages that the paper's text speaks of, recomputed from its table, and the same of ours."""
    rows = []
    for task, source in published.MISMATCHED:
        bound = published.below_upper_bound(task, source)
        cells = (
            f"{task} after {source}",
            published.SOURCE,
            _signed(bound),
            _signed(published.few_shot_gain(task, source)),
        )
        rows.append(Row(cells, "published"))
    regular, random = view.way("regular"), view.way("random")
    for task in view.tasks if regular and random else ():
        few = [k for k in view.ks if 1 <= k <= 5]
        ours, plain = (numbers.score(view.pick(way, heard, task=task, ks=few, matched=False))
                       for way in (str(random), str(regular)))  # fmt: skip
        far = numbers.score(view.pick(str(random), heard, task=task, ks=(5,), matched=False))
        best = numbers.score(view.pick(str(regular), heard, task=task, ks=(5,), matched=True))
        if ours is not None and plain:
            bound = far / best - 1 if far is not None and best else None
            rows.append(Row((task, "ours", _signed(bound), _signed(ours / plain - 1)), "ours"))
    columns = (
        Column("task", text=True), Column("source", text=True),
        Column("below the upper bound %", help="random labels tuned elsewhere against regular ones tuned on the task, "
               "5 demonstrations, relative"),
        Column("random over regular %", help="both tuned elsewhere, mean over 1 to 5 demonstrations, relative"),
    )  # fmt: skip
    notes = (
        "Relative changes of means, without intervals: a small score makes them large. Differences in points, with"
        " intervals, stand above.",
    )
    return Table("Relative gains, as the paper counts them", columns, tuple(rows), notes)


def cost_table(runs: Sequence[UnderstandRun]) -> Table:
    """What a run of each block and source costs, mean over seeds."""
    columns = (
        Column("tuned on, labels", text=True), Column("seeds"), Column("examples"), Column("steps"),
        Column("trained"), Column("total"), Column("train time"), Column("asking", help="time for all cells"),
        Column("answers/s"), Column("base", help="training of the base, which runs share"),
        Column("peak memory"), Column("on disk"),
    )  # fmt: skip
    groups: dict[tuple[str, str], list[UnderstandRun]] = {}
    for run in runs:
        groups.setdefault((run.source, run.way), []).append(run)
    rows = []
    for (source, way), own in groups.items():
        speeds = [run.stages.answers_per_second for run in own if run.stages.answers_per_second is not None]
        cost = [run.resources for run in own]
        rows.append(
            Row((named(source, way), str(len(own)), count(fmean(run.train_examples for run in own)),
                 count(fmean(one.steps for one in cost)), compact(fmean(one.trainable_parameters for one in cost)),
                 compact(fmean(one.total_parameters for one in cost)),
                 duration(fmean(one.train_seconds for one in cost)),
                 duration(fmean(run.stages.evaluation for run in own)), count(fmean(speeds)) if speeds else NONE,
                 duration(fmean(run.stages.base for run in own)),
                 binary(max(one.peak_memory_bytes for one in cost)),
                 binary(fmean(one.adapter_bytes for one in cost))))
        )  # fmt: skip
    return Table("Cost of a run", columns, tuple(rows), ("Means over seeds; memory: the largest.",))


def task_table(result: UnderstandResult) -> Table:
    """The tasks."""
    splits = list(dict.fromkeys(name for task in result.data.tasks.values() for name in task.splits))
    columns = (Column("task", text=True), Column("classes"), Column("answer", text=True), Column("metric", text=True),
               *map(Column, splits), Column("spoken", help="test examples that can be heard"),
               Column("from", text=True))  # fmt: skip
    rows = tuple(
        Row((name, str(len(task.labels)), "any number" if task.multi_label else "one class",
             task.metric.replace("_", " "), *(count(task.splits.get(split)) for split in splits), count(task.spoken),
             task.location or NONE))
        for name, task in result.data.tasks.items()
    )  # fmt: skip
    return Table("Tasks", columns, rows)


def run_table(runs: Sequence[UnderstandRun]) -> Table:
    """Every finished run."""
    columns = (Column("run", text=True), Column("examples"), Column("steps"), Column("best step"),
               Column("validation macro F1 %", help="of the source, under true names"), Column("cells"),
               Column("train time"), Column("hash", text=True))  # fmt: skip
    rows = []
    for run in runs:
        told = (run.model_extra or {}).get("metrics") or {}
        score = (told.get("validation") or {}).get("macro_f1")
        rows.append(
            Row(
                (
                    run.name,
                    count(run.train_examples),
                    count(run.resources.steps),
                    count(run.best_step),
                    percent(score),
                    count(len(run.cells)),
                    duration(run.resources.train_seconds),
                    run.hash[:10],
                )
            )
        )
    return Table("Every run", columns, tuple(rows))


def table_records(view: View) -> list[Record]:
    """A row for each source, block, task, k and way to be asked: mean and spread over seeds."""
    found: dict[tuple[str, str, str, str, str, int, bool, str], list[float]] = {}
    for one in view.main:
        cell = one.cell
        key = (cell.heard, cell.source, cell.way, cell.regime, cell.task, cell.k, cell.is_matched, cell.metric)
        found.setdefault(key, []).append(cell.score)
    names = ("heard", "source", "group", "regime", "task", "k", "matched", "metric")
    return [
        {**dict(zip(names, key, strict=True)), "seeds": len(values), "mean": fmean(values),
         "deviation": stdev(values) if len(values) > 1 else None}
        for key, values in found.items()
    ]  # fmt: skip


def cell_records(view: View) -> list[Record]:
    """Every cell."""
    return [{"run": one.run.name if one.run else None, **parts(one.cell)} for one in view.asked]


def published_records() -> list[Record]:
    """The paper's table, as shares."""
    return [
        {"task": row.task, "source": row.source, "regime": row.regime, "k": k, "matched": row.matched,
         "value": round(value / 100, 4), "from": published.SOURCE}
        for row in published.ROWS
        for k, value in zip(published.KS, row.values, strict=True)
    ]  # fmt: skip


def around(values: Sequence[float] | None) -> str:
    """A mean in percent with its standard deviation, where there are several."""
    if not values:
        return NONE
    spread = f" ± {decimal(100 * stdev(values), 1)}" if len(values) > 1 else ""
    return percent(fmean(values), 1) + spread


def _signed(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:+z.1f}"
