"""AdamW over what trains. Not here: schedules, clipping (`training`).

Example:
    >>> adamw(model, settings, Rates(learning_rate=1e-3))       # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from tunelet.tuning.settings import TuningSettings


@dataclass(frozen=True)
class Rates:
    """The optimiser's settings, as the loop gives them."""

    learning_rate: float
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8


def adamw(model: nn.Module, settings: TuningSettings, rates: Rates) -> torch.optim.Optimizer:
    """AdamW with decoupled decay on matrices only: biases, norm weights and scaling vectors are not decayed.

    The update is fused into one kernel; the moments are fp32, as the trained weights are.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": rates.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rates.learning_rate, betas=rates.betas, eps=rates.eps, fused=True)
