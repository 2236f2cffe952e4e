"""System `understand-base`: an encoder becomes a prefix model that answers tasks it was told in words.

It is meta-trained on episodes of many tasks (`data.understanding.episodes`) in the one loop; what comes out is the
folder that `understand` tunes from. It only chooses parts: tasks -> pools -> episodes -> base -> what trains -> the
loop -> the folder -> scores. `base_stage` does one such run for another system, or finds it done. Not here: the sweep
over runs and the report (`systems.sweep`), the recipe's schema (`systems.understand_base_recipe`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunelet.base.files import clear_parts, write_json
from tunelet.models.bases import Base, load_base
from tunelet.models.sentence_embedder import SentenceEmbedder
from tunelet.models.settings import ModelSettings
from tunelet.systems.alone import Alone, now
from tunelet.systems.fuse_experts import waiting_lock
from tunelet.systems.jobs import finished
from tunelet.systems.recipes import LoadedRecipe, PlannedRun
from tunelet.systems.settling import settled
from tunelet.systems.training_run import cost_of, memory_of, opening, train_to_end
from tunelet.systems.understand_base_data import BaseData
from tunelet.systems.understand_base_recipe import BaseStageSettings, sections
from tunelet.systems.understand_base_training import Meta, build_meta, forecast, sample_of
from tunelet.training.estimate import Estimate
from tunelet.training.events import Note, Observer, RunFinished
from tunelet.training.tracking import open_trackers
from tunelet.tuning.prefix_folder import load_prefix, save_prefix
from tunelet.tuning.trainable import trainable_table

#: To be raised when the same settings would give other episodes or another model.
_VERSION = "1"


@dataclass
class Context(Alone):
    """The tasks of a recipe; bases and their embeddings, made once.

    Attributes:
        data: what the recipe reads.
        cache: folder for embeddings.
        observer: told what is made.
    """

    data: BaseData
    cache: Path
    observer: Observer
    _bases: dict[ModelSettings, Base] = field(default_factory=dict)
    _embedders: dict[str, SentenceEmbedder] = field(default_factory=dict)
    _held: list[Any] = field(default_factory=list)

    def run_hash(self, run: PlannedRun) -> str:
        """See `systems.sweep.Context`."""
        base = self.base(run)
        facts = {"data": self.data.sha256, "base": base.fingerprint, "tokenizer": base.tokenizer_sha256}
        return run.hash(system="understand-base", version=_VERSION, **facts)

    def data_facts(self) -> dict[str, Any]:
        """See `systems.sweep.Context`."""
        train, validation = self.data.train, self.data.validation
        return {
            "source": {"kind": "tasks", "location": "task files"},
            "sha256": self.data.sha256,
            "task": "meta-training",
            "tasks": [
                {
                    "name": name,
                    "classes": len(task.labels),
                    "multi_label": task.multi_label,
                    "train": len(train.get(name, ())),
                    "validation": len(validation.get(name, ())),
                }
                for name, task in self.data.tasks.items()
            ],
            "excluded": list(self.data.settings.exclude),
            "left_out": list(self.data.left_out),
            "splits": {
                "train": sum(map(len, train.values())),
                "validation": sum(map(len, validation.values())),
            },
        }

    def audit(self) -> dict[str, Any]:
        """See `systems.sweep.Context`."""
        findings = []
        if self.data.left_out:
            told = f"left out, because they or their data are under test: {', '.join(self.data.left_out)}"
            findings.append({"severity": "note", "message": told})
        for name, count in self.data.repeated.items():
            message = f"{name}: {count:,} examples have a text of a task under test; they are dropped"
            findings.append({"severity": "note", "message": message})
        for name in self.data.unread:
            message = f"the texts of {name}, which is under test, cannot be read: repeats of them were not looked for"
            findings.append({"severity": "warning", "message": message})
        return {"findings": findings}

    def base(self, run: PlannedRun) -> Base:
        """The base of a run."""
        settings = sections(run).model
        if settings not in self._bases:
            self._bases[settings] = load_base(settings)
        return self._bases[settings]

    def meta(self, run: PlannedRun, folder: Path, identity: str, **options: Any) -> Meta:
        """Everything of a run, ready to train."""
        base = self.base(run)
        embedder = self._embedders.setdefault(base.fingerprint, SentenceEmbedder(base))
        return build_meta(run, self.data, base, embedder, self.cache, folder, self.observer, identity, **options)

    def forecast(self, run: PlannedRun) -> Estimate:
        """What a run will cost; see `systems.checking`."""
        with tempfile.TemporaryDirectory() as folder:
            return forecast(run, self.meta(sample_of(run), Path(folder), "forecast"))

    def execute(
        self,
        run: PlannedRun,
        folder: Path,
        run_hash: str,
        observer: Observer,
        interrupted: Callable[[], bool],
        place: tuple[int, int],
    ) -> dict[str, Any]:
        """Train, save the folder, evaluate it as loaded from disk; returns what run.json holds."""
        started = now()
        settings = {key: section.model_dump(mode="json") for key, section in run.settings.items()}
        with ExitStack() as closing:
            trackers = open_trackers(sections(run).training.trackers, run.name, settings, folder)
            closing.callback(trackers.finish)
            meta = self.meta(run, folder, run_hash, trackers=[trackers], interrupted=interrupted)
            loop, objective, base = meta.loop, meta.objective, self.base(run)
            table = trainable_table(loop.tuned.model)
            write_json(folder / "trainable.json", table.to_json())
            for event in opening(run, loop, table, place, loop.restore()):
                observer(event)
            train_to_end(loop, run, observer)
        best_step = loop.load_best()
        memory = memory_of(loop, meta.longest)
        save_prefix(folder / "adapter", loop.tuned, base, scores={"tasks": sorted(self.data.tasks)})
        loaded = load_prefix(folder / "adapter", base=base.name, embedder=meta.embedder)
        loaded.model.to(loop.accelerator.device)
        return {
            "name": run.name,
            "group": run.group,
            "method": sections(run).tuning.method,
            "seed": run.seed,
            "hash": run_hash,
            "base": {"name": base.name, "fingerprint": base.fingerprint},
            "prefix": loaded.manifest.seal,
            "settings": settings,
            "best_step": best_step,
            "stopped": loop.stopped,
            "episodes": meta.counts.facts,
            "metrics": {"validation": objective.evaluate(loaded.model)},
            "cells": [
                {**after.to_json(), "untrained": before.correct}
                for after, before in zip(objective.cells(loaded.model), meta.untrained(), strict=True)
            ],
            "resources": cost_of(loop, table, memory, folder / "adapter"),
            "started": started,
            "finished": now(),
        }

    def summary(self, result: dict[str, Any]) -> str:
        """See `systems.sweep.Context`."""
        found, resources, cells = result["metrics"]["validation"], result["resources"], result["cells"]
        before = sum(cell["untrained"] for cell in cells) / max(1, sum(cell["n"] for cell in cells))
        return (
            f"{found['accuracy']:.1%} of the episodes of validation right at step {result['best_step']} "
            f"({before:.1%} untrained), {resources['train_seconds']:.0f} s, "
            f"{resources['tokens_per_second']:,.0f} tokens/s"
        )


def prepare(data: BaseData, cache: Path | None, observer: Observer) -> Context:
    """Take in the tasks of a recipe and tell what is odd in them."""
    temporary = tempfile.TemporaryDirectory() if cache is None else None
    place = Path(temporary.name) if temporary is not None else cache or Path()
    context = Context(data, place, observer, _held=[temporary])
    train = sum(map(len, data.train.values()))
    observer(Note(f"data: {len(data.train)} tasks to train on with {train:,} examples"))
    for finding in context.audit()["findings"]:
        observer(Note(f"audit, {finding['severity']}: {finding['message']}"))
    return context


def base_stage(
    settings: BaseStageSettings,
    data: BaseData,
    cache: Path,
    observer: Observer,
    interrupted: Callable[[], bool] = lambda: False,
) -> Path:
    """The folder of a meta-trained model, made now or found: `tuning.prefix_folder.start_from` takes it.

    It lies in `cache`, under a name with the hash of all that it depends on; what was interrupted goes on there. Of
    several processes one trains, and the others wait.

    Args:
        data: what `systems.understand_base_data.read_tasks` gave for ``settings.data``; tasks under test are excluded
            there.
        cache: folder that the runs of a sweep share.

    Raises:
        KeyboardInterrupt: `interrupted` said so; the state is saved.
    """
    asked = LoadedRecipe("understand-base", "base", "", settings.data, (settings.run(),), {})
    (run,) = settled(asked).runs
    context = Context(data, cache, observer)
    run_hash = context.run_hash(run)
    folder = cache / "understand-base" / f"{run.name}-{run_hash[:12]}"
    with waiting_lock(folder, interrupted):
        if finished(folder, run_hash) is None:
            clear_parts(folder, deep=True)
            result = context.execute(run, folder, run_hash, observer, interrupted, (1, 1))
            write_json(folder / "run.json", result)
            context.tidy(run, folder)
            observer(RunFinished(run.name, 1, 1, False, context.summary(result)))
    return folder / "adapter"
