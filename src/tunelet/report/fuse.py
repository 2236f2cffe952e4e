"""What the report of `fuse` says: methods by task and training size, who attends to whom, what it cost, and the paper.

Reads only `result.json` and `audit.json`. Not here: the numbers (`fuse_numbers`), the plots (`fuse_plots`), the
paper in words (`fuse_words`).

Example:
    >>> make(Path("out/fuse")).headline.measure             # doctest: +SKIP
    'mean test accuracy'
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunelet.base.errors import DamagedFileError, InputError
from tunelet.base.files import read_json
from tunelet.evaluation.paired_cells import CellDifference
from tunelet.report.content import Figure, Headline, Report, Section
from tunelet.report.csvs import to_text
from tunelet.report.formats import binary, compact, duration, p_value, percent
from tunelet.report.fuse_numbers import ALL, Compared, Grid, reference_of, size_of
from tunelet.report.fuse_plots import heat_maps, size_curves
from tunelet.report.fuse_schema import FuseResult, FuseRun, parts
from tunelet.report.fuse_tables import accuracy_tables, comparison_table, cost_table, data_table, example_tables
from tunelet.report.fuse_words import PAPER, faults
from tunelet.report.result_schema import validate_as
from tunelet.report.tables import Column, Row, Table


def make(folder: Path) -> Report:
    """Gather everything that the files of a sweep allow to be said.

    Raises:
        InputError: `result.json` is missing or wrong; file and field are named.
    """
    file = folder / "result.json"
    result = validate_as(FuseResult, _read(file), file)
    grid = Grid.of(result)
    missing = tuple(name for name in result.planned if name not in {run.name for run in result.runs})
    sections: list[Section] = []
    headline, compared = None, list[Compared]()
    if result.runs:
        reference = reference_of(grid, result.runs)
        compared = grid.compare(reference)
        headline = _headline(grid, reference, compared)
        tables = accuracy_tables(grid)
        sections.append(Section("methods", "Methods compared", "Methods", tables=tables))
        if compared:
            sections.append(Section("significance", "Significance", tables=(comparison_table(compared),)))
        sections += [section for section in (_curve(grid), _attention(grid, reference)) if section is not None]
        sections.append(Section("cost", "What it cost", "Cost", tables=(cost_table(grid),)))
    sections += [Section("paper", "The paper and ours", "Paper", PAPER, tables=(faults(),)), _data(result, folder)]
    sections.append(_provenance(result))
    return Report(
        title=result.title or result.recipe,
        subtitle=f"Methods: {len(grid.methods)}; targets: {len(result.data.targets)} among "
        f"{len(result.data.tasks)} tasks; runs: {len(result.runs)}.",
        headline=headline,
        missing=missing,
        done=len(result.runs),
        planned=max(len(result.planned), len(result.runs)),
        warnings=(),
        sections=tuple(sections),
        csv={
            "runs": to_text([parts(run) for run in result.runs]),
            "comparisons": to_text([_record(row) for row in compared]),
            "attention": to_text([row for run in result.runs for row in _weights(run)]),
        },
    )


def _told(found: CellDifference) -> str:
    if found.low is None or found.high is None:
        return "a single task and seed: no interval, "
    return f"95 % interval {100 * found.low:+z.2f} to {100 * found.high:+z.2f}, "


def _headline(grid: Grid, reference: str, compared: list[Compared]) -> Headline:
    size = next(s for s in grid.sizes if grid.mean(reference, s) is not None)
    runs = grid.at(reference, size)
    alone = {run.label for run in grid.runs if run.method == "single"}
    # the claim is over the target's own adapter, so that comes first
    of_size = sorted((row for row in compared if row.size == size), key=lambda row: row.second not in alone)
    verdict = " ".join(
        f"{100 * row.found.difference:+z.2f} points to {row.second} ({_told(row.found)}Holm p {p_value(row.p_holm)})."
        for row in of_size[:4]
    )
    total = sum(run.resources.total_parameters for run in runs) / len(runs)
    trained = sum(run.resources.trainable_parameters for run in runs) / len(runs)
    seconds = sum(run.resources.train_seconds for run in runs) / len(runs)
    tasks = len({run.target for run in runs})
    where = "all training examples" if size == ALL else f"{size} training examples"
    return Headline(
        group=reference,
        chosen_by=f"the recipe's first fusion with {where}; targets: {tasks}, seeds: {len({r.seed for r in runs})}",
        accuracy=percent(grid.mean(reference, size)),
        interval="",
        paper="",
        paper_label="",
        verdict=verdict,
        costs=(
            ("trained parameters", compact(trained), f"of {compact(total)}, experts and base included"),
            ("training time", duration(seconds), "of the fusion alone, a run"),
            ("peak memory", binary(max(run.resources.peak_memory_bytes for run in runs)), ""),
            ("on disk", binary(max(run.resources.adapter_bytes for run in runs)), "with its experts"),
        ),
        measure="mean test accuracy",
    )


def _curve(grid: Grid) -> Section | None:
    if len(grid.sizes) < 2:
        return None
    lines = []
    for method in grid.methods:
        points = []
        for size in grid.sizes:
            runs, mean = grid.at(method, size), grid.mean(method, size)
            if runs and mean is not None:
                points.append((sum(run.train_examples for run in runs) / len(runs), mean))
        lines.append((method, points))
    plot = size_curves("sizes", "Test accuracy over training examples", lines)
    return Section("curve", "Learning curve", "Curve", figures=(Figure(plot, "Mean over targets and seeds."),))


def _attention(grid: Grid, reference: str) -> Section | None:
    size = next((s for s in grid.sizes if any(run.attention for run in grid.at(reference, s))), None)
    if size is None:
        return None
    methods: dict[str, dict[str, dict[str, float]]] = {}
    for label in (reference, *(other for other in grid.methods if other != reference)):
        attending = {task: _mean_weights(grid.at(label, size, task)) for task in grid.tasks}
        if any(len(weights) > 1 for weights in attending.values()):  # one expert alone has all of it
            methods[label] = {task: weights for task, weights in attending.items() if weights}
    found = {expert for tasks in methods.values() for weights in tasks.values() for expert in weights}
    experts = [*(task for task in grid.tasks if task in found), *sorted(found - set(grid.tasks))]
    caption = (
        f"{size} training examples: mean weight of each expert over test texts, heads and seeds, in %. A weight says"
        " where a fusion looks, not that the answer hangs on it."
    )
    figures = (Figure(heat_maps("experts", methods, experts), caption),) if methods else ()
    runs = [run for run in grid.at(reference, size) if run.attention is not None]
    tables = example_tables([run for run in runs if run.seed == runs[0].seed])
    return Section("attention", "Who helps whom", "Attention", figures=figures, folded=tables)


def _mean_weights(runs: list[FuseRun]) -> dict[str, float]:
    """Expert -> mean weight over runs of one task."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for name, weight in zip(run.attention.experts, run.attention.mean, strict=True) if run.attention else ():
            found.setdefault(name, []).append(weight)
    return {name: sum(weights) / len(weights) for name, weights in found.items()}


def _data(result: FuseResult, folder: Path) -> Section:
    audit = _read(folder / "audit.json") if (folder / "audit.json").is_file() else {}
    found = audit.get("findings") if isinstance(audit, dict) else None
    findings = tuple((str(row["severity"]), str(row["message"])) for row in found or ())
    return Section("data", "Tasks", tables=(data_table(result),), findings=findings)


def _provenance(result: FuseResult) -> Section:
    hidden = {"versions", "cuda"}
    facts = [
        ("recipe", result.recipe),
        ("recipe hash", result.hash),
        ("written", result.created),
        ("data hash", result.data.sha256),
        *(("base model", base) for base in sorted({f"{r.base.name}, {r.base.fingerprint}" for r in result.runs})),
        ("chosen by", f"{result.selection.metric} on {result.selection.split}; the test split chooses nothing"),
        *(
            (name.removesuffix("_bytes").replace("_", " "), binary(value) if name.endswith("_bytes") else str(value))
            for name, value in result.machine.items()
            if name not in hidden
        ),
        ("versions", ", ".join(f"{name} {value}" for name, value in result.versions.items() if value)),
    ]
    columns = (Column("what", text=True), Column("value", text=True))
    rows = tuple(Row(fact) for fact in facts if fact[1] not in ("", "None"))
    runs = tuple(
        Row((run.name, str(run.train_examples), str(run.best_step), percent(run.metrics["validation"].accuracy),
             percent(run.metrics["test"].accuracy), duration(run.resources.train_seconds), run.hash[:10]))
        for run in result.runs
    )  # fmt: skip
    heads = (Column("run", text=True), Column("examples"), Column("best step"), Column("validation accuracy %"),
             Column("test accuracy %"), Column("train time"), Column("hash", text=True))  # fmt: skip
    return Section(
        "provenance",
        "Provenance",
        tables=(Table("Provenance", columns, rows),),
        folded=(Table("Every run", heads, runs),),
    )


def _record(row: Compared) -> dict[str, Any]:
    return {"first": row.first, "second": row.second, "size": row.size, **vars(row.found), "p_holm": row.p_holm}


def _weights(run: FuseRun) -> list[dict[str, Any]]:
    if run.attention is None:
        return []
    return [
        {"run": run.name, "method": run.label, "task": run.target, "size": size_of(run), "seed": run.seed,
         "expert": name, "weight": weight}
        for name, weight in zip(run.attention.experts, run.attention.mean, strict=True)
    ]  # fmt: skip


def _read(file: Path) -> Any:
    try:
        return read_json(file)
    except DamagedFileError as error:
        raise InputError(str(error)) from None
