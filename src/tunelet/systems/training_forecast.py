"""What a training will cost, from a few of its own steps; the same for every system.

Not here: the timing itself (`training.estimate`), or which model, batches and loss a run has.

Example:
    >>> forecast_loop(loop, size=padded_tokens, validation=9_000).seconds       # doctest: +SKIP
    84.1
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunelet.systems.training_run import make_optimizer
from tunelet.training.estimate import Estimate, estimate, pick_batches
from tunelet.training.loop import Loop
from tunelet.tuning.trainable import trainable_table

Rows = NDArray[np.int64]


def forecast_loop(
    loop: Loop,
    size: Callable[[Rows], int],
    validation: int,
    *,
    steps: int | None = None,
    every: int | None = None,
    evaluations: float | None = None,
    most: int | None = None,
    warm: Callable[[Rows], Any] | None = None,
) -> Estimate:
    """Time a few steps of a loop, which is good for nothing else afterwards.

    Args:
        loop: at its start.
        size: what a batch holds, padding included.
        validation: how much an evaluation computes, in the same unit.
        steps: of the optimiser; None: those of the loop.
        every: steps between evaluations; None: those of the loop.
        evaluations: how many; None: what follows from the two.
        most: batches of the epoch that are drawn to find a typical one; None: all.
        warm: called with the batches that are timed, before.
    """
    training = loop.settings
    every = every or loop.evaluate_every
    steps = steps or loop.total_steps
    count = loop.batches.batches_per_epoch if most is None else min(most, loop.batches.batches_per_epoch)
    batches = [loop.batches.next() for _ in range(count)]
    sizes = [size(rows) for rows in batches]
    typical, largest = (batches[place] for place in pick_batches(sizes))
    # counts as a run does: PEFT's spare copy of a head is no weight
    table, engine = trainable_table(loop.tuned.model), loop.tuned.engine
    if warm is not None:
        for rows in (typical, largest):
            warm(rows)
    found = estimate(
        loop.tuned.model,
        lambda: make_optimizer(loop.tuned, training),
        loop.loss,
        typical=typical,
        largest=largest,
        total_steps=steps * training.batch.accumulate,
        tokens_per_step=sum(sizes) / len(sizes),
        evaluation_tokens=round(validation * (max(1, steps // every) if evaluations is None else evaluations)),
        least_steps=None if training.patience is None else (training.patience + 1) * every,
        size=size,
        working=lambda: engine.tensors() if engine is not None else (),
    )
    return replace(found, parameters=table.total, trainable=table.trainable)
