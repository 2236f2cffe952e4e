"""System `fuse`: do the adapters of several tasks help each other when attention mixes them?

It only chooses parts: experts -> vectors or layers -> fusion -> the loop -> the fusion's folder -> scores. A run is one
cell of the table: a method, a target, a training size, a seed. Not here: experts (`systems.fuse_experts`), what trains
(`systems.fuse_training`), the recipe's schema (`systems.fuse_recipe`).

Validation chooses the checkpoint; the test split is read once, after that.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunelet.base.files import folder_bytes
from tunelet.data.audit import audit
from tunelet.evaluation.predictions import make_predictions, write_predictions
from tunelet.models.bases import Base, load_base
from tunelet.models.settings import ModelSettings
from tunelet.systems.alone import Alone, now
from tunelet.systems.checking import StageCheck
from tunelet.systems.fuse_experts import Place, Stage, expert_of, train_alone
from tunelet.systems.fuse_facts import attention_facts, cell_of, task_facts
from tunelet.systems.fuse_folders import adapters_sha256
from tunelet.systems.fuse_forecast import Forecasts
from tunelet.systems.fuse_kinds import Trial, run_trial
from tunelet.systems.fuse_recipe import FuseData, sections, with_steps
from tunelet.systems.fuse_training import Work
from tunelet.systems.recipes import PlannedRun
from tunelet.training.estimate import Estimate
from tunelet.training.events import Note, Observer, RunStarted, ignore, named
from tunelet.training.tracking import open_trackers


@dataclass
class Context(Alone):
    """Tasks of a recipe, and bases by name, loaded once.

    Attributes:
        data: all tasks.
        cache: folder for what runs share.
    """

    data: FuseData
    cache: Path | None
    _bases: dict[ModelSettings, Base] = field(default_factory=dict)
    _forecasts: Forecasts | None = None

    def run_hash(self, run: PlannedRun) -> str:
        """See `systems.sweep.Context`."""
        folder = adapters_sha256(sections(run).experts.folder)
        return run.hash(system="fuse", data=self.data.sha256, base=self.base(run).fingerprint, adapters=folder)

    def data_facts(self) -> dict[str, Any]:
        """See `systems.sweep.Context`."""
        sources = [dataset.source for dataset in self.data.tasks.values()]
        every = [dataset.sizes for dataset in self.data.tasks.values()]
        return {
            "task": ", ".join(self.data.tasks),
            "source": {
                "kind": ", ".join(sorted({source.kind for source in sources})),
                "location": ", ".join(source.location for source in sources),
            },
            "splits": {split: sum(sizes[split] for sizes in every) for split in every[0]},
            "sha256": self.data.sha256,
            "targets": list(self.data.settings.scored),
            "sizes": list(self.data.settings.sizes),
            "tasks": {name: task_facts(dataset) for name, dataset in self.data.tasks.items()},
        }

    def audit(self) -> dict[str, Any]:
        """See `systems.sweep.Context`."""
        found = {name: audit(dataset) for name, dataset in self.data.tasks.items()}
        findings = [
            {"severity": finding.severity, "message": f"{name}: {finding.message}"}
            for name, one in found.items()
            for finding in one.findings
        ]
        return {"findings": findings, "tasks": {name: one.to_json() for name, one in found.items()}}

    def more(self, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The key ``cells`` of result.json: a row for each finished run."""
        return {"cells": [cell_of(run) for run in runs]}

    def base(self, run: PlannedRun) -> Base:
        """The base of a run."""
        settings = sections(run).model
        if settings not in self._bases:
            self._bases[settings] = load_base(settings)
        return self._bases[settings]

    def forecast(self, run: PlannedRun) -> Estimate:
        """What a run costs beside what runs share; see `systems.checking`."""
        return self._forecaster.of(run, self.base(run))

    def stages(self, runs: Sequence[PlannedRun]) -> list[StageCheck]:
        """Experts, vectors, and the methods' own trainings; see `systems.checking`."""
        return self._forecaster.stages(runs, self.base)

    @property
    def _forecaster(self) -> Forecasts:
        self._forecasts = self._forecasts or Forecasts(self.data)
        return self._forecasts

    def execute(
        self,
        run: PlannedRun,
        folder: Path,
        run_hash: str,
        observer: Observer,
        interrupted: Callable[[], bool],
        place: tuple[int, int],
    ) -> dict[str, Any]:
        """Do one cell; returns what run.json holds."""
        started, chosen, base = now(), sections(run), self.base(run)
        settings = {key: section.model_dump(mode="json") for key, section in run.settings.items()}
        at = Place(self.cache or folder / ".cache", observer, interrupted, place)
        head = {
            "name": run.name,
            "group": run.group,
            "method": chosen.approach.method,
            "label": chosen.cell.label,
            "target": chosen.cell.target,
            "size": chosen.cell.size,
            "train_examples": len(self.data.of(chosen.cell.target, chosen.cell.size, run.seed).splits["train"]),
            "seed": run.seed,
            "hash": run_hash,
            "base": {"name": base.name, "fingerprint": base.fingerprint},
            "settings": settings,
            "started": started,
        }
        if chosen.approach.method in ("single", "full"):
            done = self._alone(run, base, at)
            _copy(done, folder)
            kept = {key: done.result[key] for key in ("best_step", "stopped", "metrics", "resources")}
            return {**head, **kept, "stages": {"experts": 0.0, "vectors": 0.0}, "finished": now()}
        with ExitStack() as closing:
            trackers = open_trackers(chosen.training.trackers, run.name, settings, folder)
            closing.callback(trackers.finish)
            work = Work(chosen, run.seed, folder, run_hash, interrupted, (trackers,))
            trial = run_trial(work, self.data, base, at)
            loop = trial.loop
            notes = loop.restore()
            observer(RunStarted(run.name, *place, loop.step, loop.total_steps))
            for note in notes:
                observer(note)
            with loop.meter:
                for step in loop.evaluate_start() if trial.from_own else ():
                    observer(named(step, run.name))
                for step in loop.events():
                    observer(named(step, run.name))
        return {**head, **self._complete(trial, folder), "finished": now()}

    def _alone(self, run: PlannedRun, base: Base, place: Place) -> Stage:
        """The single-task adapter, which is the target's expert; or full fine-tuning of the target."""
        chosen, target = sections(run), sections(run).cell.target
        if chosen.approach.method == "single":
            return expert_of(target, chosen, self.data, run.seed, base, place)
        dataset = self.data.of(target, chosen.cell.size, run.seed)
        training = with_steps(chosen.training, chosen.experts.least_steps, len(dataset.splits["train"]))
        parts = {"model": chosen.model, "tuning": chosen.tuning, "training": training}
        return train_alone(f"whole-{target}", dataset, parts, run.seed, base, place)

    def _complete(self, trial: Trial, folder: Path) -> dict[str, Any]:
        """Best weights, their scores on validation and test, the fusion's folder, and what it cost."""
        loop = trial.loop
        best = loop.load_best()
        began = time.perf_counter()
        ended = {split: trial.score(split) for split in ("validation", "test")}
        seconds = time.perf_counter() - began
        dataset = trial.dataset
        for split, one in ended.items():
            rows = make_predictions(dataset.splits[split], one.logits, dataset.task.label_names, multi_label=False)
            write_predictions(folder / "predictions" / f"{split}.jsonl", rows)
        stored = trial.save(folder / "adapter")
        trained = sum(p.numel() for p in loop.tuned.model.parameters() if p.requires_grad)
        resources = loop.meter.resources(
            trainable_parameters=trained,
            total_parameters=trained + trial.frozen,
            adapter_bytes=folder_bytes(stored) if stored is not None else 0,
        ).to_json()
        tested = sum(len(dataset.splits[split]) for split in ended)
        stages = {**trial.stages, "answers_per_second": tested / seconds if trial.from_text else None}
        return {
            "best_step": best,
            "stopped": loop.stopped,
            "metrics": {split: one.scores.to_json() for split, one in ended.items()},
            "resources": resources,
            "stages": stages,
            "attention": attention_facts(ended["test"], trial),
        }

    def summary(self, result: dict[str, Any]) -> str:
        """See `systems.sweep.Context`."""
        metrics = result["metrics"]
        return (
            f"validation {metrics['validation']['accuracy']:.2%} at step {result['best_step']}, test "
            f"{metrics['test']['accuracy']:.2%}, {result['resources']['train_seconds']:.1f} s"
        )


def prepare(data: FuseData, cache: Path | None, observer: Observer = ignore) -> Context:
    """Take in the tasks of a recipe and tell what is odd in them."""
    for name, dataset in data.tasks.items():
        sizes = ", ".join(f"{len(examples):,} {split}" for split, examples in dataset.splits.items())
        observer(Note(f"data: {name} from {dataset.source.location} ({dataset.source.kind}): {sizes}"))
    return Context(data, cache)


def _copy(stage: Stage, folder: Path) -> None:
    for name in ("predictions", "metrics.jsonl", "trainable.json"):
        source, target = stage.folder / name, folder / name
        folder.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.is_file():
            shutil.copyfile(source, target)
