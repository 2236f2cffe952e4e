"""Two options of a model that its own modules compute (PEFT's and transformers'): checkpointing and `torch.compile`.

Gradient checkpointing (Chen et al. 2016) keeps each layer's input and computes the layer again in the backward pass,
with the same random numbers for dropout. Compiling makes one kernel of many; what it compiles is the encoder's layer,
once for all layers and for every shape of a batch. Not here: the fast path, which has a checkpointing of its own.

Example:
    >>> checkpoint_layers(tuned.model)      # doctest: +SKIP
    >>> compile_layers(tuned.model)         # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tunelet.base.errors import InputError, Problem
from tunelet.models.quiet import quiet_transformers

#: eager mode's random numbers: the same dropout as without, and on a CPU much faster than the compiler's own
OPTIONS = {"fallback_random": True}


def checkpoint_layers(model: nn.Module) -> None:
    """Turn gradient checkpointing on; it acts in training mode.

    Raises:
        InputError: transformers has none for this architecture.
    """
    whole = _whole(model)
    if not whole.supports_gradient_checkpointing:
        raise InputError(
            Problem(
                f"the architecture {whole.config.model_type!r} has no gradient checkpointing in transformers",
                field="tuning.gradient_checkpointing",
                hint="leave it off, and take a smaller training.batch.size with training.batch.accumulate",
            )
        )
    with quiet_transformers():
        # not reentrant: that kind gives no gradient where a layer's input has none, as above frozen embeddings
        enable = getattr(whole, "activation_checkpointing_enable", None) or whole.gradient_checkpointing_enable
        enable({"use_reentrant": False})
        whole.disable_input_require_grads()  # transformers' remedy for it, which costs frozen layers a backward pass


def compile_layers(model: nn.Module) -> None:
    """Let `torch.compile` take over the forward pass of every encoder layer, at its first call.

    Names of parameters, and what is saved, stay as they are.

    Raises:
        InputError: torch cannot compile here, or no layers were found.
    """
    layers = _layers(_whole(model))
    if not layers:
        raise InputError(
            Problem("found no list of encoder layers to compile", field="tuning.compile", hint="leave it off")
        )
    check_compiler(next(model.parameters()).device)
    for layer in layers:
        layer.compile(dynamic=True, options=OPTIONS)


def check_compiler(device: torch.device) -> None:
    """Compile a function of one line.

    Raises:
        InputError: that fails, most often because there is no compiler.
    """

    def line(x: torch.Tensor) -> torch.Tensor:
        return x.sin() + 1.0

    try:
        torch.compile(line)(torch.zeros(8, device=device))
    except Exception as error:  # inductor's errors have no common class but this
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            Problem(
                f"torch cannot compile on this machine: {reason}",
                field="tuning.compile",
                hint="install a C++ compiler (g++ or clang), or leave tuning.compile off",
            )
        ) from error


def _whole(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _layers(whole: Any) -> list[nn.Module]:
    """The longest list of modules of one class in the backbone."""
    backbone = getattr(whole, whole.base_model_prefix)
    lists = [list(module) for module in backbone.modules() if isinstance(module, nn.ModuleList)]
    return max((parts for parts in lists if len(set(map(type, parts))) == 1), key=len, default=[])
