"""What the report of `understand-base` says: how many episodes it answers, by names and demonstrations, and its loss.

The same templates as for `classify` render it. Reads `result.json`, `audit.json` and the runs' `metrics.jsonl`. Not
here: the templates, files (`page`).

Example:
    >>> make(Path("out/understand-base")).headline.measure         # doctest: +SKIP
    'episodes right'
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunelet.base.errors import DamagedFileError, InputError
from tunelet.base.files import read_json
from tunelet.report.content import Figure, Headline, Report, Section
from tunelet.report.csvs import to_text
from tunelet.report.formats import binary, compact, count, duration, percent, spread
from tunelet.report.plots import Line, curves
from tunelet.report.result_schema import validate_as
from tunelet.report.tables import Column, Row, Table, estimate
from tunelet.report.understand_base_schema import BaseResult, BaseRun, Drawn, EpisodeCell

_KINDS = {"single": "one class", "multi": "several classes"}


def make(folder: Path) -> Report:
    """Gather everything that the files of a sweep allow to be said.

    Raises:
        InputError: `result.json` is missing or wrong; file and field are named.
    """
    file = folder / "result.json"
    result = validate_as(BaseResult, _read(file), file)
    groups: dict[str, list[BaseRun]] = {}
    for run in result.runs:
        groups.setdefault(run.group, []).append(run)
    ranked = sorted(groups.values(), key=lambda runs: -_accuracy(runs))
    trained = [task for task in result.data.tasks if task.train]
    under_test = f" Under test, and so left out: {', '.join(result.data.excluded)}." if result.data.excluded else ""
    sections = [_scores(ranked), _curves(ranked, folder), _episodes(ranked[0])] if ranked else []
    missing = tuple(name for name in result.planned if name not in {run.name for run in result.runs})
    return Report(
        title=result.title or result.recipe,
        subtitle=f"Meta-training on episodes of {len(trained)} tasks.{under_test}",
        headline=_headline(ranked) if ranked else None,
        missing=missing,
        done=len(result.runs),
        planned=max(len(result.planned), len(result.runs)),
        warnings=(),
        sections=(*sections, _tasks(result, folder), _provenance(result)),
        csv={"cells": to_text(_records(result.runs))},
    )


def _headline(ranked: Sequence[list[BaseRun]]) -> Headline:
    best = ranked[0]
    right = estimate([run.metrics["validation"].accuracy for run in best])
    before = sum(c.untrained for run in best for c in run.cells) / sum(c.n for run in best for c in run.cells)
    resources = best[0].resources
    share = resources.trainable_parameters / resources.total_parameters
    return Headline(
        group=best[0].group,
        chosen_by=f"best of {len(ranked)} by validation, {len(best)} seed(s)",
        accuracy=spread(right),
        interval="",
        paper="",
        paper_label="",
        verdict=f"Untrained, the same model answers {percent(before)} % of the same episodes: what cosines with "
        "definitions and demonstrations can do. These are tasks it was trained on, or kept for validation; what it can "
        "do with tasks under test is for `understand` to say.",
        costs=(
            ("trained parameters", compact(resources.trainable_parameters),
             f"{percent(share)} % of {compact(resources.total_parameters)}"),
            ("training time", duration(resources.train_seconds),
             f"per run, {count(resources.tokens_per_second)} tokens/s"),
            ("peak memory", binary(resources.peak_memory_bytes), str(resources.peak_memory_kind or "")),
            ("on disk", binary(resources.adapter_bytes), "all files of the folder"),
        ),
        measure="episodes right",
    )  # fmt: skip


def _scores(ranked: Sequence[list[BaseRun]]) -> Section:
    tables = []
    for kind, told in _KINDS.items():
        ks = sorted({c.k for runs in ranked for run in runs for c in run.cells if c.kind == kind})
        columns = (Column("setting", text=True), Column("names", text=True), Column("episodes"),
                   *(Column(f"k = {k}", help="right answers, %; in brackets untrained") for k in ks))  # fmt: skip
        rows = []
        for runs in ranked:
            cells = [cell for run in runs for cell in run.cells if cell.kind == kind]
            for regime in dict.fromkeys(cell.regime for cell in cells):
                own = [cell for cell in cells if cell.regime == regime]
                shown = [_percent([cell for cell in own if cell.k == k]) for k in ks]
                rows.append(Row((runs[0].group, regime, count(sum(cell.n for cell in own)), *shown)))
        if rows:
            tables.append(Table(f"Tasks with {told}: episodes right, %", columns, tuple(rows)))
    text = ("k is the number of demonstrations. In brackets stands the untrained model on the same episodes.",)
    return Section("scores", "Episodes of validation", "Scores", text=text, tables=tuple(tables))


def _percent(cells: Sequence[EpisodeCell]) -> str:
    n = sum(cell.n for cell in cells)
    if not n:
        return ""
    right, before = (sum(getattr(cell, key) for cell in cells) / n for key in ("correct", "untrained"))
    return f"{100 * right:.1f} ({100 * before:.1f})"


def _curves(ranked: Sequence[list[BaseRun]], folder: Path) -> Section:
    losses, scores = [], []
    for number, runs in enumerate(ranked):
        for run in runs:
            rows = _log(folder / run.folder / "metrics.jsonl")
            style, faint = number % 7, run is not runs[0]
            loss = [(row["step"], row["train_loss"]) for row in rows if "train_loss" in row]
            right = [(row["step"], row["validation"]["accuracy"]) for row in rows if "validation" in row]
            losses += [Line(run.group, loss, style, faint)] if loss else []
            scores += [Line(run.group, right, style, faint)] if right else []
    figures = []
    if losses:
        plot = curves("base-loss", "Training loss", losses, percent=False)
        figures.append(Figure(plot, "Mean loss of the episodes between two rows of the log, in nats."))
    if scores:
        plot = curves("base-right", "Episodes of validation right", scores, percent=True)
        figures.append(Figure(plot, "The same episodes at every evaluation."))
    return Section("curves", "Training", figures=tuple(figures))


def _episodes(runs: Sequence[BaseRun]) -> Section:
    drawn = runs[0].episodes
    kept = [Drawn(value=row["classes"], episodes=row["batches"]) for row in drawn.maps.fixed]
    text = (
        f"{drawn.episodes:,} episodes with {drawn.tokens:,} tokens. A class keeps its own name in the regime "
        "natural, and by chance in permuted; a model that is given other names can only read.",
    )
    tables = tuple(
        Table(title, (Column(name, text=True), Column("episodes"), Column("%")), _drawn(values, drawn.episodes))
        for title, name, values in (
            ("Under which names", "names", drawn.regime),
            ("Classes that kept their name", "classes", kept),
            ("Demonstrations", "k", drawn.k),
            ("Classes in a prompt", "classes", drawn.classes),
            ("Tasks", "task", drawn.task),
        )
    )
    return Section("episodes", "What was drawn", "Episodes", text=text, tables=tables)


def _drawn(values: Sequence[Drawn], whole: int) -> tuple[Row, ...]:
    return tuple(Row((str(one.value), count(one.episodes), percent(one.episodes / max(1, whole)))) for one in values)


def _tasks(result: BaseResult, folder: Path) -> Section:
    columns = (Column("task", text=True), Column("classes"), Column("answers", text=True), Column("train"),
               Column("validation"))  # fmt: skip
    rows = tuple(
        Row((task.name, count(task.classes), _KINDS["multi" if task.multi_label else "single"], count(task.train),
             count(task.validation)))
        for task in result.data.tasks
    )  # fmt: skip
    audit = _read(folder / "audit.json") if (folder / "audit.json").is_file() else {}
    found = audit.get("findings") if isinstance(audit, dict) else None
    findings = tuple((str(row["severity"]), str(row["message"])) for row in found or ())
    return Section("tasks", "The tasks", "Tasks", tables=(Table("Examples", columns, rows),), findings=findings)


def _provenance(result: BaseResult) -> Section:
    bases = sorted({f"{run.base.name}, fingerprint {run.base.fingerprint}" for run in result.runs})
    facts = [
        ("recipe", result.recipe),
        ("recipe hash", result.hash),
        ("written", result.created),
        ("data hash", result.data.sha256),
        *(("base model", base) for base in bases),
        *(("folder", f"{run.folder}/adapter, best step {run.best_step}") for run in result.runs),
        ("versions", ", ".join(f"{name} {value}" for name, value in result.versions.items() if value)),
    ]
    columns = (Column("what", text=True), Column("value", text=True))
    table = Table("Provenance", columns, tuple(Row(fact) for fact in facts if fact[1]))
    return Section("provenance", "Provenance", tables=(table,))


def _records(runs: Sequence[BaseRun]) -> list[dict[str, Any]]:
    keys = ("regime", "k", "kind", "n", "correct", "accuracy", "untrained")
    return [
        {"run": run.name, "group": run.group, "seed": run.seed, **{key: getattr(cell, key) for key in keys}}
        for run in runs
        for cell in run.cells
    ]


def _accuracy(runs: Sequence[BaseRun]) -> float:
    return sum(run.metrics["validation"].accuracy for run in runs) / len(runs)


def _log(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def _read(file: Path) -> Any:
    try:
        return read_json(file)
    except DamagedFileError as error:
        raise InputError(str(error)) from None
