"""LoRA and the members of its family that differ only in their config: rsLoRA, DoRA. Also LoRA+, which differs
only in its learning rates. Not here: the layers; they are PEFT's.

LoRA (Hu et al. 2021, eq. 3) adds to a frozen linear layer, with A of (r, in) and B of (out, r), B = 0 at the start,

    h = W x + s B A dropout(x),      s = alpha / r

rsLoRA (Kalajdzievski 2023) takes s = alpha / sqrt(r). DoRA (Liu et al. 2024, eq. 5) also trains the length m of each
row of the sum: W' = m (W + s B A) / |W + s B A|.

Example:
    >>> lora_config(TuningSettings(r=8), {"task_type": "SEQ_CLS", "target_modules": ["query"]}).r       # doctest: +SKIP
    8
"""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig
from peft.optimizers import create_loraplus_optimizer
from torch import nn

from tunelet.tuning.method import Attached, Method, Plan, attach_peft
from tunelet.tuning.optimizers import Rates
from tunelet.tuning.settings import TuningSettings

#: Our word for which biases train, and PEFT's.
PEFT_BIAS = {"none": "none", "all": "all", "adapted": "lora_only"}


def lora_config(settings: TuningSettings, common: dict[str, Any], **more: Any) -> LoraConfig:
    """PEFT's config of a LoRA, with what `more` adds."""
    return LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        bias=PEFT_BIAS[settings.bias],
        **common,
        **more,
    )


def attach_lora(model: nn.Module, settings: TuningSettings, plan: Plan, **more: Any) -> Attached:
    """Attach a LoRA whose config holds `more`."""
    return Attached(attach_peft(model, settings, plan, lambda common: lora_config(settings, common, **more)))


def attach_rslora(model: nn.Module, settings: TuningSettings, plan: Plan) -> Attached:
    """LoRA scaled by alpha / sqrt(r)."""
    return attach_lora(model, settings, plan, use_rslora=True)


def attach_dora(model: nn.Module, settings: TuningSettings, plan: Plan) -> Attached:
    """LoRA with trained row lengths."""
    return attach_lora(model, settings, plan, use_dora=True)


def lora_plus_optimizer(model: nn.Module, settings: TuningSettings, rates: Rates) -> torch.optim.Optimizer:
    """LoRA+ (Hayou et al. 2024): B learns `lora_plus_ratio` times as fast as A. PEFT counts biases with B."""
    optimizer: torch.optim.Optimizer = create_loraplus_optimizer(
        model,
        torch.optim.AdamW,
        lr=rates.learning_rate,
        loraplus_lr_ratio=settings.lora_plus_ratio,
        loraplus_weight_decay=rates.weight_decay,
        betas=rates.betas,
        eps=rates.eps,
        fused=True,
    )
    return optimizer


LORA = Method(attach=attach_lora)
RSLORA = Method(attach=attach_rslora)
DORA = Method(attach=attach_dora)
LORA_PLUS = Method(attach=attach_lora, optimizer=lora_plus_optimizer)
