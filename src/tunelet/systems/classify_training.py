"""Chooses the parts of one classification run, ready to train, and forecasts its cost with them.

Not here: what is done with the trained weights (`systems.classify`).

Example:
    >>> loop = build_loop(run, objective, base, task, folder, identity=run_hash)     # doctest: +SKIP
    >>> for event in loop.events(): ...                                            # doctest: +SKIP
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tunelet.data.batching import in_order
from tunelet.data.records import Task
from tunelet.models.bases import Base
from tunelet.models.classifier import build_classifier
from tunelet.systems.classify_objective import Classification
from tunelet.systems.classify_recipe import sections
from tunelet.systems.recipes import PlannedRun
from tunelet.systems.training_forecast import forecast_loop
from tunelet.systems.training_run import batches_of, make_loop, use_threads
from tunelet.training.estimate import Estimate
from tunelet.training.loop import Loop
from tunelet.training.tracking import Tracker
from tunelet.tuning.methods import prepare
from tunelet.tuning.trainable import TrainableTable


@dataclass(frozen=True)
class Begun:
    """A run that trains: what `classify.Context.begin` made for it."""

    run: PlannedRun
    folder: Path
    hash: str
    started: str
    settings: dict[str, Any]
    objective: Classification
    base: Base
    loop: Loop
    table: TrainableTable


def build_loop(
    run: PlannedRun,
    objective: Classification,
    base: Base,
    task: Task,
    folder: Path,
    *,
    identity: str,
    trackers: list[Tracker] | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Loop:
    """Everything of a run: model, what trains in it, optimiser, batches, loop.

    Args:
        run: the planned run.
        objective: its loss and evaluation.
        base, task: what is tuned to what.
        folder: the run's folder.
        identity: hash of the run; a saved state of another is refused.
        trackers: told of every logged row.
        interrupted: asked after every step.
    """
    model_settings, tuning, training = sections(run)
    use_threads(training)
    batches, steps = batches_of(training, objective.splits["train"].lengths, run.seed)
    model = build_classifier(base, task, attention=model_settings.attention, seed=run.seed)
    tuned = prepare(model, tuning, total_steps=steps, seed=run.seed)
    loop = make_loop(
        training,
        tuned,
        objective,
        batches,
        steps,
        folder,
        seed=run.seed,
        identity=identity,
        trackers=trackers,
        interrupted=interrupted,
    )
    train = objective.splits["train"]
    tuned.hold_frozen([train.row(index) for index in range(len(train))])
    return loop


def forecast(run: PlannedRun, objective: Classification, base: Base, task: Task) -> Estimate:
    """What a run will cost, from a few of its own steps; nothing stays."""
    training = objective.training
    with tempfile.TemporaryDirectory() as folder:
        loop = build_loop(run, objective, base, task, Path(folder), identity="forecast")
        validation = in_order(objective.splits["validation"].lengths, training.batch.evaluation_size)
        tokens = sum(objective.padded_tokens("validation", indices) for indices in validation)
        engine = loop.tuned.engine

        @torch.no_grad()
        def warm(indices: NDArray[np.int64]) -> None:  # what frozen layers give: a run computes it in its first epoch
            loop.loss(indices)

        return forecast_loop(
            loop,
            lambda indices: objective.padded_tokens("train", indices),
            tokens,
            warm=warm if engine is not None and engine.frozen is not None else None,
        )
