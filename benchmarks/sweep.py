"""A sweep: the paper's twelve LoRA runs as one `tunelet run`, beside twelve programs with Trainer + PEFT.

Runs and splits are shortened alike: as in the paper, two texts are trained on for one that is evaluated. Both do the
whole job, from starting Python to scores on validation and test and saved adapters; ours also writes its
report. Both take the same texts, runs and numbers of steps. Not here: the peer's program (`common.trainer_peer`).

Example:
    $ tunelet bench sweep --quick
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tunelet.base.errors import TrainingError
from tunelet.base.files import read_json, write_json
from tunelet.data.records import Dataset
from tunelet.models.bases import load_base
from tunelet.models.settings import ModelSettings
from tunelet.systems import load_recipe
from tunelet.systems.classify_recipe import sections
from tunelet.systems.recipes import LoadedRecipe, PlannedRun, read_recipe

from .common.processes import alternate
from .common.side import Side, dataset_of
from .common.summary import ratio, result, speed
from .common.trainer_jobs import lora_of

#: blocks of the recipe `emotion-paper` that are the paper's LoRA runs: "attention" as its code has it, and "+ linear"
BLOCKS = ("lora-qv", "lora-attention+linear")


@dataclass(frozen=True)
class Plan:
    """How much to run.

    Attributes:
        steps: of each run.
        rounds: alternations of the whole sweep.
        limit: examples of each split.
        together: of `tunelet run`.
    """

    steps: int = 40
    rounds: int = 5
    limit: tuple[int, int, int] = (16000, 160, 160)
    together: int = 12


QUICK = Plan(steps=20, rounds=1, limit=(1600, 80, 80))


def measure(*, quick: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure; see docs/benchmarks.md for the figures."""
    return compare(Side(), QUICK if quick else Plan(), tell)


def compare(like: Side, plan: Plan, tell: Callable[[str], None], *, only: int | None = None) -> dict[str, Any]:
    """Measure what `plan` says on the base and data of `like`; `only`: so many of the runs (for tests)."""
    limit = dict(zip(("train", "validation", "test"), plan.limit, strict=True))
    data = dataset_of(like.model_copy(update={"limit": limit}))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = write_texts(data, folder / "texts")
        recipe_file = write_recipe(folder / "sweep.yaml", like, plan.steps, texts, only=only)
        recipe = load_recipe(recipe_file)
        orders = [peer_order(run, data, texts) for run in recipe.runs]
        tell(f"{len(recipe.runs)} runs of {plan.steps} steps: {', '.join(recipe.groups)}")
        answers = alternate(
            {
                "ours": lambda: _ours(recipe_file, recipe, folder, plan.together, tell),
                "trainer_processes": lambda: _peers(orders, folder, tell),
            },
            plan.rounds,
            tell,
        )
    scores = {side: found[0].pop("scores") for side, found in answers.items()}
    for found in answers.values():
        for block in found[1:]:
            block.pop("scores")
    speeds = {side: speed(found, "runs") for side, found in answers.items()}
    ratios = {"vs_trainer_processes": ratio(speeds, "ours", "trainer_processes", "runs")}
    facts = {"steps": plan.steps, "together": plan.together, "limit": limit, "data": data.source.kind}
    return result("sweep", ratios, {**facts, **speeds, "test_accuracy": scores})


def write_texts(data: Dataset, folder: Path) -> Path:
    """The texts as files that both sides read."""
    folder.mkdir(parents=True)
    for split, examples in data.splits.items():
        rows = [json.dumps({"id": e.id, "text": e.text, "label": e.labels[0]}, ensure_ascii=False) for e in examples]
        (folder / f"{split}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def write_recipe(path: Path, like: Side, steps: int, texts: Path, *, only: int | None = None) -> Path:
    """The paper's recipe, its LoRA blocks alone: shortened, with padding to the batch, in our default precision.

    `only` keeps so many runs of the first block.
    """
    tree = read_recipe("emotion-paper").data
    tree["name"] = "sweep"
    tree["data"] = {"task": "emotion", "path": str(texts)}
    tree["model"] = {"base": like.base, "max_length": like.max_length}
    tree["training"] |= {
        "max_steps": steps,
        "batch": {"size": like.batch},
        "precision": "auto",
        "frozen": "auto",
        "evaluate_every": steps,
        "patience": None,
    }
    tree["runs"] = [block for block in tree["runs"] if block["name"] in BLOCKS]
    if only is not None:
        first = tree["runs"][0]
        first["grid"] = {"tuning.r": first["grid"]["tuning.r"][:only]}
        tree["runs"] = [first]
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path


def peer_order(run: PlannedRun, data: Dataset, texts: Path) -> dict[str, Any]:
    """The same run for the peer's program: Trainer's defaults, fp32."""
    model, tuning, training = sections(run)
    folder = load_base(ModelSettings(base=model.base, max_length=model.max_length)).folder
    labels = list(data.task.label_names)
    return {
        "folder": str(folder),
        "data": str(texts),
        "labels": labels,
        "max_length": model.max_length,
        "lora": lora_of(tuning, folder, labels),
        "batch": training.batch.size,
        "bf16": False,
        "steps": training.max_steps,
        "learning_rate": training.learning_rate,
        "weight_decay": training.weight_decay,
        "seed": run.seed,
    }


def _ours(recipe_file: Path, recipe: LoadedRecipe, folder: Path, together: int, tell: Callable[[str], None]) -> Any:
    out = Path(tempfile.mkdtemp(dir=folder))
    options = ["--out", str(out), "--together", str(together), "-q"]
    command = [sys.executable, "-m", "tunelet", "run", str(recipe_file), *options]
    seconds = _timed(command, out / "log.txt")
    found = read_json(out / "result.json")
    scores = {run["name"]: run["metrics"]["test"]["accuracy"] for run in found["runs"]}
    tell(f"  ours: {len(scores)} runs in {seconds:.0f} s")
    return {"seconds": seconds, "runs": len(recipe.runs), "scores": scores}


def _peers(orders: Sequence[dict[str, Any]], folder: Path, tell: Callable[[str], None]) -> Any:
    program = Path(__file__).parent / "common" / "trainer_peer.py"
    seconds, scores = 0.0, {}
    for number, order in enumerate(orders, start=1):
        out = Path(tempfile.mkdtemp(dir=folder))
        write_json(out / "order.json", order)
        seconds += _timed([sys.executable, str(program), json.dumps({**order, "out": str(out)})], out / "log.txt")
        scores[f"run {number}"] = read_json(out / "scores.json")["test"]["accuracy"]
    tell(f"  trainer_processes: {len(orders)} runs in {seconds:.0f} s")
    return {"seconds": seconds, "runs": len(orders), "scores": scores}


def _timed(command: Sequence[str], log: Path) -> float:
    """Seconds that a program takes from its start to its end."""
    with open(log, "w", encoding="utf-8") as target:
        start = time.perf_counter()
        status = subprocess.run(command, stdout=target, stderr=subprocess.STDOUT, check=False).returncode
        seconds = time.perf_counter() - start
    if status:
        last = log.read_text(encoding="utf-8", errors="replace").strip().split("\n")[-1]
        raise TrainingError(f"{' '.join(command[:4])} ended with status {status}: {last}")
    return seconds
