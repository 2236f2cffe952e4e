"""Makes a loaded adapter answer fast: update merged into the weights, encoder through the fast path, smaller types.

The answers stay those of the adapter: in fp32 to rounding (merging moves logits by about 1e-6), in bf16 to about 1e-2.
Not here: batches and streams (`evaluation.inference`).

Example:
    >>> loaded = load_adapter(folder)                               # doctest: +SKIP
    >>> faster = for_inference(loaded, precision="bf16")            # doctest: +SKIP
    >>> for row in predict_stream(faster, examples): ...            # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn

from tunelet.tuning.fast.attach import attach
from tunelet.tuning.folder import LoadedAdapter
from tunelet.tuning.precision import freeze_in

Precision = Literal["fp32", "bf16"]


def for_inference(loaded: LoadedAdapter, *, precision: Precision = "fp32", merge: bool = True) -> LoadedAdapter:
    """The adapter with a model that only answers.

    Args:
        loaded: its model is changed in place and must not be used for training afterwards.
        precision: type of the encoder's products; the head stays fp32.
        merge: fold the update into the weights. Without, the base's weights stay as they are, at some cost in speed.

    Returns:
        `loaded` with the faster model. One that the fast path does not know is merged and cast all the same.
    """
    model: Any = loaded.model
    if merge and hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model.requires_grad_(False).eval()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if precision == "bf16":
        freeze_in(backbone_of(model), dtype)
    engine, _ = attach(model, dtype)
    if engine is None and precision == "bf16":
        _cast_inputs(model, dtype)
    return replace(loaded, model=model)


def backbone_of(model: Any) -> nn.Module:
    """The encoder without its head."""
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    backbone: nn.Module = getattr(whole, whole.base_model_prefix)
    return backbone


def _cast_inputs(model: nn.Module, dtype: torch.dtype) -> None:
    """Run the whole model under autocast, because its layers hold weights of another type than their inputs."""
    plain = model.forward

    def forward(*arguments: Any, **named: Any) -> Any:
        device = next(model.parameters()).device.type
        with torch.autocast(device, dtype=dtype):
            return plain(*arguments, **named)

    model.forward = forward
