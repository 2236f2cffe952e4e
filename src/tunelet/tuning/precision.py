"""Holds the frozen weights in a smaller type, once, instead of casting them at every step.

Under autocast a linear layer with fp32 weights casts them to bf16 each time it is called. Weights that do not train
can be bf16 from the start: half the memory, no cast, the same products. What trains stays fp32 (LoRA weights in bf16
learn clearly worse), and so do the norms. Not here: autocast itself (`training`); the adapter that is saved belongs to
the fp32 base, and its probes are computed there.

Example:
    >>> held = freeze_in(tuned.model, torch.bfloat16)       # doctest: +SKIP
    >>> held.bytes_saved                                    # doctest: +SKIP
    45406464
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

#: Parts of PEFT's modules that are not the base's: cast, LoRA-FA's frozen A would lose what its B is trained for.
_NOT_BASE = ("lora_", "vera_", "original_module", "modules_to_save")


@dataclass(frozen=True)
class Held:
    """What was cast.

    Attributes:
        tensors: how many weights and biases.
        parameters: numbers in them.
        bytes_saved: by which the model is smaller.
    """

    tensors: int
    parameters: int
    bytes_saved: int


def freeze_in(model: nn.Module, dtype: torch.dtype = torch.bfloat16) -> Held:
    """Cast weights and biases of the frozen linear and embedding layers of the base to `dtype`, in place.

    To be called after the adapter is attached (PiSSA splits the fp32 weights). Layers of which anything trains, the
    adapter's own matrices, the head's spare copy and the norms keep their type. Under full fine-tuning nothing is
    frozen, so nothing is cast.
    """
    tensors = parameters = saved = 0
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear | nn.Embedding | Conv1D):
            continue
        own = list(module.parameters(recurse=False))
        if any(p.requires_grad for p in own) or any(mark in name for mark in _NOT_BASE):
            continue
        for parameter in own:
            if parameter.dtype == dtype or not parameter.is_floating_point():
                continue
            before = parameter.nbytes
            parameter.data = parameter.data.to(dtype)
            tensors += 1
            parameters += parameter.numel()
            saved += before - parameter.nbytes
    return Held(tensors, parameters, saved)
