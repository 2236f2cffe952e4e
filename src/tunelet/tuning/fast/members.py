"""Reads one linear layer of a model, plain or with PEFT's LoRA around it. Not here: its product (`sites`).

Example:
    >>> member_of(model.get_submodule("bert.encoder.layer.0.attention.self.query")).scaling       # doctest: +SKIP
    2.0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Member:
    """One linear layer of a site.

    Attributes:
        weight: (N, K), frozen or trained.
        bias: (N,) or None, frozen or trained.
        a: (r, K) or None where the layer has no update.
        b: (N, r) or None.
        scaling: of the update.
        dropout: probability on the update's input.
        module: PEFT's module, where there is an update.
        adapter: its name there.
    """

    weight: Tensor
    bias: Tensor | None
    a: nn.Parameter | None = None
    b: nn.Parameter | None = None
    scaling: float = 1.0
    dropout: float = 0.0
    module: Any = None
    adapter: str = ""

    @property
    def rank(self) -> int:
        """r, or 0 without an update."""
        return 0 if self.a is None else self.a.shape[0]

    @property
    def trained(self) -> list[nn.Parameter]:
        """Its trained parameters, in the order in which a site returns gradients."""
        own = (self.weight, self.bias, self.a, self.b)
        return [p for p in own if isinstance(p, nn.Parameter) and p.requires_grad]

    @property
    def needs_input(self) -> bool:
        """Whether a gradient is a product with the input: A's and the weight's are, B's is not."""
        return self.weight.requires_grad or (self.a is not None and self.a.requires_grad)

    @property
    def in_force(self) -> bool:
        """Whether the module computes what this says: not while its adapter is switched off, merged or another."""
        return self.module is None or _runs(self.module, self.adapter)


def member_of(module: Any) -> Member | None:
    """A linear layer, plain or with PEFT's LoRA around it, as a `Member`; None if it is neither.

    DoRA and other variants, LoRA with a bias or with a rank drawn at each step (a hook on A), and merged or disabled
    adapters are not: their forward pass is another.
    """
    if type(module) is nn.Linear:
        return Member(module.weight, module.bias)
    base = getattr(module, "base_layer", None)
    if type(base) is not nn.Linear or type(module).__module__ != "peft.tuners.lora.layer":
        return None
    names = list(module.active_adapters)
    if type(module).__name__ != "Linear" or len(names) != 1 or not _runs(module, names[0]):
        return None
    name = names[0]
    plain = name in module.lora_A and not module.use_dora.get(name) and name not in getattr(module, "lora_variant", {})
    if not plain or module.lora_B[name].bias is not None or module.lora_A[name]._forward_hooks:
        return None
    return Member(
        base.weight,
        base.bias,
        module.lora_A[name].weight,
        module.lora_B[name].weight,
        float(module.scaling[name]),
        float(getattr(module.lora_dropout[name], "p", 0.0)),
        module,
        name,
    )


def _runs(module: Any, adapter: str) -> bool:
    return not module.disable_adapters and not module.merged and list(module.active_adapters) == [adapter]
