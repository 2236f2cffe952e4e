"""What runs of every system do alike when they train: the loop over a prepared model, its first words, what it cost.

Not here: which model, batches and loss a run has (`classify_training`, `adapt_lm_training`, `rescore_training`); the
steps (`training.loop`).

Example:
    >>> loop = make_loop(training, tuned, objective, batches, 90, folder, seed=1, identity="0a")    # doctest: +SKIP
    >>> train_to_end(loop, run, observer)                                                           # doctest: +SKIP
    >>> memory = memory_of(loop, longest_batch(lengths, training.batch))                            # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tunelet.base.files import folder_bytes
from tunelet.data.batching import LengthBucketBatches
from tunelet.systems.recipes import PlannedRun
from tunelet.training.events import Event, Note, Observer, RunStarted, named
from tunelet.training.loop import Batches, Loop, Objective
from tunelet.training.memory import MemoryBreakdown, measure_memory
from tunelet.training.resources import ResourceMeter
from tunelet.training.schedule import planned_steps
from tunelet.training.settings import BatchSettings, TrainingSettings
from tunelet.training.tracking import Tracker
from tunelet.tuning.precision import freeze_in
from tunelet.tuning.trainable import TrainableTable
from tunelet.tuning.tuned import Tuned


def steps_of(training: TrainingSettings, batches_per_epoch: int) -> int:
    """Optimiser steps that a recipe plans over so many batches."""
    accumulate = training.batch.accumulate
    return planned_steps(batches_per_epoch, epochs=training.epochs, accumulate=accumulate, max_steps=training.max_steps)


def batches_of(training: TrainingSettings, lengths: NDArray[np.int64], seed: int) -> tuple[LengthBucketBatches, int]:
    """The order in which a run sees its examples, and its optimiser steps.

    Args:
        training: the recipe's section.
        lengths: (n,) of the training examples.
        seed: of the run.
    """
    batch = training.batch
    batches = LengthBucketBatches(lengths, batch.size, seed, pool_batches=batch.pool, tokens=batch.tokens)
    return batches, steps_of(training, batches.batches_per_epoch)


def use_threads(training: TrainingSettings) -> None:
    """As many threads as the recipe says, for the whole process; where it says nothing, they stay."""
    if training.threads is not None:
        torch.set_num_threads(training.threads)


def make_loop(
    training: TrainingSettings,
    tuned: Tuned,
    objective: Objective,
    batches: Batches,
    total_steps: int,
    folder: Path,
    *,
    seed: int,
    identity: str,
    trackers: list[Tracker] | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Loop:
    """The loop of a run; the model is brought to its device, and its frozen part to its type, before.

    Args:
        training: the recipe's section.
        tuned: the model and what trains in it, with the weights that training begins from.
        objective: loss and evaluation.
        batches: order of the training examples.
        total_steps: planned optimiser steps.
        folder: the run's folder.
        seed: of the run.
        identity: hash of the run; a saved state of another is refused.
        trackers: told of every logged row.
        interrupted: asked after every step.
    """
    if training.frozen == "bf16":
        freeze_in(tuned.model, torch.bfloat16)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tuned.model.to(device)
    tuned.use_fast_path(torch.bfloat16 if training.precision == "bf16" else torch.float32, seed=seed)
    return Loop(
        tuned=tuned,
        optimizer=make_optimizer(tuned, training),
        objective=objective,
        batches=batches,
        settings=training,
        total_steps=total_steps,
        folder=folder,
        seed=seed,
        identity=identity,
        meter=ResourceMeter(device),
        trackers=trackers or [],
        interrupted=interrupted,
    )


def make_optimizer(tuned: Tuned, training: TrainingSettings) -> torch.optim.Optimizer:
    """The method's optimiser with the recipe's rates."""
    return tuned.optimizer(
        learning_rate=training.learning_rate,
        head_learning_rate=training.head_learning_rate,
        weight_decay=training.weight_decay,
        betas=training.betas,
        eps=training.eps,
    )


def opening(
    run: PlannedRun, loop: Loop, table: TrainableTable, place: tuple[int, int], notes: Sequence[Note]
) -> list[Event]:
    """What is told when a run begins.

    Args:
        place: its number, and how many there are.
        notes: of its loop, which was restored.
    """
    share = f"{table.trainable:,} of {table.total:,} parameters train ({table.share:.2%})"
    return [RunStarted(run.name, *place, loop.step, loop.total_steps), *notes, Note(f"{share}; see trainable.json")]


def train_to_end(loop: Loop, run: PlannedRun, observer: Observer) -> None:
    """Train from where the loop stands, its events told under the run's name.

    Raises:
        KeyboardInterrupt, TrainingError: see `training.loop.Loop.events`.
    """
    with loop.meter:
        for event in loop.events():
            observer(named(event, run.name))


def longest_batch(lengths: NDArray[np.int64], batch: BatchSettings) -> NDArray[np.int64]:
    """Positions of the longest examples, as many as a batch has of them."""
    order = np.argsort(-lengths, kind="stable")
    return order[: batch.size if batch.tokens is None else max(1, batch.tokens // int(lengths[order[0]]))]


def memory_of(loop: Loop, indices: NDArray[np.int64]) -> MemoryBreakdown:
    """What a step over these training examples holds."""
    engine = loop.tuned.engine
    return measure_memory(
        loop.tuned.model,
        loop.optimizer,
        lambda: loop.loss(indices),
        working=engine.tensors() if engine is not None else (),
    )


def cost_of(loop: Loop, table: TrainableTable, memory: MemoryBreakdown, stored: Path) -> dict[str, Any]:
    """The resources of a run as its record holds them.

    Args:
        stored: folder of what was trained, which is on disk.
    """
    resources = loop.meter.resources(
        trainable_parameters=table.trainable,
        total_parameters=table.total,
        adapter_bytes=folder_bytes(stored),
        memory=memory,
    )
    return resources.to_json()
