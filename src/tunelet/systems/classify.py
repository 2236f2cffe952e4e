"""System `classify`: full fine-tuning against low-rank adaptation for text classification (Gjer 2023).

It only chooses parts: data -> base -> what trains -> the loop -> the adapter folder -> scores. Not here: the sweep over
runs and the report (`systems.sweep`), the recipe's schema (`systems.classify_recipe`).

The numbers of a run come from its adapter folder, loaded again in fp32 as a user would load it; the test split is
read once, after the best checkpoint was chosen on validation.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tunelet.base.files import folder_bytes, write_json
from tunelet.data.audit import audit
from tunelet.data.records import Dataset
from tunelet.data.tokens import tokenise
from tunelet.evaluation.predictions import make_predictions, write_predictions
from tunelet.models.bases import Base, load_base
from tunelet.models.settings import ModelSettings
from tunelet.systems.classify_objective import Classification
from tunelet.systems.classify_recipe import sections
from tunelet.systems.classify_training import build_loop, forecast
from tunelet.systems.recipes import PlannedRun
from tunelet.training.checkpoint import CheckpointStore
from tunelet.training.estimate import Estimate
from tunelet.training.events import Note, Observer, RunStarted, named
from tunelet.training.memory import measure_memory
from tunelet.training.tracking import open_trackers
from tunelet.tuning.folder import load_adapter, save_adapter
from tunelet.tuning.trainable import trainable_table


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
            "multi_label": task.multi_label,
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

    def forecast(self, run: PlannedRun) -> Estimate:
        """What a run will cost; see `systems.checking`."""
        return forecast(run, self.objective(run), self.base(run), self.dataset.task)

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
        objective, base = self.objective(run), self.base(run)
        settings = {key: section.model_dump(mode="json") for key, section in run.settings.items()}
        trackers = open_trackers(objective.training.trackers, run.name, settings, folder)
        with ExitStack() as closing:
            closing.callback(trackers.finish)
            loop = build_loop(
                run,
                objective,
                base,
                self.dataset.task,
                folder,
                identity=run_hash,
                trackers=[trackers],
                interrupted=interrupted,
            )
            table = trainable_table(loop.tuned.model)
            write_json(folder / "trainable.json", table.to_json())
            notes = loop.restore()
            observer(RunStarted(run.name, *place, loop.step, loop.total_steps))
            share = f"{table.trainable:,} of {table.total:,} parameters train ({table.share:.2%})"
            for note in (*notes, Note(f"{share}; see trainable.json")):
                observer(note)
            with loop.meter:
                for event in loop.events():
                    observer(named(event, run.name))
        best_step = loop.load_best()
        longest = np.argsort(-objective.splits["train"].lengths, kind="stable")[: loop.settings.batch.size]
        engine = loop.tuned.engine
        memory = measure_memory(
            loop.tuned.model,
            loop.optimizer,
            lambda: loop.loss(longest),
            working=engine.tensors() if engine is not None else (),
        )
        save_adapter(folder / "adapter", loop.tuned, base, self.dataset.task)
        metrics = self._evaluate(objective, folder)
        resources = loop.meter.resources(
            trainable_parameters=table.trainable,
            total_parameters=table.total,
            adapter_bytes=folder_bytes(folder / "adapter"),
            memory=memory,
        )
        return {
            "name": run.name,
            "group": run.group,
            "method": sections(run)[1].method,
            "seed": run.seed,
            "hash": run_hash,
            "base": {"name": base.name, "fingerprint": base.fingerprint},
            "settings": settings,
            "best_step": best_step,
            "stopped": loop.stopped,
            "metrics": metrics,
            "resources": resources.to_json(),
            "started": started,
            "finished": _now(),
        }

    def tidy(self, run: PlannedRun, folder: Path) -> None:
        """See `systems.sweep.Context`."""
        if not sections(run)[2].keep_states:
            CheckpointStore(folder / "state").clear()

    def _evaluate(self, objective: Classification, folder: Path) -> dict[str, Any]:
        loaded = load_adapter(folder / "adapter")
        metrics = {}
        for split in ("validation", "test"):
            scores, logits = objective.score(loaded.model, split)
            task = self.dataset.task
            rows = make_predictions(self.dataset.splits[split], logits, task.label_names, multi_label=task.multi_label)
            write_predictions(folder / "predictions" / f"{split}.jsonl", rows)
            metrics[split] = scores.to_json()
        return metrics

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


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
