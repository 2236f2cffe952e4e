"""How long the trainings of `fuse` are, and how long some steps of one take; a forecast is these two together.

Not here: which trainings a recipe has (`systems.fuse_forecast`), the timing itself (`training.estimate`).

Example:
    >>> lengths_of(TrainingSettings(epochs=2), 160)             # doctest: +SKIP
    Lengths(steps=20, evaluations=2)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tunelet.data.batching import in_order
from tunelet.systems.training_forecast import forecast_loop
from tunelet.systems.training_run import steps_of
from tunelet.training.estimate import Estimate
from tunelet.training.loop import Loop
from tunelet.training.settings import TrainingSettings

#: Batches of an epoch among which a typical one is looked for.
_MOST_BATCHES = 200


@dataclass(frozen=True)
class Lengths:
    """How long a training is.

    Attributes:
        steps: of the optimiser.
        evaluations: on validation; a scoring of more texts is more of one.
    """

    steps: int
    evaluations: float


def lengths_of(training: TrainingSettings, examples: int) -> Lengths:
    """Steps and evaluations of a training on so many examples, without early stopping."""
    batch = training.batch
    batches = -(-examples // batch.size)
    steps = steps_of(training, batches)
    every = training.evaluate_every
    return Lengths(steps, max(1, steps // (max(1, batches // batch.accumulate) if every == "epoch" else every)))


def scaled(found: Estimate, timed: Lengths, wanted: Lengths) -> Estimate:
    """The forecast of a training of other length."""
    train = found.train_seconds * wanted.steps / timed.steps
    evaluation = found.evaluation_seconds * wanted.evaluations / timed.evaluations
    share = (train + evaluation) / found.seconds if found.seconds else 1.0
    return replace(
        found,
        train_seconds=train,
        evaluation_seconds=evaluation,
        seconds_low=found.seconds_low * share,
        seconds_high=found.seconds_high * share,
    )


def time_on_texts(loop: Loop, frozen: int) -> Estimate:
    """Of a training that runs the base in every step."""
    objective: Any = loop.objective
    lengths = Lengths(loop.total_steps, max(1, loop.total_steps // loop.evaluate_every))
    validation = objective.splits["validation"]
    tokens = sum(
        objective.padded_tokens("validation", rows)
        for rows in in_order(validation.lengths, loop.settings.batch.evaluation_size)
    )
    found = time_loop(loop, lambda rows: int(objective.padded_tokens("train", rows)), lengths, tokens)
    return replace(found, parameters=found.trainable + frozen)


def time_loop(loop: Loop, size: Callable[[np.ndarray], int], lengths: Lengths, validation: int) -> Estimate:
    """Time some steps; `size` tells what a batch holds, `validation` how much an evaluation does."""
    return forecast_loop(
        loop, size, validation, steps=lengths.steps, evaluations=lengths.evaluations, most=_MOST_BATCHES
    )
