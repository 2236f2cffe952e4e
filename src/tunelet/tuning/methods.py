"""The table of tuning methods, and `prepare`, which makes a model ready to train with one of them.

Not here: how each method works (one small module each); what a method is made of (`method`).

Example:
    >>> tuned = prepare(model, TuningSettings(method="dora"), total_steps=1000, seed=1)     # doctest: +SKIP
    >>> optimizer = tuned.optimizer(learning_rate=1e-3)                                     # doctest: +SKIP
"""

from __future__ import annotations

from torch import nn

from tunelet.base.registry import Registry
from tunelet.tuning import adalora, full, lora, lora_fa, pissa, rank_schedules, vera
from tunelet.tuning.frozen_part import still_frozen_part
from tunelet.tuning.method import Method, Plan
from tunelet.tuning.settings import TuningSettings
from tunelet.tuning.tuned import Tuned

METHODS: Registry[Method] = Registry("tuning method")
METHODS.register("full")(full.METHOD)
METHODS.register("lora")(lora.LORA)
METHODS.register("rslora")(lora.RSLORA)
METHODS.register("dora")(lora.DORA)
METHODS.register("lora+")(lora.LORA_PLUS)
METHODS.register("pissa")(pissa.METHOD)
METHODS.register("vera")(vera.METHOD)
METHODS.register("adalora")(adalora.METHOD)
METHODS.register("lora-fa")(lora_fa.METHOD)
METHODS.register("warmup-rank")(rank_schedules.WARMUP)
METHODS.register("mixed-by-layer")(rank_schedules.BY_LAYER)
METHODS.register("mixed-by-step")(rank_schedules.BY_STEP)


def prepare(model: nn.Module, settings: TuningSettings, *, total_steps: int, seed: int) -> Tuned:
    """Make `model` ready to train: attach the method's parts, let them and the head train, freeze the rest.

    Args:
        model: a model with a head, as `models.classifier.build_classifier` gives it. It is changed in place.
        total_steps: optimiser steps to come (AdaLoRA spreads its schedule over them).
        seed: of the run; what is drawn comes from its stream "adapter".

    Raises:
        InputError: `settings.targets` match nothing; the message lists the linear modules.
    """
    method = METHODS.get(settings.method)
    attached = method.attach(model, settings, Plan(total_steps, seed))
    if not settings.frozen_dropout:
        still_frozen_part(attached.model)
    return Tuned(settings, method, attached)
