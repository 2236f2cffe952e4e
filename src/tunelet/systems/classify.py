"""System `classify`: full fine-tuning against low-rank adaptation for text classification (Gjer 2023).

It only chooses parts: data -> base -> what trains -> the loop -> the adapter folder -> scores. Not here: the sweep over
runs and the report (`systems.sweep`), the recipe's schema (`systems.classify_recipe`).

The numbers of a run come from its adapter folder, loaded again in fp32 as a user would load it; the test split is
read once, after the best checkpoint was chosen on validation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunelet.base.errors import InputError, Problem
from tunelet.base.files import digest, write_json
from tunelet.data.audit import audit
from tunelet.data.records import Dataset
from tunelet.data.tokens import tokenise
from tunelet.evaluation.predictions import make_predictions, write_predictions
from tunelet.models.bases import Base, load_base
from tunelet.models.settings import ModelSettings
from tunelet.systems.alone import now
from tunelet.systems.classify_objective import Classification
from tunelet.systems.classify_recipe import sections
from tunelet.systems.classify_training import Begun, build_loop, forecast
from tunelet.systems.jobs import Job
from tunelet.systems.recipes import PlannedRun
from tunelet.systems.training_run import cost_of, longest_batch, memory_of, opening, train_to_end
from tunelet.training.checkpoint import CheckpointStore
from tunelet.training.estimate import Estimate
from tunelet.training.events import Note, Observer, named
from tunelet.training.together import LoopGroup
from tunelet.training.tracking import open_trackers
from tunelet.tuning.folder import load_adapter, save_adapter
from tunelet.tuning.trainable import trainable_table

#: methods that change no frozen weight, so that runs can share them
GROUPED = ("lora", "rslora", "lora+", "lora-fa")


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
        with ExitStack() as closing:
            begun = self.begin(run, folder, run_hash, closing, interrupted)
            for event in opening(run, begun.loop, begun.table, place, begun.loop.restore()):
                observer(event)
            train_to_end(begun.loop, run, observer)
        return self.complete(begun)

    def together(self, run: PlannedRun) -> str | None:
        """See `systems.sweep.Context`: what runs have in common that can share passes through the base."""
        model, tuning, training = sections(run)
        holds = tuning.layers is not None and not tuning.frozen_dropout  # outputs held for each run alone
        if tuning.method not in GROUPED or tuning.engine == "peft" or tuning.bias != "none" or holds:
            return None
        shared = {key: getattr(training, key) for key in ("batch", "precision", "frozen", "threads")}
        same = (tuning.dropout_sharing, tuning.gradient_checkpointing)
        return digest([repr(model), run.seed, repr(shared), same])

    def execute_together(
        self, jobs: Sequence[Job], observer: Observer, interrupted: Callable[[], bool]
    ) -> Iterator[tuple[Job, dict[str, Any]]]:
        """See `systems.sweep.Context`."""
        with ExitStack() as closing:
            begun = [self.begin(job.run, job.folder, job.hash, closing) for job in jobs]
            try:
                group = LoopGroup([one.loop for one in begun], interrupted)
            except ValueError as error:
                raise InputError(
                    Problem(f"these runs cannot train together: {error}", hint="run without --together")
                ) from error
            for one, job, notes in zip(begun, jobs, group.restore(), strict=True):
                for event in opening(one.run, one.loop, one.table, job.place, notes):
                    observer(event)
            for one in begun:
                closing.enter_context(one.loop.meter)
            for number, event in group.events():
                observer(named(event, begun[number].run.name))
        for job, one in zip(jobs, begun, strict=True):
            yield job, {**self.complete(one), "together": len(jobs)}

    def begin(
        self,
        run: PlannedRun,
        folder: Path,
        run_hash: str,
        closing: ExitStack,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> Begun:
        """A run that is ready to train; `closing` ends its trackers."""
        started = now()
        objective, base = self.objective(run), self.base(run)
        settings = {key: section.model_dump(mode="json") for key, section in run.settings.items()}
        trackers = open_trackers(objective.training.trackers, run.name, settings, folder)
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
        return Begun(run, folder, run_hash, started, settings, objective, base, loop, table)

    def complete(self, begun: Begun) -> dict[str, Any]:
        """Save the adapter of a run that has ended, evaluate it as loaded from disk; what run.json holds."""
        run, folder, loop, objective, table = begun.run, begun.folder, begun.loop, begun.objective, begun.table
        best_step = loop.load_best()
        memory = memory_of(loop, longest_batch(objective.splits["train"].lengths, loop.settings.batch))
        save_adapter(folder / "adapter", loop.tuned, begun.base, self.dataset.task)
        metrics = self._evaluate(objective, folder)
        resources = cost_of(loop, table, memory, folder / "adapter")
        return {
            "name": run.name,
            "group": run.group,
            "method": sections(run)[1].method,
            "seed": run.seed,
            "hash": begun.hash,
            "base": {"name": begun.base.name, "fingerprint": begun.base.fingerprint},
            "settings": begun.settings,
            "best_step": best_step,
            "stopped": loop.stopped,
            "metrics": metrics,
            "resources": resources,
            "started": begun.started,
            "finished": now(),
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
