"""Takes over the encoder's forward pass of a model that is ready to train, and gives it back.

It reads the model's own modules (PEFT's among them), so parameters, names and the adapter file stay what they are.
A call that asks for what it does not compute (hidden states, attention weights, a mask of other shape, an adapter that
is switched off) is computed by those modules. Not here: which models it can run (`attach`), the layers (`layer`).

Example:
    >>> engine, why_not = attach(tuned.model, torch.bfloat16)       # doctest: +SKIP
    >>> tuned.model(**batch).logits                                 # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

from tunelet.tuning.fast.layer import Layer, Pass
from tunelet.tuning.fast.layer_function import run_layer
from tunelet.tuning.fast.masks import MaskPool, Masks, drop

#: added to a score at padding; far below any score, and finite in every type
FAR = -1e4
#: number of the embeddings' site of dropout; layers' numbers are below
_EMBEDDINGS = 1 << 20


class FastEncoder:
    """The engine of one model.

    Args:
        backbone: the module whose forward pass is taken over.
        layers: the encoder's layers, in order.
        dtype: in which the encoder computes.
        head_dtype: what the classification head is given; under autocast it does not matter.
        first_only: whether the last layer gives the first token alone.
        seed: of the first mask pools.
    """

    def __init__(
        self,
        backbone: Any,
        layers: Sequence[Layer],
        dtype: torch.dtype,
        *,
        head_dtype: torch.dtype,
        first_only: bool,
        seed: int,
    ) -> None:
        self.backbone = backbone
        self.layers = list(layers)
        self.dtype = dtype
        self.head_dtype = head_dtype
        self.first_only = first_only
        device = next(backbone.parameters()).device
        rates = {backbone.embeddings.dropout.p}
        for layer in self.layers:
            rates |= {layer.attention_dropout, *layer.hidden_dropout, *(site.dropout for site in layer.sites)}
        self._copies = [copy for layer in self.layers for part in layer.parts for copy in part.copies()]
        self._members = [m for layer in self.layers for site in layer.sites for m in site.members if m.module]
        self._pools = {p: MaskPool(p, dtype, device, seed) for p in sorted(rates) if p > 0.0}
        backbone.forward = self.forward

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, *positional: Any, **others: Any
    ) -> Any:
        """The backbone's forward pass: ids and mask (B, L) to the last hidden state and the pooled first token.

        With `first_only` the last hidden state is (B, 1, H): a classification head looks at no other token.
        """
        if input_ids is None or positional or not self._can(attention_mask, others):
            return type(self.backbone).forward(self.backbone, input_ids, attention_mask, *positional, **others)
        self.refresh()
        masks = self._masks() if self.backbone.training else {}
        ids = {key: others[key] for key in ("token_type_ids", "position_ids") if others.get(key) is not None}
        x = self._embedded(masks, input_ids=input_ids, **ids)
        batch, length = input_ids.shape
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.dtype).reshape(batch * length, -1)
            step = Pass(batch, length, self._bias(attention_mask), masks)
            for layer in self.layers:
                x = run_layer(layer, x, step)
        hidden = x.view(batch, -1, x.shape[-1])
        pooler = getattr(self.backbone, "pooler", None)
        pooled = pooler(hidden.to(_type_of(pooler))).to(self.head_dtype) if pooler is not None else None
        return BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=hidden.to(self.head_dtype), pooler_output=pooled
        )

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over what the optimiser changed: a product holds A, s B and trained weights in its own type.

        At every pass, because nothing tells of a change: the fused optimiser does not count versions up.
        """
        if not self._copies:
            return
        scaled = [parameter * factor if factor != 1.0 else parameter for _, parameter, factor in self._copies]
        torch._foreach_copy_([place for place, _, _ in self._copies], scaled)

    def tensors(self) -> list[Tensor]:
        """What the engine holds beside the model's own tensors: products in their type, and mask pools."""
        held = [tensor for layer in self.layers for part in layer.parts for tensor in part.tensors()]
        return held + [pool.numbers for pool in self._pools.values() if pool.numbers is not None]

    def detach(self) -> None:
        """Give the forward pass back."""
        self.backbone.__dict__.pop("forward", None)

    def state_dict(self) -> dict[str, int]:
        """The seed of each mask pool, by probability: with torch's generator, all that later masks depend on."""
        return {str(p): pool.seed for p, pool in self._pools.items()}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Put the pools back.

        Raises:
            KeyError: a probability is missing.
        """
        for p, pool in self._pools.items():
            pool.restart(state[str(p)])

    def _can(self, attention_mask: Tensor | None, others: Mapping[str, Any]) -> bool:
        """Whether a call asks for nothing else than what is computed here."""
        asked = [key for key, value in others.items() if value is not None and value is not False and key not in _TAKEN]
        shaped = attention_mask is None or attention_mask.dim() == 2
        whole = others.get("return_dict") is not False and all(member.in_force for member in self._members)
        return shaped and whole and not asked

    def _masks(self) -> dict[float, Masks]:
        """This pass's masks; its random number is torch's generator's."""
        number = int(torch.randint(1 << 62, ()).item())
        return {p: pool.begin(number) for p, pool in self._pools.items()}

    def _embedded(self, masks: Mapping[float, Masks], **ids: Tensor) -> Tensor:
        """What the embedding modules give (B, L, H), with a dropout of ours instead of theirs."""
        dropout = self.backbone.embeddings.dropout
        training, dropout.training = dropout.training, False
        try:
            x: Tensor = self.backbone.embeddings(**ids)
        finally:
            dropout.training = training
        if masks and dropout.p > 0.0:
            x = drop(x, masks[dropout.p], _EMBEDDINGS)
        project = getattr(self.backbone, "embeddings_project", None)
        return x if project is None else project(x.to(_type_of(project)))

    def _bias(self, attention_mask: Tensor | None) -> Tensor | None:
        """(B heads, 1, L), added to the scores; None where nothing is padding."""
        if attention_mask is None or bool(attention_mask.all()):
            return None
        heads = self.layers[0].heads
        bias = torch.zeros(attention_mask.shape, dtype=self.dtype, device=attention_mask.device)
        bias.masked_fill_(attention_mask == 0, FAR)
        return bias[:, None, None, :].expand(-1, heads, 1, -1).reshape(-1, 1, bias.shape[1])


#: arguments that are looked at, or that ask for what is given anyway
_TAKEN = ("token_type_ids", "position_ids", "return_dict")


def _type_of(module: nn.Module) -> torch.dtype:
    """The type of a module's first parameter."""
    return next(module.parameters()).dtype
