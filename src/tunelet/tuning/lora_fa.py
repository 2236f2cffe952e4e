"""LoRA-FA: LoRA with A frozen as drawn, so that its input need not be kept; B's gradient is projected.

LoRA-FA (Zhang et al. 2023; the projection is PEFT's later version): only B trains, with the gradient
g_B (A A^T)^{-1} / s^2, the one whose update of B A is nearest to full LoRA's.

Example:
    >>> attach_lora_fa(model, TuningSettings(method="lora-fa"), plan)       # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from peft.optimizers.lorafa import LoraFAOptimizer
from torch import nn

from tunelet.tuning.lora import attach_lora
from tunelet.tuning.method import ADAPTER, Attached, Method, Plan
from tunelet.tuning.optimizers import Rates
from tunelet.tuning.settings import TuningSettings


def attach_lora_fa(model: nn.Module, settings: TuningSettings, plan: Plan) -> Attached:
    """Attach a LoRA and freeze its A."""
    attached = attach_lora(model, settings, plan)
    for name, parameter in attached.model.named_parameters():
        if ".lora_A." in name:
            parameter.requires_grad_(False)
    return attached


class IndexedLoraFA(LoraFAOptimizer):  # type: ignore[misc]
    """PEFT's LoRA-FA optimiser with a state that is saved and loaded as every other optimiser's.

    PEFT keys the state by names, and leaves what is loaded on the device where it lies. Here the saved state is keyed
    by position, and comes back to the parameters' device.
    """

    def state_dict(self) -> dict[str, Any]:
        """The state, by position."""
        saved = super().state_dict()
        positions = {key: index for index, key in enumerate(self._keys())}
        return {**saved, "state": {positions[key]: entries for key, entries in saved["state"].items()}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        keys, device = self._keys(), self.param_groups[0]["params"][0].device
        named = {
            keys[index]: {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in entries.items()}
            for index, entries in state_dict["state"].items()
        }
        super().load_state_dict({**state_dict, "state": named})

    def _keys(self) -> list[str]:
        """What PEFT keys the state by: the module for a pair (A, B), the name for what else trains."""
        names = [name for group in self.param_groups for name in group["names"]]
        return list(dict.fromkeys(name[: name.find("lora")] + "lora" if "lora" in name else name for name in names))


def lora_fa_optimizer(model: nn.Module, settings: TuningSettings, rates: Rates) -> torch.optim.Optimizer:
    """PEFT's LoRA-FA optimiser over the pairs (A, B) and what else trains, with our betas and eps.

    PEFT's own helper fixes the betas and puts the whole model into the group. The optimiser pairs parameters by
    their order, A before B, which is the model's order.
    """
    chosen = [(n, p) for n, p in model.named_parameters() if p.requires_grad or ".lora_A." in n]
    group: dict[str, Any] = {
        "params": [parameter for _, parameter in chosen],
        "names": [name for name, _ in chosen],
        "scaling_factors": [_scaling(model, name) for name, _ in chosen],
    }
    optimizer: torch.optim.Optimizer = IndexedLoraFA(
        [group],
        lr=rates.learning_rate,
        betas=rates.betas,
        eps=rates.eps,
        weight_decay=rates.weight_decay,
    )
    return optimizer


def _scaling(model: nn.Module, name: str) -> float | None:
    module, found, _ = name.partition(".lora_")
    return float(model.get_submodule(module).scaling[ADAPTER]) if found else None  # type: ignore[index]


METHOD = Method(attach=attach_lora_fa, optimizer=lora_fa_optimizer)
