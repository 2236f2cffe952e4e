"""Full fine-tuning: every parameter trains, and the whole model is stored.

Example:
    >>> attach_full(model, TuningSettings(method="full"), plan).model is model      # doctest: +SKIP
    True
"""

from __future__ import annotations

from torch import nn

from tunelet.tuning.method import Attached, Method, Plan
from tunelet.tuning.settings import TuningSettings


def attach_full(model: nn.Module, settings: TuningSettings, plan: Plan) -> Attached:
    """Let every parameter of `model` train."""
    return Attached(model.requires_grad_(True))


METHOD = Method(attach=attach_full, export=None)
