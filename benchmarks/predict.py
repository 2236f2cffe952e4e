"""Prediction speed: `tunelet predict`'s stream beside a transformers pipeline, over the Emotion test texts.

The same adapter, trained for a few steps, answers the same texts; labels are compared. Both begin with strings and end
with labels: tokenising is inside. Not here: how a side answers (`common.predict_jobs`).

Example:
    $ tunelet bench predict --quick
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunelet.models.rates import faster_precision
from tunelet.tuning.settings import TuningSettings

from .common.predict_jobs import Answers
from .common.processes import Worker, Workers, alternate
from .common.side import Side
from .common.summary import ratio, result, speed


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    Attributes:
        texts: of the test split, from its beginning.
        rounds: alternations.
        train_steps: of the adapter that answers.
        variants: names in `contenders`; `tunelet` and `pipeline_merged` are always there.
    """

    texts: int = 2000
    rounds: int = 5
    train_steps: int = 500
    variants: tuple[str, ...] = ("pipeline", "fp32", "int8", "bf16", "unmerged", "unmerged_bf16")


QUICK = Plan(texts=400, rounds=3, train_steps=100, variants=("fp32", "int8"))


def measure(*, quick: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure; see docs/benchmarks.md for the figures."""
    plan = QUICK if quick else Plan()
    if faster_precision() == "fp32":
        tell("this processor has no instructions for bf16: it would take minutes for what fp32 does in seconds")
        plan = replace(plan, variants=tuple(name for name in plan.variants if "bf16" not in name and name != "fp32"))
    return compare(Side(), plan, tell)


def contenders(adapter: Path, like: Side) -> dict[str, tuple[str, Answers]]:
    """Name -> job and how it answers.

    ``tunelet`` is what the command does by default; ``fp32``, ``bf16`` and ``int8`` what it does with that
    ``--precision``. The peer of the ratios is the pipeline over the merged model, the faster one.
    """
    plain = Answers(adapter=adapter, base=like.base, max_length=like.max_length, data_dir=like.data_dir)

    def changed(**changes: Any) -> Answers:
        return plain.model_copy(update=changes)

    return {
        "pipeline_merged": ("predict_pipeline", plain),
        "pipeline": ("predict_pipeline", changed(merged=False)),
        "tunelet": ("predict_ours", plain),
        "fp32": ("predict_ours", changed(precision="fp32")),
        "int8": ("predict_ours", changed(precision="int8")),
        "bf16": ("predict_ours", changed(precision="bf16")),
        "unmerged": ("predict_ours", changed(merged=False, precision="fp32")),
        "unmerged_bf16": ("predict_ours", changed(merged=False, precision="bf16")),
    }


def compare(like: Side, plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure what `plan` says on the base and data of `like`."""
    tuning = TuningSettings(method="lora", targets="attention+linear", r=8, alpha=16, dropout=0.1)
    precision = faster_precision()
    own = like.model_copy(update={"tuning": tuning, "precision": precision, "learning_rate": 1e-3})
    with tempfile.TemporaryDirectory() as folder:
        adapter = Path(folder) / "adapter"
        tell(f"an adapter: {plan.train_steps} steps")
        with Workers() as workers:
            worker = workers.start("make_adapter", own.model_dump(mode="json"))
            worker.wait()
            worker.ask({"steps": plan.train_steps, "folder": str(adapter)})
        chosen = {
            name: job
            for name, job in contenders(adapter, own).items()
            if name in ("pipeline_merged", "tunelet", *plan.variants)
        }
        with Workers() as workers:
            started = {name: workers.start(job, how.model_dump(mode="json")) for name, (job, how) in chosen.items()}
            count = min(plan.texts, *(worker.wait()["available"] for worker in started.values()))
            tell(f"{count} texts: {', '.join(started)}")
            answers = alternate({name: _asking(worker, count) for name, worker in started.items()}, plan.rounds, tell)
    labels = {name: found[0]["labels"] for name, found in answers.items()}
    blocks = {name: [{**block, "labels": None} for block in found] for name, found in answers.items()}
    speeds = {name: speed(found, "texts") for name, found in blocks.items()}
    peer = labels["pipeline_merged"]
    for name, found in speeds.items():
        for block in found["blocks"]:
            del block["labels"]
        found["same_labels"] = sum(a == b for a, b in zip(labels[name], peer, strict=True))
        tell(f"  {name} {found['texts_per_second']:,.0f} texts/s, {found['same_labels']} of {count} labels the same")
    ratios = {
        "vs_pipeline" if name == "tunelet" else f"vs_pipeline_{name}": ratio(speeds, name, "pipeline_merged", "texts")
        for name in speeds
        if not name.startswith("pipeline")
    }
    return result("predict", ratios, {"texts": count, "batch": 32, "train_steps": plan.train_steps, **speeds})


def _asking(worker: Worker, texts: int) -> Callable[[], dict[str, Any]]:
    return lambda: worker.ask({"texts": texts})
