"""Which layers at the bottom of an encoder are frozen, in any architecture, and switching their dropout off.

Read off the names of the parameters, in which an encoder's layers are numbered. Not here: holding what these layers
give (`fast.frozen`).

Example:
    >>> frozen_depth(tuned.model)       # doctest: +SKIP
    4
"""

from __future__ import annotations

import re
from typing import Any

from torch import nn

_NUMBER = re.compile(r"\.(\d+)\.")
#: comes after the layers, so it may train above frozen ones; everything else without a number is below them
_POOLER = "pooler."


def frozen_depth(model: nn.Module) -> int:
    """How many layers, from the first on, have nothing that trains in them nor below."""
    found = [
        (_number(name), parameter.requires_grad)
        for name, parameter in _backbone(model).named_parameters()
        if not name.startswith(_POOLER)
    ]
    layers = [number for number, _ in found if number is not None]
    trained = [number for number, trains in found if trains]
    numbered = [number for number in trained if number is not None]
    if len(numbered) < len(trained):
        return 0
    return min(numbered) if numbered else max(layers, default=-1) + 1


def still_frozen_part(model: nn.Module) -> int:
    """Set the dropout in the frozen layers and below them to zero; how many layers these are.

    The probabilities belong to the modules in memory; the config, and so what is saved, stays as it is.
    """
    depth = frozen_depth(model)
    for name, module in _backbone(model).named_modules():
        number = _number(f"{name}.")
        frozen = not name.startswith(_POOLER) if number is None else number < depth
        if depth and frozen and isinstance(module, nn.Dropout):
            module.p = 0.0
    return depth


def _backbone(model: Any) -> nn.Module:
    """The encoder without its head."""
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    backbone: nn.Module = getattr(whole, whole.base_model_prefix)
    return backbone


def _number(name: str) -> int | None:
    found = _NUMBER.search(name)
    return None if found is None else int(found[1])
