"""PiSSA: LoRA that starts from the base's largest singular directions. Stored as a plain LoRA over the untouched base.

PiSSA (Meng et al. 2024, eq. 2-4) splits W = U S V^T: the r largest directions become B0 A0, the rest stays frozen as
W_res = W - s B0 A0, and B A is trained from B0 A0. An adapter that needs W_res would not work over the base that
everyone has. But

    W_res + s B A  =  W + s (B A - B0 A0)  =  W + s [B, B0] [A; -A0]

so what is stored is a LoRA of rank 2r with the same scaling, exact but for rounding. PEFT has this as
``path_initial_model_for_weight_conversion``, through files; here A0 and B0 are kept in memory from the start.

Example:
    >>> METHOD.export(attached).config["r"]     # doctest: +SKIP
    16
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tunelet.tuning.lora import attach_lora
from tunelet.tuning.method import Attached, Export, Method, Plan, export_as_is
from tunelet.tuning.settings import TuningSettings


def attach_pissa(model: nn.Module, settings: TuningSettings, plan: Plan) -> Attached:
    """Split the targeted weights of `model`, which changes them, and keep the factors it starts from."""
    attached = attach_lora(model, settings, plan, init_lora_weights="pissa")
    start = {name: tensor.clone() for name, tensor in export_as_is(attached).tensors.items() if _is_factor(name)}
    return Attached(attached.model, start)


def export_over_original(attached: Attached) -> Export:
    """A LoRA of rank 2r for the base as it was before `attach_pissa`."""
    trained = export_as_is(attached)
    tensors = {name: _joined(name, tensor, attached.kept) for name, tensor in trained.tensors.items()}
    config = {
        **trained.config,
        "r": 2 * trained.config["r"],
        "lora_alpha": 2 * trained.config["lora_alpha"],  # alpha / r, the scaling, stays
        "init_lora_weights": True,
    }
    return Export(config, tensors)


def _is_factor(name: str) -> bool:
    return ".lora_A." in name or ".lora_B." in name


def _joined(name: str, trained: Tensor, start: Mapping[str, Tensor]) -> Tensor:
    if name not in start:
        return trained  # the head
    first = start[name]
    if ".lora_A." in name:
        return torch.cat([trained, -first], dim=0)  # (2r, in)
    return torch.cat([trained, first], dim=1)  # (out, 2r)


METHOD = Method(attach=attach_pissa, export=export_over_original)
