"""What a tuning method is made of: functions, most of which most methods share.

Not here: the methods (one small module each) and their table (`methods`). A method is a `Method` with the parts
in which it differs from plain LoRA; none inherits from another.

Example:
    >>> METHOD = Method(attach=attach, optimizer=loraplus_optimizer)        # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from torch import Tensor, nn

from tunelet.base.streams import derive_seed
from tunelet.models.classifier import head_modules
from tunelet.models.declared import declared
from tunelet.models.quiet import quiet_transformers
from tunelet.tuning.optimizers import Rates, adamw
from tunelet.tuning.settings import TuningSettings
from tunelet.tuning.targets import target_options

#: The name that PEFT gives an adapter unless told otherwise; its files carry no name.
ADAPTER = "default"


@dataclass(frozen=True)
class Plan:
    """What a method may need to know beside its settings: the optimiser steps to come, and the run's seed."""

    total_steps: int
    seed: int


@dataclass(frozen=True)
class Attached:
    """A model made ready to train.

    Attributes:
        model: in training shape; what does not train has ``requires_grad`` off.
        kept: tensors that were made at the start, never train, and that the method needs later.
    """

    model: nn.Module
    kept: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Export:
    """An adapter as it is stored: PEFT's config as plain data, and the tensors by PEFT's names."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class MethodState:
    """What must be saved beside the trained tensors for an exact resume: JSON values and tensors."""

    values: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


Attach = Callable[[nn.Module, TuningSettings, Plan], Attached]


def _no_step(model: nn.Module, step: int) -> None:
    return None


def _no_term(model: nn.Module) -> Tensor | None:
    return None


def _no_state(model: nn.Module) -> MethodState:
    return MethodState()


def _no_restore(model: nn.Module, state: MethodState) -> None:
    return None


def export_as_is(attached: Attached) -> Export:
    """The adapter as PEFT holds it."""
    config = peft_config(attached.model)
    tensors = get_peft_model_state_dict(attached.model, save_embedding_layers=False)
    return Export(plain_config(config), {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


@dataclass(frozen=True)
class Method:
    """A tuning method.

    Attributes:
        attach: makes the model ready to train.
        optimizer: over what trains.
        after_step: called after the optimiser's step k = 1, 2, ... while the gradients are still there.
        regulariser: a term to add to the loss, or None.
        export: what is stored; None where the whole model is (full fine-tuning).
        state, restore: what a resume needs beside the trained tensors.
    """

    attach: Attach
    optimizer: Callable[[nn.Module, TuningSettings, Rates], torch.optim.Optimizer] = adamw
    after_step: Callable[[nn.Module, int], None] = _no_step
    regulariser: Callable[[nn.Module], Tensor | None] = _no_term
    export: Callable[[Attached], Export] | None = export_as_is
    state: Callable[[nn.Module], MethodState] = _no_state
    restore: Callable[[nn.Module, MethodState], None] = _no_restore


def attach_peft(
    model: nn.Module,
    settings: TuningSettings,
    plan: Plan,
    make_config: Callable[[dict[str, Any]], PeftConfig],
) -> PeftModel:
    """Attach an adapter through PEFT; the head trains with it.

    What PEFT draws comes from the stream ("adapter") of the seed, and the global generator is left as it was.

    Args:
        make_config: gets ``task_type``, ``target_modules`` and ``modules_to_save`` and adds the method's own.
    """
    said = declared(model)
    # PEFT appends "classifier" and "score" by itself and would list them twice
    also = [name for name in head_modules(model) if name not in ("classifier", "score")]
    config = make_config(
        {
            "task_type": "SEQ_CLS" if said is None else said.task_type,
            **target_options(model, settings.targets, settings.layers),
            "modules_to_save": also or None,
        }
    )
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(derive_seed(plan.seed, "adapter"))
    try:
        with quiet_transformers():
            tuned: PeftModel = get_peft_model(model, config)
    finally:
        torch.set_rng_state(state)
    return tuned


def peft_config(model: nn.Module) -> PeftConfig:
    """The config of the one adapter of a PEFT model."""
    config: PeftConfig = model.peft_config[ADAPTER]  # type: ignore[index]
    return config


def plain_config(config: PeftConfig) -> dict[str, Any]:
    """PEFT's config as JSON values, in an order that does not change from process to process (PEFT's sets do)."""
    values: dict[str, Any] = {}
    for key, value in config.to_dict().items():
        if isinstance(value, set):
            value = sorted(value)
        values[key] = value
    if values.get("modules_to_save"):
        values["modules_to_save"] = list(dict.fromkeys(values["modules_to_save"]))
    values["peft_type"] = str(getattr(config.peft_type, "value", config.peft_type))
    values["inference_mode"] = True
    return values
