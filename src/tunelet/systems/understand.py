"""System `understand`: does a model answer tasks that it was never trained on, and do random label names help it there?

It only chooses parts: meta-trained base -> model -> tuning on one source under a regime of label names -> every task,
with k demonstrations -> scores. A run is a block of the recipe, a source and a seed; blocks that tune nothing have no
source. Not here: training (`systems.understand_tuning`), asking (`systems.understand_evaluation`), the recipe's schema.

The source's validation split chooses the checkpoint; tasks under test choose nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tunelet.base.files import digest
from tunelet.systems.alone import Alone, now
from tunelet.systems.checking import StageCheck
from tunelet.systems.recipes import PlannedRun
from tunelet.systems.understand_cells import row_of_table
from tunelet.systems.understand_data import UnderstandData
from tunelet.systems.understand_facts import audit_of, data_facts
from tunelet.systems.understand_forecast import stages
from tunelet.systems.understand_material import Material
from tunelet.systems.understand_models import fingerprint_of_model
from tunelet.systems.understand_recipe import Sections, sections
from tunelet.systems.understand_run import Work
from tunelet.systems.understand_settings import CONTROLS
from tunelet.systems.understand_start import Start, start_key
from tunelet.systems.understand_started import Started, started
from tunelet.training.events import Note, Observer, ignore


@dataclass
class Context(Alone):
    """Tasks of a recipe, with what its runs share.

    Attributes:
        data: all tasks.
        cache: folder for what runs share.
    """

    data: UnderstandData
    cache: Path | None
    _weights: dict[str, tuple[str, str]] = field(default_factory=dict)
    _started: dict[str, Started] = field(default_factory=dict)

    def run_hash(self, run: PlannedRun) -> str:
        """See `systems.sweep.Context`."""
        chosen = sections(run)
        start = None if chosen.approach.regime in CONTROLS else self._start_of(chosen)
        known = "" if start is None else start.key(run.seed)
        ears = self.data.ears.get(str(chosen.model.ears), "")
        base = self._base(chosen)[1]
        return run.hash(system="understand", data=self.data.sha256, base=base, start=known, ears=ears)

    def data_facts(self) -> dict[str, Any]:
        """See `systems.sweep.Context`."""
        return data_facts(self.data)

    def audit(self) -> dict[str, Any]:
        """See `systems.sweep.Context`."""
        return audit_of(self.data)

    def more(self, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The keys ``cells`` and ``base_runs`` of result.json."""
        bases = {run["start"]["fingerprint"]: run["start"] for run in runs if run.get("start")}
        return {"cells": [row_of_table(cell) for run in runs for cell in run["cells"]], "base_runs": [*bases.values()]}

    def execute(
        self,
        run: PlannedRun,
        folder: Path,
        run_hash: str,
        observer: Observer,
        interrupted: Callable[[], bool],
        place: tuple[int, int],
    ) -> dict[str, Any]:
        """Do one run; returns what run.json holds."""
        begun, chosen = now(), sections(run)
        material = self._material
        material.observer, material.interrupted = observer, interrupted
        before = material.seconds
        name, fingerprint = self._base(chosen)
        source = self._source(chosen)
        head = {
            "name": run.name,
            "group": run.group,
            "method": chosen.tuning.method if chosen.approach.tunes else chosen.approach.regime,
            "label": chosen.cell.label,
            "regime": chosen.approach.regime,
            "source": source,
            "pool": chosen.approach.pool,
            "seed": run.seed,
            "hash": run_hash,
            "base": {"name": name, "fingerprint": fingerprint},
            "settings": {key: section.model_dump(mode="json") for key, section in run.settings.items()},
            "started": begun,
        }
        work = Work(self.data, run, chosen, source, folder, run_hash, material, observer, interrupted, place)
        if chosen.approach.regime in CONTROLS:
            done = work.control()
        else:
            cache = self.cache or folder / ".cache"
            done = work.model(cache, self._started_of(chosen, run, cache, observer, interrupted))
        done["stages"]["vectors"] = material.seconds - before
        return {**head, **done, "finished": now()}

    def stages(self, runs: Sequence[PlannedRun]) -> list[StageCheck]:
        """What the runs of a recipe will cost; see `systems.checking`."""
        return stages(self.data, runs)

    def summary(self, result: dict[str, Any]) -> str:
        """See `systems.sweep.Context`."""
        main = [cell for cell in result["cells"] if cell["main"] and not cell["matched"]]
        mean = sum(cell["macro_f1"] for cell in main) / len(main) if main else 0.0
        return f"macro-F1 {mean:.2%} over {len(main)} cells of tasks that it was not tuned on"

    def _source(self, chosen: Sections) -> str:
        source = chosen.cell.source
        return self.data.names[source] if chosen.approach.tunes else source

    def _base(self, chosen: Sections) -> tuple[str, str]:
        if chosen.approach.regime in CONTROLS:
            base = self._material.embedder.base
            return base.name, base.fingerprint
        key = digest(chosen.model.model_dump(mode="json"))
        if key not in self._weights:
            self._weights[key] = fingerprint_of_model(chosen.model)
        return self._weights[key]

    def _start_of(self, chosen: Sections) -> Start | None:
        return self.data.starts.get(start_key(chosen.base, chosen.model))

    @cached_property
    def _material(self) -> Material:
        return Material(self.data, self.cache)

    def _started_of(
        self, chosen: Sections, run: PlannedRun, cache: Path, observer: Observer, interrupted: Callable[[], bool]
    ) -> Started | None:
        """The meta-trained base of a run, made if it is not there."""
        start = self._start_of(chosen)
        if start is None:
            return None
        key = start.key(run.seed)
        if key in self._started:
            return replace(self._started[key], seconds=0.0)
        self._started[key] = started(start, run.seed, cache, observer, interrupted)
        return self._started[key]


def prepare(data: UnderstandData, cache: Path | None, observer: Observer = ignore) -> Context:
    """Take in the tasks of a recipe and tell what they are."""
    for name, told in data.tasks.items():
        sizes = ", ".join(f"{count:,} {part}" for part, count in told.sizes.items() if count)
        observer(Note(f"data: {name} ({len(told.task.labels)} classes) from {told.task.data.path}: {sizes}"))
    return Context(data, cache)
