"""Adapters and their fusion trained at once: every text runs through all K adapters and the plain base, with gradients.

The paper trains in two stages (`attention` over frozen experts); its abstract speaks of "multiple tasks
simultaneously", and this is that reading. A batch is repeated K + 1 times; in each adapted layer the rows of adapter k
get s B_k A_k x, those of the base nothing, by one batched product. Not here: which texts form a batch.

Example:
    >>> model = JointFusion(FusionSettings(), backbone, names, experts=3, labels=9, r=4, alpha=8, dropout=0.1, seed=1)
    ... # doctest: +SKIP
    >>> model(input_ids, attention_mask).logits.shape               # doctest: +SKIP
    torch.Size([16, 9])
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from tunelet.base.errors import InputError, Problem
from tunelet.base.streams import torch_stream
from tunelet.tuning.fusion.attention import Fused
from tunelet.tuning.fusion.expert_heads import output_fusion
from tunelet.tuning.fusion.grouped import masked_mean
from tunelet.tuning.fusion.settings import FusionSettings


class JointLayer(nn.Module):
    """K low-rank updates of one linear layer.

    Args:
        stream: what A is drawn from, U(-1, 1) / sqrt(in) as PEFT has it; B starts at 0.
    """

    def __init__(
        self, inputs: int, outputs: int, *, experts: int, r: int, scaling: float, rate: float, stream: torch.Generator
    ) -> None:
        super().__init__()
        self.scaling, self.rate = scaling, rate
        self.a = nn.Parameter((torch.rand((experts, r, inputs), generator=stream) * 2 - 1) * inputs**-0.5)
        self.b = nn.Parameter(torch.zeros(experts, outputs, r))

    def forward(self, x: Tensor) -> Tensor:
        """(K, n, in) to the updates (K, n, out)."""
        x = dropout(x, self.rate, self.training)
        return torch.bmm(torch.bmm(x, self.a.transpose(1, 2)), self.b.transpose(1, 2)) * self.scaling


class JointFusion(nn.Module):
    """K adapters over one frozen base, and the fusion of their outputs.

    Args:
        settings: of `level: output`.
        backbone: the base without a head; it is frozen, in evaluation mode, and belongs to the fusion.
        names: modules of the backbone that are adapted.
        labels: C, of all tasks together.
        seed: of the run; streams "joint" and "fusion".

    Raises:
        InputError: a name is none of a linear layer.
    """

    def __init__(
        self,
        settings: FusionSettings,
        backbone: Any,
        names: Sequence[str],
        *,
        experts: int,
        labels: int,
        r: int,
        alpha: float,
        dropout: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.experts = experts
        self._held = (backbone.requires_grad_(False).eval(),)
        accepted = inspect.signature(type(backbone).forward).parameters
        self._options = {"use_cache": False} if "use_cache" in accepted else {}
        stream = torch_stream(seed, "joint")
        self.adapters = nn.ModuleDict()
        for name in names:
            module = backbone.get_submodule(name)
            if type(module) is not nn.Linear:
                raise InputError(Problem(f"{name} is a {type(module).__name__}, expected a linear layer"))
            layer = JointLayer(
                module.in_features, module.out_features, experts=experts, r=r, scaling=alpha / r, rate=dropout,
                stream=stream,
            )  # fmt: skip
            self.adapters[name.replace(".", "/")] = layer
            _replace(module, layer)
        width = int(backbone.config.hidden_size)
        self.fusion = output_fusion(settings, width=width, experts=experts, labels=labels, seed=seed)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **others: Any) -> Fused:
        """Ids and mask (B, L) to logits (B, C) and weights (B, K)."""
        (backbone,) = self._held
        backbone.eval()
        copies = self.experts + 1
        # the base's rows come first; a row count that is a multiple of K + 1 is what the layers count on
        mask = attention_mask.repeat(copies, 1)
        out = backbone(input_ids=input_ids.repeat(copies, 1), attention_mask=mask, **self._options)
        pooled = masked_mean(out.last_hidden_state, mask).view(copies, len(input_ids), -1).transpose(0, 1)
        fused: Fused = self.fusion(pooled[:, 1:], pooled[:, 0])
        return fused


def _replace(module: Any, layer: JointLayer) -> None:
    plain = type(module).forward
    copies = len(layer.a) + 1

    def forward(x: Tensor) -> Tensor:
        h: Tensor = plain(module, x)
        rows = x.reshape(copies, -1, x.shape[-1])
        update = layer(rows[1:])
        return h + torch.cat([torch.zeros_like(update[:1]), update]).view(h.shape)

    module.forward = forward
