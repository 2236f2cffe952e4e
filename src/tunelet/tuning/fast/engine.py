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
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

from tunelet.models.declared import READS_SEGMENTS
from tunelet.models.mask_pool import MaskPool, Masks, drop
from tunelet.tuning.fast.attention import FAR
from tunelet.tuning.fast.frozen import FrozenStates, Ids
from tunelet.tuning.fast.layer import Layer
from tunelet.tuning.fast.layer_function import run_layer
from tunelet.tuning.fast.passes import Pass
from tunelet.tuning.fast.segments import find_segments
from tunelet.tuning.fast.sites import Copy

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

    Attributes:
        checkpointing: gradient checkpointing: a layer keeps its input alone for the backward pass.
        frozen: what the frozen layers at the bottom give, where it is held (`hold`).
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
        self.dtype = dtype
        self.head_dtype = head_dtype
        self.first_only = first_only
        self.checkpointing = False
        self.frozen: FrozenStates | None = None
        self.layers: list[Layer] = []
        self.use(layers)
        device = next(backbone.parameters()).device
        rates = {backbone.embeddings.dropout.p}
        for layer in self.layers:
            rates |= {layer.attention_dropout, *layer.hidden_dropout, *(site.dropout for site in layer.sites)}
        self._members = [m for layer in self.layers for site in layer.sites for m in site.members if m.module]
        self._pools = {p: MaskPool(p, dtype, device, seed) for p in sorted(rates) if p > 0.0}
        backbone.forward = self.forward
        setattr(backbone, READS_SEGMENTS, True)

    def use(self, layers: Sequence[Layer]) -> None:
        """Compute with these layers, which hold the same parameters, from now on."""
        self.layers = list(layers)
        self._copies = copies_of(layers)

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, *positional: Any, **others: Any
    ) -> Any:
        """The backbone's forward pass: ids (B, L) and mask (B, L) or (B, 1, L, L) to the last hidden state and the
        pooled first token. In the place of ids there may be `inputs_embeds` (B, L, H).

        With `first_only` the last hidden state is (B, 1, H): a classification head looks at no other token.
        """
        embeds = others.pop("inputs_embeds", None)
        if (input_ids is None) == (embeds is None) or positional or not self.can(attention_mask, others, embeds):
            others |= {} if embeds is None else {"inputs_embeds": embeds}
            return type(self.backbone).forward(self.backbone, input_ids, attention_mask, *positional, **others)
        self.refresh()
        masks = self.masks(draw_number()) if self.backbone.training else {}
        ids, held = ids_of(others), self.frozen
        layers, whole = self.layers, self.backbone.training and not ids
        if input_ids is None:
            x = self.embedded((masks,), inputs_embeds=embeds, **ids)
        elif held is not None and whole and self.frozen_depth() >= held.depth:
            x, layers = held.states(input_ids, attention_mask), self.layers[held.depth :]
        else:
            x = self.embedded((masks,), input_ids=input_ids, **ids)
        return self.answer(self._through(layers, x, attention_mask, masks))

    def _through(
        self, layers: Sequence[Layer], x: Tensor, attention_mask: Tensor | None, masks: Mapping[float, Masks]
    ) -> Tensor:
        """x (B, L, H) through `layers`; (B, 1, H) where the last gives the first token alone."""
        batch, length = x.shape[:2]
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.dtype).reshape(batch * length, -1)
            segments = None
            if attention_mask is not None and attention_mask.dim() == 4:
                segments = find_segments(attention_mask, self.dtype)
            bias = self.bias(attention_mask) if segments is None else None
            step = Pass(batch, length, bias, (masks,), segments)
            for layer in layers:
                x = run_layer(layer, x, step, checkpointing=self.checkpointing)
        return x.view(batch, -1, x.shape[-1])

    def frozen_depth(self) -> int:
        """How many layers, from the first on, have nothing that trains in them nor below; never the last layer."""
        below = (self.backbone.embeddings, getattr(self.backbone, "embeddings_project", None))
        if any(p.requires_grad for module in below if module is not None for p in module.parameters()):
            return 0
        return next((layer.index for layer in self.layers[:-1] if layer.parameters), len(self.layers) - 1)

    def hold(self, texts: Sequence[Ids], budget: int) -> str:
        """Hold what the frozen layers at the bottom give for `texts`, from the first use of each on.

        To be called when frozen weights, and what trains, are as they will be.

        Args:
            texts: token ids of the training texts, without padding.
            budget: bytes that may be held.

        Returns:
            Why nothing is held, or "".
        """
        depth = self.frozen_depth()
        rates = [self.backbone.embeddings.dropout.p]
        for layer in self.layers[:depth]:
            rates += [layer.attention_dropout, *layer.hidden_dropout, *(site.dropout for site in layer.sites)]
        if not depth or max(rates) > 0.0:
            return "dropout acts in the frozen layers" if depth else "no layer at the bottom is frozen"
        device = next(self.backbone.parameters()).device

        def compute(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            input_ids, attention_mask = input_ids.to(device), attention_mask.to(device)
            return self._through(self.layers[:depth], self.embedded(({},), input_ids=input_ids), attention_mask, {})

        config = self.backbone.config
        like = torch.empty((0, config.hidden_size), dtype=self.dtype, device=device)
        pad_id = getattr(config, "pad_token_id", None) or 0
        self.frozen = FrozenStates(texts, compute, depth=depth, like=like, budget=budget, pad_id=pad_id)
        return ""

    def answer(self, hidden: Tensor) -> Any:
        """The backbone's output from the last layer's (B, L or 1, H)."""
        pooler = getattr(self.backbone, "pooler", None)
        pooled = pooler(hidden.to(_type_of(pooler))).to(self.head_dtype) if pooler is not None else None
        return BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=hidden.to(self.head_dtype), pooler_output=pooled
        )

    def refresh(self) -> None:
        """Take over what the optimiser changed, at every pass: nothing tells of a change, least a fused optimiser."""
        refresh(self._copies)

    def tensors(self) -> list[Tensor]:
        """What it holds beside the model's own tensors: products in their type, mask pools, frozen layers' outputs."""
        held = [tensor for layer in self.layers for part in layer.parts for tensor in part.tensors()]
        held += [] if self.frozen is None else self.frozen.tensors()
        return held + [pool.numbers for pool in self._pools.values() if pool.numbers is not None]

    def detach(self) -> None:
        """Give the forward pass back."""
        for name in ("forward", READS_SEGMENTS):
            self.backbone.__dict__.pop(name, None)

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

    def can(self, attention_mask: Tensor | None, others: Mapping[str, Any], embeds: Tensor | None = None) -> bool:
        """Whether a call asks for nothing else than what is computed here.

        Args:
            embeds: (B, L, H) embeddings of words in the place of tokens.
        """
        if embeds is not None and "inputs_embeds" not in signature(self.backbone.embeddings.forward).parameters:
            return False
        asked = [key for key, value in others.items() if value is not None and value is not False and key not in _TAKEN]
        shaped = attention_mask is None or attention_mask.dim() == 2 or self._of_pairs(attention_mask)
        whole = others.get("return_dict") is not False and all(member.in_force for member in self._members)
        return shaped and whole and not asked

    def _of_pairs(self, attention_mask: Tensor) -> bool:
        """Whether a mask says for each query which keys it sees; the first token alone has too few queries for it."""
        return not self.first_only and attention_mask.dim() == 4 and attention_mask.dtype == torch.bool

    def masks(self, number: int) -> dict[float, Masks]:
        """The masks of the pass with this random number."""
        return {p: pool.begin(number) for p, pool in self._pools.items()}

    def embedded(self, masks: Sequence[Mapping[float, Masks]], **ids: Tensor) -> Tensor:
        """What the embedding modules give, with a dropout of ours instead of theirs, once for each of M `masks`.

        Returns:
            (M B, L, H).
        """
        dropout = self.backbone.embeddings.dropout
        training, dropout.training = dropout.training, False
        try:
            x: Tensor = self.backbone.embeddings(**ids)
        finally:
            dropout.training = training
        if dropout.p > 0.0 and masks[0]:
            dropped = [drop(x, own[dropout.p], _EMBEDDINGS) for own in masks]
            x = dropped[0] if len(dropped) == 1 else torch.cat(dropped)
        elif len(masks) > 1:
            x = x.repeat(len(masks), 1, 1)
        project = getattr(self.backbone, "embeddings_project", None)
        return x if project is None else project(x.to(_type_of(project)))

    def bias(self, attention_mask: Tensor | None) -> Tensor | None:
        """(B heads, 1, L) of a mask (B, L), (B heads, L, L) of a mask (B, 1, L, L); None where everything is seen."""
        if attention_mask is None or bool(attention_mask.all()):
            return None
        heads = self.layers[0].heads
        bias = torch.zeros(attention_mask.shape, dtype=self.dtype, device=attention_mask.device)
        bias.masked_fill_(attention_mask == 0, FAR)
        bias = bias if bias.dim() == 4 else bias[:, None, None, :]
        return bias.expand(-1, heads, -1, -1).reshape(-1, *bias.shape[2:])


def draw_number() -> int:
    """The random number of a pass, from torch's generator."""
    return int(torch.randint(1 << 62, ()).item())


def ids_of(others: Mapping[str, Any]) -> dict[str, Tensor]:
    """The arguments of a call that the embeddings take, beside the tokens."""
    return {key: others[key] for key in ("token_type_ids", "position_ids") if others.get(key) is not None}


def copies_of(layers: Sequence[Layer]) -> list[Copy]:
    """All that the optimiser changes and the layers hold in their own type."""
    return [copy for layer in layers for part in layer.parts for copy in part.copies()]


@torch.no_grad()
def refresh(copies: Sequence[Copy]) -> None:
    """Copy A, s B and trained weights to where the products have them."""
    if copies:
        scaled = [parameter * factor if factor != 1.0 else parameter for _, parameter, factor in copies]
        torch._foreach_copy_([place for place, _, _ in copies], scaled)


#: arguments that are looked at, or that ask for what is given anyway
_TAKEN = ("token_type_ids", "position_ids", "return_dict")


def _type_of(module: nn.Module) -> torch.dtype:
    """The type of a module's first parameter."""
    return next(module.parameters()).dtype
