"""The experts of a `fuse` run: trained once and shared by all runs of a sweep, or opened from a folder.

An expert is a run of `classify` on one task, in a folder of the sweep's cache that is named by its hash. A sweep that
was stopped goes on inside it; a new target trains its own and finds the others there. What the expert of the target
scores is the single-task baseline. Not here: fusing (`systems.fuse`).

Example:
    >>> trained = train_alone(data.of("mood", 256, 1), settings, 1, place)          # doctest: +SKIP
    >>> trained.result["metrics"]["test"]["accuracy"]                               # doctest: +SKIP
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunelet.base.errors import RunFolderBusyError
from tunelet.base.files import clear_parts, write_json
from tunelet.base.locks import folder_lock
from tunelet.base.settings import Settings
from tunelet.data.records import Dataset
from tunelet.models.bases import Base
from tunelet.models.settings import ModelSettings
from tunelet.systems import classify
from tunelet.systems.fuse_folders import adapters_in
from tunelet.systems.fuse_recipe import FuseData, Sections, with_steps
from tunelet.systems.jobs import finished
from tunelet.systems.recipes import PlannedRun
from tunelet.training.events import Observer, RunFinished, ignore
from tunelet.tuning.fusion.adapters import Opened, build_backbone, open_experts


@dataclass(frozen=True)
class Place:
    """Where stages are kept, and who watches them.

    Attributes:
        cache: the sweep's folder for what runs share.
        observer: told of every event.
        interrupted: asked after every step.
        number: of the run, and of all runs.
    """

    cache: Path
    observer: Observer = ignore
    interrupted: Callable[[], bool] = lambda: False
    number: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Stage:
    """A training that is on disk: its folder, with ``adapter/`` and ``predictions/``, and what its run.json holds."""

    folder: Path
    result: dict[str, Any]

    @property
    def seconds(self) -> float:
        """Of training."""
        return float(self.result["resources"]["train_seconds"])


@dataclass(frozen=True)
class Experts:
    """The experts of a run.

    Attributes:
        opened: adapters in the order of the fusion.
        base_parameters: of the plain base.
        stages: those that were trained, by task.
    """

    opened: Opened
    base_parameters: int
    stages: dict[str, Stage] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all experts."""
        return tuple(expert.name for expert in self.opened.experts)


def train_alone(
    name: str, dataset: Dataset, settings: dict[str, Settings], seed: int, base: Base, place: Place
) -> Stage:
    """Train one task as `classify` does, or find it done.

    Args:
        name: for people.
        settings: the sections model, tuning and training of `classify`.
    """
    run = PlannedRun(f"{name}-{len(dataset.splits['train'])}", seed, settings)
    model = settings["model"]
    if not isinstance(model, ModelSettings):
        raise TypeError("expected the sections of `classify`")
    context = classify.Context(dataset, place.cache, {model: base})
    run_hash = context.run_hash(run)
    folder = place.cache / "experts" / f"{run.name}-{run_hash[:12]}"
    with waiting_lock(folder, place.interrupted):
        result = finished(folder, run_hash)
        if result is None:
            clear_parts(folder, deep=True)
            result = context.execute(run, folder, run_hash, place.observer, place.interrupted, place.number)
            write_json(folder / "run.json", result)
            context.tidy(run, folder)
            place.observer(RunFinished(run.name, *place.number, False, context.summary(result)))
    return Stage(folder, result)


@dataclass(frozen=True)
class ExpertPlan:
    """Which expert a run needs; equal plans are one training.

    Attributes:
        task: its task.
        size: training examples at most; None: all.
        seed: of its training and of the draw of its examples.
        own: whether it is the target's.
    """

    task: str
    size: int | None
    seed: int
    own: bool

    def dataset(self, data: FuseData) -> Dataset:
        """What it trains on."""
        return data.of(self.task, self.size, self.seed)

    def settings(self, chosen: Sections, examples: int) -> dict[str, Settings]:
        """The sections of `classify` for so many training examples."""
        experts = chosen.experts
        training = with_steps(experts.training, experts.least_steps, examples) if self.own else experts.training
        return {"model": chosen.model, "tuning": experts.tuning, "training": training}


def plan_expert(task: str, chosen: Sections, seed: int) -> ExpertPlan:
    """The expert of a task for a run with `seed`: the target's on the cell's examples, any other on its own."""
    cell, experts = chosen.cell, chosen.experts
    own = task == cell.target
    at = seed if own or experts.seed is None else experts.seed
    return ExpertPlan(task, cell.size if own else experts.limit, at, own)


def trained_experts(chosen: Sections, tasks: Iterable[str], *, from_folder: bool) -> list[str]:
    """Names of the tasks whose experts a fusion trains, in the recipe's order; others lie in a folder."""
    own, target = chosen.approach.own_expert, chosen.cell.target
    others = chosen.approach.other_experts and not from_folder
    return [task for task in tasks if (own if task == target else others)]


def expert_of(task: str, chosen: Sections, data: FuseData, seed: int, base: Base, place: Place) -> Stage:
    """The expert of a task for a run with `seed`, trained or found."""
    plan = plan_expert(task, chosen, seed)
    dataset = plan.dataset(data)
    settings = plan.settings(chosen, len(dataset.splits["train"]))
    return train_alone(f"expert-{task}", dataset, settings, plan.seed, base, place)


def find_experts(chosen: Sections, data: FuseData, seed: int, base: Base, place: Place) -> Experts:
    """All experts of a run, in the order of the recipe's tasks, trained where they are missing.

    Raises:
        AdapterError: an adapter of a folder is of another base, damaged, or no LoRA.
    """
    cell, stages = chosen.cell, dict[str, Stage]()
    folders: dict[str, Path] = {}
    if chosen.experts.folder is not None and chosen.approach.other_experts:
        # what is called as the target may have seen more of it than the cell allows
        folders = {k: v for k, v in adapters_in(chosen.experts.folder).items() if k != cell.target}
    for task in trained_experts(chosen, data.tasks, from_folder=bool(folders)):
        stages[task] = expert_of(task, chosen, data, seed, base, place)
    folders |= {task: stage.folder / "adapter" for task, stage in stages.items()}
    backbone = build_backbone(base)
    count = sum(parameter.numel() for parameter in backbone.parameters())
    return Experts(open_experts(folders, base, backbone), count, stages)


@contextmanager
def waiting_lock(folder: Path, interrupted: Callable[[], bool]) -> Iterator[None]:
    """Hold `folder`, after whoever holds it now: of several processes, one trains and the others find it done.

    Raises:
        KeyboardInterrupt: `interrupted` said so while waiting.
    """
    while True:
        held = folder_lock(folder)
        try:
            held.__enter__()
        except RunFolderBusyError:
            if interrupted():
                raise KeyboardInterrupt from None
            time.sleep(0.5)
            continue
        try:
            yield
        finally:
            held.__exit__(None, None, None)
        return
