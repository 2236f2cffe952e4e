"""The report's own tables: groups, runs, classes, tests, examples, provenance. One form for HTML, Markdown and tests.

A `Table` holds finished text; the raw numbers go into the CSV files (`csvs.py`). Not here: the paper's tables
(`paper_tables.py`), how a table looks (the templates).

Example:
    >>> table = groups_table(groups, best)                  # doctest: +SKIP
    >>> table.rows[0].cells[:2]                             # doctest: +SKIP
    ('lora-qkv', '94.10 ± 0.21')
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunelet.evaluation.statistics import seed_interval
from tunelet.report.classes import class_counts
from tunelet.report.compare import Comparison
from tunelet.report.examples import Example
from tunelet.report.formats import (
    NONE,
    binary,
    compact,
    count,
    duration,
    learning_rate,
    p_value,
    percent,
    spread,
)  # fmt: skip
from tunelet.report.groups import Estimate, Group
from tunelet.report.result_schema import Run
from tunelet.report.results import Sweep


@dataclass(frozen=True)
class Column:
    """A column; text is set flush left, numbers flush right. `help` explains the heading; `prose` breaks into lines."""

    label: str
    text: bool = False
    help: str = ""
    prose: bool = False


@dataclass(frozen=True)
class Row:
    """A row of finished text; `kind` is "", "best", "published", "ours", "right" or "wrong"."""

    cells: tuple[str, ...]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its caption and the notes that stand under it."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def groups_table(groups: Sequence[Group], best: Group) -> Table:
    """All groups: scores with intervals, then what they cost; the best by validation is marked."""
    columns = (
        Column("setting", text=True), Column("seeds"), Column("validation accuracy %"), Column("test accuracy %"),
        Column("macro F1 %", help="mean F1 over classes, test"), Column("weighted F1 %", help="test"),
        Column("loss", help="mean cross-entropy, test"), Column("MCC", help="Matthews correlation, test"),
        Column("ECE %", help="expected calibration error, 15 bins, test"), Column("trained"),
        Column("share %", help="trained / all parameters; the head is trained and counted once"),
        Column("train time", help="mean per run, evaluation not included"),
        Column("tokens/s", help="real tokens, padding not counted, per second of training"),
        Column("peak memory"), Column("adapter", help="size on disk"),
    )  # fmt: skip
    rows = []
    for group in groups:
        seeds = str(len(group.runs)) if len(group.runs) == group.planned else f"{len(group.runs)} of {group.planned}"
        cells = (
            group.name, seeds, spread(group.score("accuracy", "validation")), spread(group.test("accuracy")),
            spread(group.test("macro_f1")), spread(group.test("weighted_f1")),
            spread(group.test("loss"), percentage=False, digits=3),
            spread(group.test("mcc"), percentage=False, digits=3),
            spread(group.test("ece")), compact(group.cost("trainable_parameters")),
            percent(group.trainable_share), duration(group.cost("train_seconds")),
            count(group.cost("tokens_per_second")), binary(group.cost("peak_memory_bytes")),
            binary(group.cost("adapter_bytes")),
        )  # fmt: skip
        rows.append(Row(cells, "best" if group.name == best.name else ""))
    kinds = {run.run.resources.peak_memory_kind for group in groups for run in group.runs} - {None}
    notes = [
        "± is a 95 % t interval of the mean over seeds; [low, high] is Wilson's 95 % interval for one seed, over the"
        " test examples. The first speaks of training luck, the second of the choice of test examples."
    ]
    if kinds:
        notes.append(f"Peak memory: {', '.join(sorted(str(kind) for kind in kinds))}.")
    if any(run.run.together for group in groups for run in group.runs):
        notes.append(
            "Some runs trained together in one process: their train time is their share of each common step, their"
            " peak memory that of the whole process."
        )
    return Table("All settings, best validation accuracy first", columns, tuple(rows), tuple(notes))


def runs_table(sweep: Sweep) -> Table:
    """One row a run, finished or missing."""
    columns = (Column("run", text=True), Column("seed"), Column("rank r"), Column("learning rate"), Column("best step"),
               Column("stopped by", text=True), Column("steps"), Column("validation accuracy %"),
               Column("test accuracy %"), Column("train time"), Column("recipe hash", text=True))  # fmt: skip
    rows = []
    for loaded in sweep.runs:
        run = loaded.run
        scores = [getattr(run.metrics.get(split), "accuracy", None) for split in ("validation", "test")]
        tuning, training = (run.settings.get(part) or {} for part in ("tuning", "training"))
        cells = (run.name, str(run.seed), str(tuning.get("r") or NONE) if run.method != "full" else NONE,
                 learning_rate(training.get("learning_rate")), count(run.best_step), run.stopped or NONE,
                 count(run.resources.steps), *(percent(score) for score in scores),
                 duration(run.resources.train_seconds), run.hash[:10])  # fmt: skip
        rows.append(Row(cells))
    for absent in sweep.missing:
        state = "not started" if absent.last_step is None else f"in progress, step {absent.last_step:,}"
        rows.append(Row((absent.name, NONE, NONE, NONE, NONE, state, *[NONE] * 5), "missing"))
    return Table("Every run", columns, tuple(rows))


def per_class_table(group: Group, labels: Sequence[str]) -> Table:
    """Precision, recall and F1 of each class: mean over the seeds of a group, with a t interval of F1."""
    per_run = [class_counts(run.predictions, len(labels)) for run in group.predicted_runs() if run.predictions]
    rows = []
    for number, label in enumerate(labels):
        counts = [run[number] for run in per_run]
        means = [float(np.mean([getattr(row, field) for row in counts])) for field in ("precision", "recall")]
        f1 = estimate([row.f1 for row in counts])
        rows.append(Row((label, count(counts[0].support), *(percent(value) for value in means), spread(f1))))
    columns = (Column("class", text=True), Column("test examples"), Column("precision %"), Column("recall %"),
               Column("F1 %"))  # fmt: skip
    return Table(f"Classes, {group.name}, {seeds_phrase(group)}", columns, tuple(rows))


def comparisons_table(rows: Sequence[Comparison]) -> Table:
    """Differences with intervals and corrected p-values; the sign is the first group's gain."""
    columns = (
        Column("first", text=True), Column("second", text=True), Column("Δ accuracy, points"),
        Column("95 % interval"), Column("p, Holm"), Column("Δ macro F1, points"), Column("95 % interval"),
        Column("only first right", help="McNemar, one run of each"), Column("only second right"),
        Column("McNemar p, Holm"), Column("verdict", text=True),
    )  # fmt: skip
    out = []
    for row in rows:
        macro = row.macro_f1
        better = row.first if row.accuracy.difference > 0 else row.second
        verdict = "no difference shown" if row.p_holm >= 0.05 else f"{better} better"
        cells = (
            row.first, row.second, f"{100 * row.accuracy.difference:+z.2f}", _ends(row.accuracy.low, row.accuracy.high),
            p_value(row.p_holm), f"{100 * macro.difference:+z.2f}" if macro else NONE,
            _ends(macro.low, macro.high) if macro else NONE, count(row.mcnemar.b), count(row.mcnemar.c),
            p_value(row.mcnemar_p_holm), verdict,
        )  # fmt: skip
        out.append(Row(cells))
    samples = rows[0].accuracy.samples if rows else 0
    notes = (
        f"Paired bootstrap over test examples ({samples:,} resamples), each group averaged over its seeds. McNemar's"
        " exact test compares one run of each group, the seed with the best validation score. Both p-values are"
        f" corrected for {len(rows)} comparisons by Holm's method. “No difference shown” does not mean equal.",
    )
    return Table("Is the difference more than luck?", columns, tuple(out), notes)


def examples_table(caption: str, examples: Sequence[Example]) -> Table:
    """Sentences with gold and predicted label."""
    columns = (Column("sentence", text=True), Column("gold", text=True), Column("predicted", text=True),
               Column("confidence"))  # fmt: skip
    rows = tuple(
        Row((row.text, row.gold, row.predicted, percent(row.confidence, 0) + " %"), "right" if row.right else "wrong")
        for row in examples
    )
    return Table(caption, columns, rows)


def provenance_table(sweep: Sweep) -> Table:
    """What is needed to defend, or to repeat, the numbers."""
    result = sweep.result
    bases = sorted({f"{run.run.base.name}, fingerprint {run.run.base.fingerprint}" for run in sweep.runs})
    seeds = sorted({run.run.seed for run in sweep.runs})
    hidden = {"versions", "cuda"}
    facts = [
        ("recipe", result.recipe),
        ("recipe hash", result.hash),
        ("written", result.created),
        ("data", f"{result.data.task}, from {_source(result.data.source.kind)}: {result.data.source.location}"),
        ("examples", ", ".join(f"{split} {size:,}" for split, size in result.data.splits.items())),
        ("data hash", result.data.sha256),
        *(("base model", base) for base in bases),
        ("seeds", ", ".join(map(str, seeds)) or NONE),
        ("precision", "; ".join(sorted({_precision(run.run) for run in sweep.runs}))),
        ("chosen by", f"{result.selection.metric} on {result.selection.split}; the test split chooses nothing"),
        *(
            (name.removesuffix("_bytes").replace("_", " "), _fact(name, value))
            for name, value in result.machine.items()
            if name not in hidden
        ),
        *(("GPU", str(card.get("name", card))) for card in result.machine.get("cuda") or () if isinstance(card, dict)),
        ("versions", ", ".join(f"{name} {value}" for name, value in result.versions.items() if value)),
    ]
    rows = tuple(Row((name, value)) for name, value in facts if value not in ("", "None"))
    return Table("Provenance", (Column("what", text=True), Column("value", text=True)), rows)


def audit_tables(audit: Mapping[str, Any]) -> tuple[Table, ...]:
    """What `audit.json` counts: each split with its repeats, and the balance of the classes; () if it has no splits."""
    splits: Mapping[str, Any] = audit.get("splits") or {}
    if not splits:
        return ()
    rows = []
    for name, split in splits.items():
        words = (split.get("lengths") or {}).get("words") or []
        size = split.get("examples") or 0
        cells = (
            name, count(size), " / ".join(f"{words[place]}" for place in (1, 2, 3)) if len(words) > 3 else NONE,
            count(split.get("repeated_texts")), count(split.get("conflicting_texts")),
            percent(split.get("majority_correct", 0) / size, 1) if size else NONE,
        )  # fmt: skip
        rows.append(Row(cells))
    columns = (
        Column("split", text=True), Column("examples"), Column("words", help="5 % / median / 95 % of the texts"),
        Column("repeated texts"), Column("with two labels", help="repeated texts whose labels differ"),
        Column("constant guess %", help="accuracy of always answering the most frequent label of the first split"),
    )  # fmt: skip
    labels = list(dict.fromkeys(label for split in splits.values() for label in split.get("by_label") or {}))
    balance = [
        Row((label, *(_balance((split.get("by_label") or {}).get(label, 0), split) for split in splits.values())))
        for label in labels
    ]
    return (
        Table("Splits", columns, tuple(rows)),
        Table("Class balance", (Column("class", text=True), *(Column(name) for name in splits)), tuple(balance)),
    )


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and t interval of values that are not in result.json."""
    return Estimate(tuple(values), seed_interval(list(values)))


def seeds_phrase(group: Group) -> str:
    """ "mean over seeds 1, 2, 3", or "seed 1"."""
    seeds = ", ".join(str(run.run.seed) for run in group.predicted_runs())
    return f"mean over seeds {seeds}" if "," in seeds else f"seed {seeds}"


def _ends(low: float, high: float) -> str:
    return f"[{100 * low:+z.2f}, {100 * high:+z.2f}]"


def _balance(examples: int, split: Mapping[str, Any]) -> str:
    return f"{examples:,} ({percent(examples / (split.get('examples') or 1), 1)} %)"


def _precision(run: Run) -> str:
    """Type of the products, and of the frozen weights where that differs; "" if the run does not say."""
    training = run.settings.get("training") or {}
    precision, frozen = training.get("precision", ""), training.get("frozen", "")
    told = f"{precision} (auto)" if "precision" in run.chosen else str(precision)
    return told if frozen in ("", precision) or run.method == "full" else f"{told}, frozen weights {frozen}"


def _fact(name: str, value: object) -> str:
    return binary(float(value)) if name.endswith("_bytes") and isinstance(value, int | float) else str(value)


def _source(kind: str) -> str:
    names = {"recipe": "the recipe", "argument": "the folder given", "environment": "the folder in TUNELET_DATA",
             "hub": "the hub", "embedded": "the embedded sample"}  # fmt: skip
    return names.get(kind, kind)
