"""System `classify`: full fine-tuning against low-rank adaptation for text classification (Gjer 2023).

It only chooses parts: data -> base -> what trains -> the loop -> the adapter folder -> scores. Not here: the sweep over
runs and the report (`systems.sweep`), the recipe's schema (`systems.classify_recipe`).

The numbers of a run come from its adapter folder, loaded again in fp32 as a user would load it; the test split is
read once, after the best checkpoint was chosen on validation.
"""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunelet.base.files import folder_bytes, write_json
from tunelet.data.audit import audit
from tunelet.data.batching import LengthBucketBatches, in_order
from tunelet.data.records import Dataset
from tunelet.data.tokens import tokenise
from tunelet.evaluation.predictions import make_predictions, write_predictions
from tunelet.models.bases import Base, load_base
from tunelet.models.classifier import build_classifier
from tunelet.models.settings import ModelSettings
from tunelet.systems.classify_objective import Classification
from tunelet.systems.classify_recipe import sections
from tunelet.systems.recipes import PlannedRun
from tunelet.training.estimate import Estimate, estimate, pick_batches
from tunelet.training.events import Note, Observer, RunStarted
from tunelet.training.loop import Loop
from tunelet.training.memory import measure_memory
from tunelet.training.resources import ResourceMeter
from tunelet.training.schedule import planned_steps
from tunelet.training.settings import TrainingSettings
from tunelet.training.tracking import open_trackers
from tunelet.tuning.folder import load_adapter, save_adapter
from tunelet.tuning.methods import prepare as prepare_tuning
from tunelet.tuning.precision import freeze_in
from tunelet.tuning.trainable import trainable_table
from tunelet.tuning.tuned import Tuned


@dataclass
class Context:
    """Data of a recipe, and bases by name, loaded once.

    Attributes:
        dataset: all splits.
        cache: folder for tokenised splits.
    """

    dataset: Dataset
    cache: Path | None
    _bases: dict[ModelSettings, Base] = field(default_factory=dict)

    def run_hash(self, run: PlannedRun) -> str:
        """See `systems.sweep.Context`."""
        return run.hash(system="classify", data=self.dataset.sha256, base=self.base(run).fingerprint)

    def data_facts(self) -> dict[str, Any]:
        """See `systems.sweep.Context`."""
        source, task = self.dataset.source, self.dataset.task
        return {
            "source": {"kind": source.kind, "location": source.location, "files": dict(source.files)},
            "sha256": self.dataset.sha256,
            "task": task.name,
            "labels": list(task.label_names),
            "splits": {name: len(examples) for name, examples in self.dataset.splits.items()},
        }

    def audit(self) -> dict[str, Any]:
        """See `systems.sweep.Context`."""
        return audit(self.dataset).to_json()

    def base(self, run: PlannedRun) -> Base:
        """The base of a run."""
        settings = sections(run)[0]
        if settings not in self._bases:
            self._bases[settings] = load_base(settings)
        return self._bases[settings]

    def objective(self, run: PlannedRun) -> Classification:
        """Loss and evaluation of a run, with its tokenised splits."""
        model, _, training = sections(run)
        base, labels = self.base(run), self.dataset.task.label_names
        splits = tokenise(self.dataset, base.tokenizer, model.max_length, self.cache)
        return Classification(splits, labels, base.tokenizer.pad_token_id, training, model.max_length)

    def loop(self, run: PlannedRun, folder: Path, run_hash: str, interrupted: Callable[[], bool]) -> Loop:
        """Everything of a run, ready to train."""
        model_settings, tuning, training = sections(run)
        if training.threads is not None:
            torch.set_num_threads(training.threads)
        objective, base = self.objective(run), self.base(run)
        lengths = objective.splits["train"].lengths
        steps = planned_steps(
            len(lengths),
            epochs=training.epochs,
            batch=training.batch.size,
            accumulate=training.batch.accumulate,
            max_steps=training.max_steps,
        )
        model = build_classifier(base, self.dataset.task, attention=model_settings.attention, seed=run.seed)
        tuned = prepare_tuning(model, tuning, total_steps=steps, seed=run.seed)
        if training.frozen == "bf16":
            freeze_in(tuned.model, torch.bfloat16)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        tuned.model.to(device)
        tuned.use_fast_path(torch.bfloat16 if training.precision == "bf16" else torch.float32, seed=run.seed)
        settings = {key: section.model_dump() for key, section in run.settings.items()}
        return Loop(
            tuned=tuned,
            optimizer=make_optimizer(tuned, training),
            objective=objective,
            batches=LengthBucketBatches(lengths, training.batch.size, run.seed, pool_batches=training.batch.pool),
            settings=training,
            total_steps=steps,
            folder=folder,
            seed=run.seed,
            identity=run_hash,
            meter=ResourceMeter(device),
            trackers=[open_trackers(training.trackers, run.name, settings, folder)],
            interrupted=interrupted,
        )

    def execute(
        self,
        run: PlannedRun,
        folder: Path,
        run_hash: str,
        observer: Observer,
        interrupted: Callable[[], bool],
        place: tuple[int, int],
    ) -> dict[str, Any]:
        """Train, save the adapter, evaluate it as loaded from disk; returns what run.json holds."""
        started = _now()
        loop = self.loop(run, folder, run_hash, interrupted)
        table = trainable_table(loop.tuned.model)
        write_json(folder / "trainable.json", table.to_json())
        observer(RunStarted(run.name, *place, loop.step, loop.total_steps))
        observer(
            Note(f"{table.trainable:,} of {table.total:,} parameters train ({table.share:.2%}); see trainable.json")
        )
        with loop.meter:
            for event in loop.events():
                observer(event)
        best_step = loop.load_best()
        longest = np.argsort(-self.objective(run).splits["train"].lengths, kind="stable")[: loop.settings.batch.size]
        memory = measure_memory(loop.tuned.model, loop.optimizer, lambda: loop.loss(longest))
        save_adapter(folder / "adapter", loop.tuned, self.base(run), self.dataset.task)
        metrics = self._evaluate(run, folder)
        resources = loop.meter.resources(
            trainable_parameters=table.trainable,
            total_parameters=table.total,
            adapter_bytes=folder_bytes(folder / "adapter"),
            memory=memory,
        )
        if not loop.settings.keep_states:
            loop.checkpoints.clear()
        base = self.base(run)
        return {
            "name": run.name,
            "group": run.group,
            "method": sections(run)[1].method,
            "seed": run.seed,
            "hash": run_hash,
            "base": {"name": base.name, "fingerprint": base.fingerprint},
            "settings": {key: section.model_dump(mode="json") for key, section in run.settings.items()},
            "best_step": best_step,
            "stopped": loop.stopped,
            "metrics": metrics,
            "resources": resources.to_json(),
            "started": started,
            "finished": _now(),
        }

    def _evaluate(self, run: PlannedRun, folder: Path) -> dict[str, Any]:
        loaded = load_adapter(folder / "adapter")
        objective = self.objective(run)
        metrics = {}
        for split in ("validation", "test"):
            scores, logits = objective.score(loaded.model, split)
            task = self.dataset.task
            rows = make_predictions(self.dataset.splits[split], logits, task.label_names, multi_label=task.multi_label)
            write_predictions(folder / "predictions" / f"{split}.jsonl", rows)
            metrics[split] = scores.to_json()
        return metrics

    def forecast(self, run: PlannedRun) -> Estimate:
        """What a run will cost, from a few of its own steps; nothing is written."""
        with tempfile.TemporaryDirectory() as folder:
            loop = self.loop(run, Path(folder), "forecast", lambda: False)
            objective = self.objective(run)
            training = sections(run)[2]
            lengths = objective.splits["train"].lengths
            batches = [loop.batches.next() for _ in range(loop.batches.batches_per_epoch)]
            padded = [len(b) * (objective.width or int(lengths[b].max())) for b in batches]
            typical, largest = pick_batches(padded)
            evaluations = max(1, loop.total_steps // loop.evaluate_every)
            validation = in_order(objective.splits["validation"].lengths, training.batch.evaluation_size)
            tokens = sum(len(b) * int(objective.splits["validation"].lengths[b].max()) for b in validation)
            return estimate(
                loop.tuned.model,
                lambda: make_optimizer(loop.tuned, training),
                lambda indices: loop.loss(indices),
                typical=batches[typical],
                largest=batches[largest],
                total_steps=loop.total_steps * training.batch.accumulate,
                tokens_per_step=sum(padded) / len(padded),
                evaluation_tokens=evaluations * tokens,
                least_steps=None if training.patience is None else (training.patience + 1) * loop.evaluate_every,
                size=lambda indices: len(indices) * (objective.width or int(lengths[indices].max())),
            )

    def summary(self, result: dict[str, Any]) -> str:
        """See `systems.sweep.Context`."""
        metrics, resources = result["metrics"], result["resources"]
        return (
            f"validation {metrics['validation']['accuracy']:.2%} at step {result['best_step']}, "
            f"test {metrics['test']['accuracy']:.2%}, {resources['train_seconds']:.0f} s, "
            f"{resources['tokens_per_second']:,.0f} tokens/s"
        )


def prepare(dataset: Dataset, cache: Path | None, observer: Observer) -> Context:
    """Take in the data of a recipe and tell what is odd in them."""
    sizes = ", ".join(f"{len(examples):,} {name}" for name, examples in dataset.splits.items())
    observer(Note(f"data: {dataset.task.name} from {dataset.source.location} ({dataset.source.kind}): {sizes}"))
    for severity, message in audit(dataset).findings:
        observer(Note(f"audit, {severity}: {message}"))
    return Context(dataset, cache)


def make_optimizer(tuned: Tuned, training: TrainingSettings) -> torch.optim.Optimizer:
    """The method's optimiser with the recipe's rates."""
    return tuned.optimizer(
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        betas=training.betas,
        eps=training.eps,
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
