"""An exponential average of the trained weights, which often generalises better than the last weights.

Not here: when it is evaluated; the loop does that. With decay d the average is m <- d m + (1 - d) w after each step
(Polyak and Juditsky 1992; the exponential form is common practice), begun at the weights of its first step.

Example:
    >>> average = WeightAverage(decay=0.9)
    >>> average.update({"w": torch.ones(1)})
    >>> average.weights["w"].item()
    1.0
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch


class HasTrainableState(Protocol):
    """Weights that train, by name."""

    def trainable_state(self) -> dict[str, torch.Tensor]: ...

    def load_trainable_state(self, state: Mapping[str, torch.Tensor]) -> None: ...


class WeightAverage:
    """Exponential average of named tensors.

    Args:
        decay: share of the old average that stays at each step.
        weights: the average so far; empty before the first step.
    """

    def __init__(self, decay: float, weights: Mapping[str, torch.Tensor] | None = None) -> None:
        self.decay = decay
        self.weights: dict[str, torch.Tensor] = dict(weights or {})

    @torch.no_grad()
    def update(self, current: Mapping[str, torch.Tensor]) -> None:
        """Take in the weights after a step."""
        if not self.weights:
            self.weights = {name: tensor.detach().clone() for name, tensor in current.items()}
            return
        for name, tensor in current.items():
            # a restored average lies on the CPU until its first step
            self.weights[name] = self.weights[name].to(tensor.device).lerp_(tensor.detach(), 1.0 - self.decay)

    @contextmanager
    def applied(self, tuned: HasTrainableState) -> Iterator[Any]:
        """Put the average into the model for the block, then the trained weights back, bit for bit."""
        if not self.weights:
            yield tuned
            return
        trained = tuned.trainable_state()
        tuned.load_trainable_state(self.weights)
        try:
            yield tuned
        finally:
            tuned.load_trainable_state(trained)
