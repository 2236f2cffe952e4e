"""Learning rate as a function of the step. Not here: a scheduler object, whose state could go wrong on resume.

Example:
    >>> factor("linear", step=5, total=10, warmup=0)
    0.5
"""

from __future__ import annotations

import math


def factor(schedule: str, *, step: int, total: int, warmup: int) -> float:
    """What the peak learning rate is multiplied with for step number `step`.

    Args:
        schedule: "linear" or "cosine" decay to zero at `total`, or "constant".
        step: steps already taken, from 0.
        total: planned steps.
        warmup: steps of a linear rise from 0 at the start; the first of them already has a rate above 0.

    Returns:
        A number in [0, 1].
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0 - progress


def planned_steps(batches_per_epoch: int, *, epochs: float, accumulate: int, max_steps: int | None) -> int:
    """Optimiser steps of a run: at least one.

    Args:
        batches_per_epoch: batches in a pass over the training split.
        epochs: passes over it; may be a fraction.
        accumulate: batches in a step.
        max_steps: upper limit, or None.
    """
    steps = max(1, round(batches_per_epoch * epochs / accumulate))
    return steps if max_steps is None else min(steps, max_steps)
