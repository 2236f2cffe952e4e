"""A made-up sweep of `understand`: answers on disk, and a result.json that is scored from them as a run's is.

Every example has a difficulty that all models share, so that models agree on most examples, as real ones do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelet.base.streams import numpy_stream
from tunelet.data.understanding.regimes import LabelNames, MapLog
from tunelet.evaluation.understanding import AnswerScores, score_answers

TASKS: dict[str, tuple[tuple[str, ...], bool]] = {
    "mood": (("glad", "sad", "calm"), False),
    "acts": (("ask", "tell", "thank", "agree"), False),
    "finds": (("person", "place", "group"), True),
}


@dataclass(frozen=True)
class Model:
    """A block of the recipe: its regime, and the share of examples that it gets right at k = 0."""

    regime: str
    skill: float
    gain: float = 0.05
    label: str = ""

    @property
    def way(self) -> str:
        return self.label or self.regime

    @property
    def tuned(self) -> bool:
        return self.regime in ("regular", "symbol", "random")


def answers(
    task: str, model: str, seed: int, skill: float, n: int, *, silent: float = 0.0
) -> list[tuple[str, list[str], list[str] | None]]:
    """(id, right classes, given classes or None) of n examples; `silent` is the share of invalid answers."""
    labels, several = TASKS[task]
    hard, mine = numpy_stream(0, "hard", task).random(n), numpy_stream(seed, "mine", task, model)
    rows: list[tuple[str, list[str], list[str] | None]] = []
    for i in range(n):
        right = [labels[i % len(labels)]]
        if several and i % 5 == 0:
            right = []
        knows = 0.85 * hard[i] + 0.15 * mine.random() < skill
        given: list[str] | None = right if knows else [labels[int(mine.integers(len(labels)))]]
        rows.append((f"{task}-{i}", right, None if mine.random() < silent else given))
    return rows


def cell(
    run: dict[str, Any], folder: Path | None, task: str, k: int, skill: float, n: int, **how: Any
) -> dict[str, Any]:
    """A cell of a run, with its answers on disk where there is a folder."""
    labels, several = TASKS[task]
    told = "-".join(f"{key}={value}" for key, value in sorted(how.items()))
    name = f"{k}{told}"
    silent = 0.06 if str(how.get("answers", "")).startswith("free") else 0.0
    rows = answers(task, f"{run['group']}{name}", run["seed"], skill, n, silent=silent)
    scores = score_answers([row[1] for row in rows], [row[2] for row in rows], labels, multi_label=several)
    metric = "micro_f1" if several else "macro_f1"
    file = f"answers/{task}/{name}.jsonl"
    if folder is not None:
        path = folder / run["folder"] / file
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"id": i, "split": "test", "labels": right, "answer": given}) for i, right, given in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return scored(run, task, k, scores, metric) | {"answers_file": file} | how


def scored(run: dict[str, Any], task: str, k: int, scores: AnswerScores, metric: str = "macro_f1") -> dict[str, Any]:
    """The keys of a cell that follow from its scores."""
    return {
        "group": run["label"],
        "regime": run["regime"],
        "source": run["source"],
        "task": task,
        "matched": run["source"] == task,
        "k": k,
        "query": "text",
        "cascade": False,
        "demonstrations": "retrieved",
        "order": "nearest-last",
        "answers": "constrained",
        "lora_scale": None,
        "seed": run["seed"],
        "n": scores.n,
        "macro_f1": scores.macro_f1,
        "micro_f1": scores.micro_f1,
        "weighted_f1": scores.weighted_f1,
        "accuracy": scores.accuracy,
        "metric": metric,
        "value": scores.value(metric),
        "invalid_rate": scores.invalid_rate,
        "main": True,
        "per_class": [row.to_json() for row in scores.per_class],
        "shown": k * scores.n,
        "dropped": 0,
    }


def a_run(model: Model, source: str, seed: int) -> dict[str, Any]:
    """A run without cells."""
    group = f"{model.way}-{source}" if model.tuned else model.way
    maps = None
    if model.tuned:
        log, names = MapLog(), LabelNames(model.regime, TASKS[source][0])  # type: ignore[arg-type]
        for batch in range(60):
            log.add(names.draw(seed=seed, epoch=0, batch=batch))
        maps = log.to_json()
    return {
        "name": f"{group}-seed{seed}",
        "group": group,
        "method": "lora" if model.tuned else model.regime,
        "label": model.way,
        "regime": model.regime,
        "source": source if model.tuned else "none",
        "seed": seed,
        "hash": "0" * 40,
        "folder": f"runs/{group}-seed{seed}",
        "base": {"name": "toy", "fingerprint": "f"},
        "settings": {},
        "train_examples": 960 * model.tuned,
        "best_step": 60 if model.tuned else None,
        "metrics": {"validation": {"macro_f1": 0.5}} if model.tuned else {},
        "maps": maps,
        "stages": {"base": 400.0, "vectors": 3.0, "evaluation": 61.0, "answers_per_second": 40.0},
        "resources": {
            "train_seconds": 12.5 * model.tuned,
            "tokens_per_second": 800.0,
            "steps": 60 * model.tuned,
            "peak_memory_bytes": 700 << 20,
            "peak_memory_kind": "resident set",
            "trainable_parameters": 300_000 * model.tuned,
            "total_parameters": 22_713_216,
            "adapter_bytes": 1_200_000 * model.tuned,
        },
        "cells": [],
    }


def a_result(runs: Sequence[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """A result.json of these runs."""
    flat = [{key: value for key, value in one.items() if key != "per_class"} for run in runs for one in run["cells"]]
    tasks = {
        name: {"title": name, "labels": list(labels), "multi_label": several, "location": f"toy/{name} <b>",
               "metric": "micro_f1" if several else "macro_f1", "splits": {"train": 900, "test": 90}, "spoken": 90}
        for name, (labels, several) in TASKS.items()
    }  # fmt: skip
    return {
        "schema": 1,
        "system": "understand",
        "recipe": "toy",
        "created": "2026-01-01T00:00:00+00:00",
        "finished": True,
        "data": {"sha256": "a", "source": {"kind": "argument", "location": "toys"}, "sources": ["mood", "acts"],
                 "evaluated": list(TASKS), "tasks": tasks},
        "machine": {"memory_bytes": 1 << 30},
        "versions": {"torch": "2"},
        "planned": [run["name"] for run in runs],
        "selection": {"metric": "macro_f1", "split": "validation"},
        "runs": list(runs),
        "cells": flat,
        **changes,
    }  # fmt: skip


def write(folder: Path, runs: Sequence[dict[str, Any]], **changes: Any) -> Path:
    """The result in its folder."""
    (folder / "result.json").write_text(json.dumps(a_result(runs, **changes)), encoding="utf-8")
    return folder


MODELS = (Model("none", 0.45), Model("regular", 0.48), Model("symbol", 0.5), Model("random", 0.56), Model("knn", 0.5),
          Model("definition", 0.4))  # fmt: skip


def sweep(
    folder: Path | None,
    *,
    models: Sequence[Model] = MODELS,
    sources: Sequence[str] = ("mood", "acts"),
    tasks: Sequence[str] = tuple(TASKS),
    seeds: Sequence[int] = (1, 2),
    ks: Iterable[int] = (0, 1, 3),
    n: int = 60,
    queries: Sequence[str] = ("text",),
    more: bool = False,
) -> list[dict[str, Any]]:
    """Runs of all models; `more` asks in other ways, too."""
    runs = []
    for model in models:
        for source in sources if model.tuned else ("none",):
            for seed in seeds if model.regime not in ("knn", "definition") else seeds[:1]:
                run = a_run(model, source, seed)
                for task in tasks:
                    for k in ks:
                        if model.regime == ("definition" if k else "knn"):
                            continue
                        skill = model.skill + model.gain * min(k, 3)
                        skill += 0.15 if task == source and model.regime == "regular" else 0.0
                        run["cells"] += _cells(run, folder, model, task, k, skill, n, queries, more)
                runs.append(run)
    return runs


def _cells(
    run: dict[str, Any], folder: Path | None, model: Model, task: str, k: int, skill: float, n: int,
    queries: Sequence[str], more: bool,
) -> list[dict[str, Any]]:  # fmt: skip
    found = [cell(run, folder, task, k, skill, n)]
    if "speech" in queries:
        found.append(cell(run, folder, task, k, skill - 0.12, n, query="speech", cascade=True))
        if model.tuned or model.regime == "none":
            found.append(cell(run, folder, task, k, skill - 0.08, n, query="speech"))
    if more and model.regime not in ("knn", "definition"):
        found.append(cell(run, folder, task, k, skill + 0.02, n, answers="calibrated", main=False))
        found.append(cell(run, folder, task, k, skill - 0.03, n, answers="free-strict", main=False))
        if k:
            found.append(cell(run, folder, task, k, skill - 0.05, n, demonstrations="random", main=False))
        if k > 1:
            found.append(cell(run, folder, task, k, skill, n, order="nearest-first", main=False))
            found.append(cell(run, folder, task, k, skill - 0.02, n, order="shuffled", main=False))
        if model.tuned:
            found.append(cell(run, folder, task, k, skill + 0.01, n, lora_scale=0.5, main=False))
    return found
