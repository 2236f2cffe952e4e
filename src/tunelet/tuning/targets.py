"""Which modules get an adapter: the presets in each architecture, and the check that names match something.

The paper says "attention: key, query, value"; its code took PEFT's default, query and value. Both are spelled:
``attention`` and ``qkv`` are the paper's text, ``qv`` is its code. Its "attention + linear" is ``qkv+dense``: query,
key, value and every layer called dense, the pooler's too.

Example:
    >>> target_names(model, "qv")               # doctest: +SKIP
    ['query', 'value']
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from tunelet.base.errors import InputError, Problem
from tunelet.base.registry import suggest
from tunelet.models.classifier import head_modules

_ALIASES = {"attention": "qkv", "attention+linear": "qkv+dense"}
#: PEFT's own word for every linear layer but the head.
ALL_LINEAR = "all-linear"


@dataclass(frozen=True)
class _Names:
    """What query, key, value and the other linear layers of an encoder are called."""

    query: str
    key: str
    value: str
    dense: tuple[str, ...]


_BERT = _Names("query", "key", "value", ("dense",))
_LLAMA = _Names("q_proj", "k_proj", "v_proj", ("o_proj", "gate_proj", "up_proj", "down_proj"))
#: By ``config.model_type``.
ARCHITECTURES = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra", "ernie", "roformer"), _BERT),
    "albert": _Names("query", "key", "value", ("dense", "ffn", "ffn_output")),
    "deberta-v2": _Names("query_proj", "key_proj", "value_proj", ("dense",)),
    "distilbert": _Names("q_lin", "k_lin", "v_lin", ("out_lin", "lin1", "lin2")),
    "mpnet": _Names("q", "k", "v", ("o", "dense")),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2"), _LLAMA),
}


def target_names(model: nn.Module, targets: str | Sequence[str]) -> list[str] | str:
    """What PEFT is to match: the ends of module names, or ``"all-linear"``.

    Args:
        model: a model with a head, before any adapter is attached.
        targets: a preset, or names; a name matches every linear module whose path ends with it, outside the head.

    Raises:
        InputError: the preset is not defined for this architecture, or a name matches no linear module. The message
            lists the linear modules that there are.
    """
    available = linear_modules(model)
    if isinstance(targets, str):
        preset = _ALIASES.get(targets, targets)
        if preset == ALL_LINEAR:
            names: list[str] = []
            if not available:
                raise InputError(Problem("the model has no linear modules outside its head", field="targets"))
        else:
            names = _preset(preset, targets, model, available)
    else:
        names = list(dict.fromkeys(targets))
    hint = _listing(available)
    problems = [
        Problem(f"{name!r} matches no linear module{_meant(name, available)}", field="targets", hint=hint)
        for name in names
        if not any(_matches(name, path) for path in available)
    ]
    if problems:
        raise InputError(problems)
    return names or ALL_LINEAR


def target_options(model: nn.Module, targets: str | Sequence[str], layers: Sequence[int] | None) -> dict[str, Any]:
    """What PEFT's config is told of the targets: names, and numbers of layers if they are given.

    Raises:
        InputError: as `target_names`; or a layer is not there, or has none of the modules.
    """
    names = target_names(model, targets)
    if layers is None:
        return {"target_modules": names}
    available = linear_modules(model)
    if isinstance(names, str):  # PEFT takes no layers beside its own word for all
        names = list(dict.fromkeys(path.rsplit(".", 1)[-1] for path in available))
    paths = [name for name in names if name in available]
    if paths:  # PEFT would adapt these whatever their layer
        raise InputError(Problem(f"{paths[0]!r} is a single module, and layers chooses among many", field="targets"))
    found = {number for path in available if _matches_any(names, path) and (number := _layer(path)) is not None}
    _refuse_missing(layers, found)
    return {"target_modules": names, "layers_to_transform": list(layers)}


def targets_within(
    part: nn.Module, path: str, targets: str | Sequence[str], layers: Sequence[int] | None
) -> tuple[str, ...]:
    """Targets in one part of a model, such as the language model of one that hears, by their paths in the whole.

    The whole may have modules of the same names elsewhere; a path is that of one module. Layers are those of the part.

    Args:
        part: declared (`models.declared`), with the config of its architecture.
        path: of the part in the whole.

    Raises:
        InputError: as `target_options`.
    """
    wanted = target_names(part, targets)
    found = [f"{path}.{name}" for name in linear_modules(part) if isinstance(wanted, str) or _matches_any(wanted, name)]
    if layers is not None:
        numbers = {name: _layer(name) for name in found}
        _refuse_missing(layers, {number for number in numbers.values() if number is not None})
        found = [name for name in found if numbers[name] in layers]
    return tuple(found)


def linear_modules(model: nn.Module) -> tuple[str, ...]:
    """Paths of the linear modules outside the head, in the model's order."""
    head = head_modules(model)
    return tuple(
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and not any(f"{name}.".startswith(f"{part}.") for part in head)
    )


def _preset(preset: str, asked: str, model: nn.Module, available: Sequence[str]) -> list[str]:
    kind = str(getattr(getattr(model, "config", None), "model_type", "unknown"))
    names = ARCHITECTURES.get(kind)
    if names is None:
        raise InputError(
            Problem(
                f"the preset {asked!r} is not defined for the architecture {kind!r} (it is for "
                f"{', '.join(sorted(ARCHITECTURES))})",
                field="targets",
                hint=f"use {ALL_LINEAR!r} or a list of names; {_listing(available)}",
            )
        )
    attention = {"qv": [names.query, names.value]}.get(preset, [names.query, names.key, names.value])
    if preset != "qkv+dense":
        return attention
    # not each layout has each of the dense names
    return attention + [name for name in names.dense if any(_matches(name, path) for path in available)]


def _refuse_missing(layers: Sequence[int], found: Collection[int]) -> None:
    missing = [layer for layer in layers if layer not in found]
    if missing:
        raise InputError(
            Problem(
                f"no target in layer {', '.join(map(str, missing))}; layers with targets: "
                f"{', '.join(map(str, sorted(found))) or 'none'}",
                field="layers",
            )
        )


def _matches(name: str, path: str) -> bool:
    return path == name or path.endswith(f".{name}")


def _matches_any(names: Sequence[str], path: str) -> bool:
    return any(_matches(name, path) for name in names)


def _layer(path: str) -> int | None:
    """The number of the layer that a module is in, as PEFT reads it off its path."""
    found = re.match(r".*?\.[^.]*\.(\d+)\.", path)
    return None if found is None else int(found[1])


def _meant(name: str, available: Sequence[str]) -> str:
    near = suggest(name, {path.rsplit(".", 1)[-1] for path in available})
    return f"; did you mean {near!r}?" if near else ""


def _listing(available: Sequence[str]) -> str:
    counts = Counter(path.rsplit(".", 1)[-1] for path in available)
    return "linear modules: " + ", ".join(f"{name} ({count})" for name, count in counts.items())
