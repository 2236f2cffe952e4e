"""The data of every table and plot as CSV, raw numbers and full precision. Not here: formatted tables (`tables.py`).

Shares are 0 ... 1, times are seconds, memory is bytes. Rows come in a fixed order, so equal sweeps give equal files.

Example:
    >>> to_text([{"group": "full", "accuracy": 0.93}])
    'group,accuracy\\nfull,0.93\\n'
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from tunelet.report.classes import class_counts, mean_confusion, pooled_calibration
from tunelet.report.compare import Comparison
from tunelet.report.groups import Group, family
from tunelet.report.plots import pareto_front
from tunelet.report.results import Predictions, Sweep

Record = dict[str, Any]

SCORES = ("accuracy", "macro_f1", "weighted_f1", "loss", "mcc", "ece")
COSTS = ("trainable_parameters", "total_parameters", "train_seconds", "evaluation_seconds", "wall_seconds", "steps",
         "steps_per_second", "samples_per_second", "tokens_per_second", "peak_memory_bytes",
         "adapter_bytes")  # fmt: skip
MEMORY = ("parameters", "gradients", "optimizer", "saved_activations")


def all_records(sweep: Sweep, groups: Sequence[Group], comparisons: Sequence[Comparison]) -> Mapping[str, list[Record]]:
    """The records of each CSV file by its name; a file without records is still written, with its name alone."""
    return {
        "groups": group_records(groups),
        "runs": run_records(sweep),
        "curves": curve_records(sweep),
        "memory": [{"group": g.name, **{part: g.memory(part) for part in MEMORY}} for g in groups],
        "pareto": pareto_records(groups),
        "confusion": confusion_records(groups, sweep.labels),
        "comparisons": comparison_records(comparisons),
        "per_class": class_records(groups, sweep.labels),
        "calibration": calibration_records(groups),
    }


def to_text(records: Sequence[Record]) -> str:
    """CSV with a header line; every key that any record has becomes a column. None is empty."""
    columns = list(dict.fromkeys(key for record in records for key in record))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    if columns:
        writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()


def group_records(groups: Sequence[Group]) -> list[Record]:
    """Means over seeds with the ends of their intervals, and mean costs."""
    records = []
    for group in groups:
        record: Record = {"group": group.name, "method": group.method, "family": family(group)}
        record |= {"seeds": len(group.runs), "planned": group.planned}
        for split in ("validation", "test"):
            for score in SCORES:
                estimate = group.score(score, split)
                interval = estimate.interval if estimate else None
                record[f"{split}_{score}"] = estimate.mean if estimate else None
                record[f"{split}_{score}_low"] = interval.low if interval else None
                record[f"{split}_{score}_high"] = interval.high if interval else None
                if score == "accuracy":
                    record[f"{split}_interval"] = interval.method if interval else None
        record |= {cost: group.cost(cost) for cost in COSTS} | {"trainable_share": group.trainable_share}
        records.append(record)
    return records


def run_records(sweep: Sweep) -> list[Record]:
    """One record a finished run."""
    records = []
    for loaded in sweep.runs:
        run = loaded.run
        record: Record = {"run": run.name, "group": run.group, "method": run.method, "seed": run.seed, "hash": run.hash,
                          "best_step": run.best_step, "stopped": run.stopped}  # fmt: skip
        for split in ("validation", "test"):
            record |= {f"{split}_{score}": getattr(run.metrics.get(split), score, None) for score in SCORES}
        record |= {cost: getattr(run.resources, cost) for cost in COSTS}
        records.append(record)
    return records


def curve_records(sweep: Sweep) -> list[Record]:
    """One record a point of a learning curve; `what` is train_loss, validation_accuracy or validation_loss."""
    records = []
    for loaded in sweep.runs:
        points = [("train_loss", step, loss) for step, loss in loaded.curve.train]
        points += [("validation_accuracy", row.step, row.accuracy) for row in loaded.curve.validation]
        points += [("validation_loss", row.step, row.loss) for row in loaded.curve.validation]
        group = loaded.run.group
        records += [{"run": loaded.name, "group": group, "what": what, "step": s, "value": v} for what, s, v in points]
    return records


def pareto_records(groups: Sequence[Group]) -> list[Record]:
    """Trained parameters, test accuracy, and whether no other group has fewer parameters and more accuracy."""
    points = [
        (group.name, group.cost("trainable_parameters") or 0.0, estimate.mean)
        for group in groups
        if (estimate := group.test("accuracy")) is not None
    ]
    front = pareto_front([(trained, accuracy) for _, trained, accuracy in points])
    return [
        {"group": name, "trainable_parameters": trained, "test_accuracy": accuracy, "on_front": number in front}
        for number, (name, trained, accuracy) in enumerate(points)
    ]


def confusion_records(groups: Sequence[Group], labels: Sequence[str]) -> list[Record]:
    """Mean count over seeds of each pair of gold and predicted label; nothing for multi label."""
    records = []
    for group in groups:
        several = _predictions(group)
        if not several or several[0].gold.ndim == 2:
            continue
        matrix = mean_confusion(several, len(labels))
        records += [
            {"group": group.name, "gold": gold, "predicted": predicted, "mean_count": float(matrix[row, column])}
            for row, gold in enumerate(labels)
            for column, predicted in enumerate(labels)
        ]
    return records


def class_records(groups: Sequence[Group], labels: Sequence[str]) -> list[Record]:
    """Counts and ratios of each class in each run."""
    return [
        {"group": group.name, "run": run.name, "class": label, "support": row.support, "predicted": row.predicted,
         "correct": row.correct, "precision": row.precision, "recall": row.recall, "f1": row.f1}
        for group in groups
        for run in group.predicted_runs()
        if run.predictions is not None
        for label, row in zip(labels, class_counts(run.predictions, len(labels)), strict=True)
    ]  # fmt: skip


def calibration_records(groups: Sequence[Group]) -> list[Record]:
    """The bins of each group, pooled over its seeds."""
    records = []
    for group in groups:
        if several := _predictions(group):
            bins = pooled_calibration(several)
            for number, row in enumerate(bins):
                ends = {"low": number / len(bins), "high": (number + 1) / len(bins)}
                records.append({"group": group.name, **ends, **row.to_json()})
    return records


def comparison_records(comparisons: Sequence[Comparison]) -> list[Record]:
    """Both tests of each pair."""
    records = []
    for row in comparisons:
        record: Record = {"first": row.first, "second": row.second}
        for name, test in (("accuracy", row.accuracy), ("macro_f1", row.macro_f1)):
            if test is not None:
                record |= {f"{name}_difference": test.difference, f"{name}_low": test.low, f"{name}_high": test.high,
                           f"{name}_p": test.p}  # fmt: skip
        record |= {"accuracy_p_holm": row.p_holm, "mcnemar_first_run": row.runs[0], "mcnemar_second_run": row.runs[1],
                   "only_first_right": row.mcnemar.b, "only_second_right": row.mcnemar.c, "mcnemar_p": row.mcnemar.p,
                   "mcnemar_p_holm": row.mcnemar_p_holm}  # fmt: skip
        records.append(record)
    return records


def _predictions(group: Group) -> list[Predictions]:
    return [run.predictions for run in group.predicted_runs() if run.predictions is not None]
