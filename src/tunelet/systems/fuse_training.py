"""Chooses the parts of one `fuse` training, ready to train. Not here: what is done with the weights (`systems.fuse`).

Every kind trains in the one loop, with its batches, its checkpoint by validation, its early stopping and averaging: a
fusion on cached vectors, a fusion inside layers, one adapter for all tasks, and adapters and fusion together.

Example:
    >>> ready = on_vectors(module, objective, work)                     # doctest: +SKIP
    >>> for event in ready.events(): ...                                # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tunelet.data.batching import LengthBucketBatches
from tunelet.data.records import Task
from tunelet.data.task_batches import TaskBatches
from tunelet.models.bases import Base
from tunelet.models.classifier import build_classifier
from tunelet.systems.classify_objective import Classification
from tunelet.systems.fuse_objective import SeveralTasks, VectorObjective
from tunelet.systems.fuse_recipe import Sections
from tunelet.systems.training_run import make_optimizer, steps_of, use_threads
from tunelet.training.loop import Batches, Loop, Objective
from tunelet.training.resources import ResourceMeter
from tunelet.training.tracking import Tracker
from tunelet.tuning import full
from tunelet.tuning.fusion.adapters import build_backbone
from tunelet.tuning.fusion.joint import JointFusion
from tunelet.tuning.method import Attached
from tunelet.tuning.methods import prepare
from tunelet.tuning.precision import freeze_in
from tunelet.tuning.settings import TuningSettings
from tunelet.tuning.targets import linear_modules, target_names
from tunelet.tuning.tuned import Tuned


@dataclass(frozen=True)
class Work:
    """A run that is to train.

    Attributes:
        chosen: its sections.
        seed: its seed.
        folder: of the run.
        identity: hash of the run; a saved state of another is refused.
        interrupted: asked after every step.
        trackers: told of every logged row.
    """

    chosen: Sections
    seed: int
    folder: Path
    identity: str
    interrupted: Callable[[], bool] = lambda: False
    trackers: tuple[Tracker, ...] = ()


def on_vectors(module: nn.Module, objective: VectorObjective, work: Work) -> Loop:
    """A fusion over vectors that are at hand."""
    batch = work.chosen.training.batch
    # every text counts as one token, so that batches are shuffled without regard to length
    lengths = np.ones(len(objective.gold["train"]), np.int64)
    batches = LengthBucketBatches(lengths, batch.size, work.seed, pool_batches=batch.pool)
    return _loop(lambda steps: _plain(module), objective, batches, work)


def on_texts(module: nn.Module, objective: Classification, work: Work) -> Loop:
    """A fusion that needs the base at every step: inside the layers."""
    batch = work.chosen.training.batch
    lengths = objective.splits["train"].lengths
    batches = LengthBucketBatches(lengths, batch.size, work.seed, pool_batches=batch.pool, tokens=batch.tokens)
    return _loop(lambda steps: _plain(module), objective, batches, work)


def shared_adapter(objective: SeveralTasks, base: Base, task: Task, work: Work) -> Loop:
    """One adapter for all tasks, with a head for each.

    Args:
        task: of `fuse_objective.joined`: the labels of all.
    """
    chosen, training = work.chosen, work.chosen.training
    model = build_classifier(base, task, attention=chosen.model.attention, seed=work.seed)

    def build(steps: int) -> Tuned:
        tuned = prepare(model, chosen.tuning, total_steps=steps, seed=work.seed)
        if training.frozen == "bf16":
            freeze_in(tuned.model, torch.bfloat16)
        tuned.model.to(_device())
        dtype = torch.bfloat16 if training.precision == "bf16" else torch.float32
        tuned.use_fast_path(dtype, seed=work.seed)
        return tuned

    return _loop(build, objective, _mixed(objective, work), work)


def joint_fusion(objective: SeveralTasks, base: Base, task: Task, experts: int, work: Work) -> Loop:
    """Adapters of all tasks and their fusion at once; arguments as for `shared_adapter`."""
    chosen, tuning = work.chosen, work.chosen.tuning
    backbone = build_backbone(base, attention=chosen.model.attention).to(_device())
    names = adapted_names(base, task, tuning)
    module = JointFusion(
        chosen.fusion,
        backbone,
        names,
        experts=experts,
        labels=len(task.labels),
        r=tuning.r,
        alpha=tuning.alpha,
        dropout=tuning.dropout,
        seed=work.seed,
    )
    return _loop(lambda steps: _plain(module), objective, _mixed(objective, work), work)


def adapted_names(base: Base, task: Task, tuning: TuningSettings) -> list[str]:
    """Names, in the backbone, of the modules that the settings adapt.

    Raises:
        InputError: the settings match no module.
    """
    model = build_classifier(base, task)
    available = linear_modules(model)
    ends = target_names(model, tuning.targets)
    prefix = f"{model.base_model_prefix}."
    inside = [name for name in available if name.startswith(prefix)]
    chosen = inside if isinstance(ends, str) else [n for n in inside if any(f".{n}".endswith(f".{e}") for e in ends)]
    if tuning.layers is not None:
        chosen = [name for name in chosen if any(f".{layer}." in name for layer in tuning.layers)]
    return [name.removeprefix(prefix) for name in chosen]


def _mixed(objective: SeveralTasks, work: Work) -> TaskBatches:
    batch = work.chosen.training.batch
    return TaskBatches(
        objective.splits["train"].lengths,
        objective.task_of,
        batch.size,
        work.seed,
        exponent=work.chosen.approach.exponent,
        pool=batch.pool,
    )


def _plain(module: nn.Module) -> Tuned:
    """A module whose own parameters train."""
    return Tuned(TuningSettings(method="full"), full.METHOD, Attached(module.to(_device())))


def _loop(build: Callable[[int], Tuned], objective: Objective, batches: Batches, work: Work) -> Loop:
    training = work.chosen.training
    use_threads(training)
    steps = steps_of(training, batches.batches_per_epoch)
    tuned = build(steps)
    return Loop(
        tuned=tuned,
        optimizer=make_optimizer(tuned, training),
        objective=objective,
        batches=batches,
        settings=training,
        total_steps=steps,
        folder=work.folder,
        seed=work.seed,
        identity=work.identity,
        meter=ResourceMeter(_device()),
        trackers=list(work.trackers),
        interrupted=work.interrupted,
    )


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
