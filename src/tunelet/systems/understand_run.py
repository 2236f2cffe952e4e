"""One run of `understand`: tuned on its source, if it tunes, then asked every task in every way.

Not here: what runs share (`systems.understand_material`), and the meta-trained base (`systems.understand_started`).

Example:
    >>> work = Work(data, run, sections(run), "meld", folder, known, material, ignore, asked, place)    # doctest: +SKIP
    >>> work.model(Path("cache"), None)["cells"][0]["macro_f1"]                                         # doctest: +SKIP
    0.41
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tunelet.base.files import folder_bytes, sha256_file, write_json
from tunelet.evaluation.understanding import score_answers
from tunelet.models.prompt_model import remembering
from tunelet.systems.recipes import PlannedRun
from tunelet.systems.understand_cells import Cells
from tunelet.systems.understand_data import UnderstandData
from tunelet.systems.understand_ears import ears_folder
from tunelet.systems.understand_evaluation import Asker, answer_row, asked_in
from tunelet.systems.understand_material import Material
from tunelet.systems.understand_models import KINDS
from tunelet.systems.understand_opened import Opened, Wanted
from tunelet.systems.understand_recipe import Sections
from tunelet.systems.understand_started import Started
from tunelet.systems.understand_tuning import Ready, make_ready
from tunelet.systems.understand_ways import Way, ways_of
from tunelet.training.events import Note, Observer, RunStarted, named
from tunelet.training.resources import ResourceMeter
from tunelet.training.tracking import open_trackers
from tunelet.tuning.trainable import trainable_table

_NO_PROMPTS = {"prompts": 0, "demonstrations": 0, "dropped": 0}


@dataclass(frozen=True)
class Work:
    """One run.

    Attributes:
        data: all tasks.
        run: as planned; `chosen` are its sections.
        source: name of the task that is tuned on, or none.
        folder: of the run; `hash` is that of all that its result depends on.
        material: what runs share.
        observer, interrupted, place: as `systems.sweep.Context.execute` gets them.
    """

    data: UnderstandData
    run: PlannedRun
    chosen: Sections
    source: str
    folder: Path
    hash: str
    material: Material
    observer: Observer
    interrupted: Callable[[], bool]
    place: tuple[int, int]

    @property
    def seed(self) -> int:
        """Of orders and random demonstrations when tasks are asked."""
        own = self.chosen.evaluation.seed
        return self.run.seed if own is None else own

    def control(self) -> dict[str, Any]:
        """Answers without a model of prompts."""
        self.observer(RunStarted(self.run.name, *self.place, 0, 0))
        cells = self._cells("")
        ways = ways_of(self.data.settings, self.chosen.evaluation, hears=False, tuned=False, control=True)
        meter, found = ResourceMeter("cpu"), []
        with meter:
            for task, way in self._every(ways):
                told = self.data.tasks[task].task
                cell = cells.get(told, way)
                if cell is None:
                    answered = self.material.answers_without_model(task, way, self.chosen.approach.regime)
                    scores = score_answers(
                        [query.labels for query, _, _ in answered],
                        [answer.labels for _, answer, _ in answered],
                        told.label_names,
                        multi_label=told.multi_label,
                    )
                    rows = (
                        answer_row(query, answer, [one.key for one in shown], 0) for query, answer, shown in answered
                    )
                    cell = cells.put(told, way, scores, rows)
                found.append(cell)
        total = self.material.embedder_parameters
        return {
            "train_examples": 0,
            "best_step": None,
            "stopped": None,
            "metrics": {},
            "resources": meter.resources(trainable_parameters=0, total_parameters=total, adapter_bytes=0).to_json(),
            "maps": None,
            "prompts": {"tuning": dict(_NO_PROMPTS), "evaluation": dict(_NO_PROMPTS)},
            "start": None,
            "stages": {"base": 0.0, "evaluation": 0.0, "answers_per_second": None},
            "cells": found,
        }

    def model(self, cache: Path, start: Started | None) -> dict[str, Any]:
        """A model: tuned, if the approach tunes, then asked.

        Args:
            cache: folder for what runs share.
            start: the meta-trained base.
        """
        chosen, ears = self.chosen, self.chosen.model.ears
        wanted = Wanted(
            chosen.model,
            chosen.tuning,
            None if start is None else start.folder,
            chosen.base.train_heads,
            self.run.seed,
            cache,
            None if ears is None else ears_folder(ears, cache, self.observer, self.interrupted, self.data.data_dir),
            self.material.embedder,
            self.observer,
            self.interrupted,
        )
        opened = KINDS[chosen.model.kind](wanted)
        done = self._tuned(opened) if chosen.approach.tunes else self._untuned(opened)
        with remembering(opened.model):
            asked = self._asked(opened, str(done.pop("weights")))
        done["prompts"]["evaluation"] = {
            "prompts": sum(cell["n"] for cell in asked["cells"]),
            "demonstrations": sum(cell["shown"] for cell in asked["cells"]),
            "dropped": sum(cell["dropped"] for cell in asked["cells"]),
        }
        stages = {"base": 0.0 if start is None else start.seconds, **asked.pop("stages")}
        return {**done, "start": None if start is None else start.to_json(), "stages": stages, **asked}

    def _tuned(self, opened: Opened) -> dict[str, Any]:
        chosen = self.chosen
        with ExitStack() as closing:
            settings = {key: section.model_dump(mode="json") for key, section in self.run.settings.items()}
            trackers = open_trackers(chosen.training.trackers, self.run.name, settings, self.folder)
            closing.callback(trackers.finish)
            given = opened, self.source, self.material, chosen, self.run.seed, self.folder, self.hash
            ready = make_ready(*given, trackers=[trackers], interrupted=self.interrupted)
            loop = ready.loop
            table = trainable_table(ready.tuned.model)
            write_json(self.folder / "trainable.json", table.to_json())
            notes = loop.restore()
            self.observer(RunStarted(self.run.name, *self.place, loop.step, loop.total_steps))
            for note in [*notes, Note(f"{table.trainable:,} of {table.total:,} parameters train; see trainable.json")]:
                self.observer(note)
            with loop.meter:
                for event in loop.events():
                    self.observer(named(event, self.run.name))
        return self._ended(opened, ready, table.trainable, table.total)

    def _ended(self, opened: Opened, ready: Ready, trainable: int, total: int) -> dict[str, Any]:
        """Best weights, their validation scores, and the adapter's folder."""
        loop = ready.loop
        best = loop.load_best()
        stored = self.folder / "adapter"
        weights = sha256_file(self.folder / "state" / "best" / "weights.safetensors")
        scores = {**ready.objective.score(ready.tuned.model).to_json(), "loss": None}
        opened.save(stored, ready.tuned)
        resources = loop.meter.resources(
            trainable_parameters=trainable, total_parameters=total, adapter_bytes=folder_bytes(stored)
        )
        return {
            "train_examples": len(ready.objective.train),
            "best_step": best,
            "stopped": loop.stopped,
            "metrics": {"validation": scores},
            "resources": resources.to_json(),
            "maps": ready.batches.maps.to_json(),
            "prompts": {"tuning": ready.batches.prompts.to_json()},
            "weights": weights,
        }

    def _untuned(self, opened: Opened) -> dict[str, Any]:
        self.observer(RunStarted(self.run.name, *self.place, 0, 0))
        opened.module.to("cuda" if torch.cuda.is_available() else "cpu")
        total = sum(parameter.numel() for parameter in opened.module.parameters())
        with ResourceMeter("cpu") as meter:
            pass
        return {
            "train_examples": 0,
            "best_step": None,
            "stopped": None,
            "metrics": {},
            "resources": meter.resources(trainable_parameters=0, total_parameters=total, adapter_bytes=0).to_json(),
            "maps": None,
            "prompts": {"tuning": dict(_NO_PROMPTS)},
            "weights": self.hash,
        }

    def _asked(self, opened: Opened, weights: str) -> dict[str, Any]:
        """Cells of every task in every way."""
        data, evaluation = self.data, self.chosen.evaluation
        ways = ways_of(data.settings, evaluation, hears=opened.model.hears, tuned=self.chosen.approach.tunes)
        cells, found, asked, seconds = self._cells(weights), [], 0, 0.0
        opened.module.eval()
        for task, way in self._every(ways):
            told = data.tasks[task].task
            cell = cells.get(told, way)
            if cell is None:
                began = time.perf_counter()
                asker = Asker(
                    opened.model,
                    told,
                    self.material.test(task),
                    self.material.shown(task, opened.ears),
                    evaluation,
                    self.seed,
                    self.chosen.model.max_length,
                    opened.answering,
                    opened.places,
                    self.interrupted,
                    None if opened.ears is None else opened.ears.hear,
                )
                answered = asker.ask(way)
                seconds, asked = seconds + time.perf_counter() - began, asked + answered.scores.n
                cell = cells.put(told, way, answered.scores, answered.rows())
                self.observer(Note(f"{self.run.name}: {task} {way.name}: macro-F1 {cell['macro_f1']:.2%}"))
            found.append(cell)
        stages = {"evaluation": seconds, "answers_per_second": asked / seconds if asked else None}
        return {"cells": found, "stages": stages}

    def _every(self, ways: Sequence[Way]) -> Iterator[tuple[str, Way]]:
        """Tasks and the ways in which each can be asked."""
        for task in self.data.asked:
            for way in ways:
                if asked_in(self.material.test(task), way):
                    yield task, way

    def _cells(self, weights: str) -> Cells:
        cell, approach = self.chosen.cell, self.chosen.approach
        return Cells(self.folder, cell.label, approach.regime, self.source, self.run.seed, weights)
