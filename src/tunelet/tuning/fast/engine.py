"""Takes over the encoder's forward pass of a model that is ready to train, and gives it back.

It reads the model's own modules (PEFT's among them), so parameters, names and the adapter file stay what they are.
What it cannot run is said in one sentence, and PEFT runs it.

It can: post-norm encoders laid out as BERT (BERT, RoBERTa, XLM-RoBERTa, ELECTRA) with exact gelu, under LoRA, rsLoRA,
LoRA+, PiSSA and LoRA-FA with any targets, and under full fine-tuning; on any device, in fp32 or bf16.

Example:
    >>> engine, why_not = attach(tuned.model, torch.bfloat16)       # doctest: +SKIP
    >>> tuned.model(**batch).logits                                 # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

from tunelet.tuning.fast.layer import Layer, Norm, Pass
from tunelet.tuning.fast.masks import MaskPool
from tunelet.tuning.fast.sites import Member, Site, member_of

#: architectures whose layers are BERT's, by `config.model_type`
FAMILIES = ("bert", "roberta", "xlm-roberta", "electra")
#: added to a score at padding; far below any score, and finite in every type
FAR = -1e4


class FastEncoder:
    """The engine of one model.

    Attributes:
        layers: the encoder's layers, in order.
        backbone: the module whose forward pass is taken over.
        dtype: in which the encoder computes.
        first_only: whether the last layer gives the first token alone.
    """

    def __init__(
        self, backbone: Any, layers: Sequence[Layer], dtype: torch.dtype, *, first_only: bool, seed: int
    ) -> None:
        self.backbone = backbone
        self.layers = list(layers)
        self.dtype = dtype
        self.first_only = first_only
        device = next(backbone.parameters()).device
        sites = [site for layer in self.layers for site in layer.sites if site.masks]
        rates = {site.dropout for site in sites}
        rates |= {p for layer in self.layers for p in (layer.hidden_dropout, layer.attention_dropout)}
        self._copies = [copy for layer in self.layers for site in layer.sites for copy in site.copies()]
        self._pools = {p: MaskPool(p, dtype, device, seed) for p in sorted(rates) if p > 0.0}

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **others: Any) -> Any:
        """The backbone's forward pass: ids and mask (B, L) to the last hidden state and the pooled first token.

        With `first_only` the last hidden state is (B, 1, H): a classification head looks at no other token.
        """
        unknown = sorted(key for key, value in others.items() if value is not None and key not in _IGNORED)
        if unknown:
            raise TypeError(f"the fast encoder does not take {', '.join(unknown)}; use `tuning.engine: peft`")
        self.refresh()
        training = self.backbone.training
        batch, length = input_ids.shape
        with torch.autocast(input_ids.device.type, enabled=False):
            x = self.backbone.embeddings(input_ids=input_ids)
            x = x.to(self.dtype).reshape(batch * length, -1)
            step = Pass(batch, length, self._bias(attention_mask), self._number() if training else None, self._pools)
            for layer in self.layers:
                x = layer(x, step)
        hidden = x.view(batch, -1, x.shape[-1])
        pooler = getattr(self.backbone, "pooler", None)
        pooled = pooler(hidden.to(_type_of(pooler))) if pooler is not None else None
        return BaseModelOutputWithPoolingAndCrossAttentions(last_hidden_state=hidden, pooler_output=pooled)

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
        sites = [site for layer in self.layers for site in layer.sites]
        held = [tensor for site in sites for tensor in (site.weight, site.bias, site.factor)]
        return held + [pool.numbers for pool in self._pools.values() if pool.numbers is not None]

    def detach(self) -> None:
        """Give the forward pass back."""
        self.backbone.__dict__.pop("forward", None)

    def state_dict(self) -> dict[str, int]:
        """The seed of each mask pool, by probability: with torch's generator, all that later masks depend on."""
        return {str(p): pool.seed for p, pool in self._pools.items()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Put the pools back.

        Raises:
            KeyError: a probability is missing.
        """
        for p, pool in self._pools.items():
            pool.restart(state[str(p)])

    def _number(self) -> int:
        """This pass's random number, from torch's generator."""
        number = int(torch.randint(1 << 62, ()).item())
        for pool in self._pools.values():
            pool.begin(number)
        return number

    def _bias(self, attention_mask: Tensor | None) -> Tensor | None:
        if attention_mask is None or bool(attention_mask.all()):
            return None
        heads = self.layers[0].heads
        bias = torch.zeros(attention_mask.shape, dtype=self.dtype, device=attention_mask.device)
        bias.masked_fill_(attention_mask == 0, FAR)
        return bias[:, None, None, :].expand(-1, heads, 1, -1).reshape(-1, 1, bias.shape[1])


#: arguments that transformers passes on and that change nothing here
_IGNORED = ("return_dict", "output_attentions", "output_hidden_states", "token_type_ids", "position_ids")


def attach(
    model: nn.Module, dtype: torch.dtype, *, seed: int = 0, shared_masks: bool = True
) -> tuple[FastEncoder | None, str]:
    """Take over the encoder of `model`.

    Args:
        model: a classifier, plain or with PEFT's adapter; on its device already.
        dtype: in which to compute; weights are copied into it, what trains stays as it is.
        seed: of the first mask pools.
        shared_masks: one dropout mask for q, k and v, or one for each as in PEFT.

    Returns:
        The engine, or None; and why not, or "".
    """
    peft: Any = model
    whole: Any = peft.get_base_model() if hasattr(peft, "get_base_model") else model
    config = whole.config
    if config.model_type not in FAMILIES:
        return None, f"its architecture {config.model_type!r} is none of {', '.join(FAMILIES)}"
    if config.hidden_act != "gelu":
        return None, f"its activation is {config.hidden_act!r}, not 'gelu'"
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        return None, "it is a decoder"
    backbone = getattr(whole, whole.base_model_prefix)
    first_only = type(whole).__name__.endswith("ForSequenceClassification")
    blocks = list(backbone.encoder.layer)
    layers = []
    for index, block in enumerate(blocks):
        layer = _layer(block, index, config, dtype, first_only and index == len(blocks) - 1, shared_masks)
        if isinstance(layer, str):
            return None, f"layer {index}: {layer}"
        layers.append(layer)
    covered = {id(parameter) for layer in layers for parameter in layer.parameters}
    for name, parameter in backbone.encoder.named_parameters():
        if parameter.requires_grad and id(parameter) not in covered:
            return None, f"{name} trains, and the fast path has no gradient for it"
    engine = FastEncoder(backbone, layers, dtype, first_only=first_only, seed=seed)
    backbone.forward = engine.forward
    return engine, ""


def _layer(block: Any, index: int, config: Any, dtype: torch.dtype, first_only: bool, shared: bool) -> Layer | str:
    attention = block.attention
    modules = {
        "query": attention.self.query,
        "key": attention.self.key,
        "value": attention.self.value,
        "attention.output.dense": attention.output.dense,
        "intermediate.dense": block.intermediate.dense,
        "output.dense": block.output.dense,
    }
    members: list[Member] = []
    for name, module in modules.items():
        member = member_of(module)
        if member is None:
            return f"{name} is a {type(module).__name__} that the fast path does not know"
        members.append(member)
    norms = (attention.output.LayerNorm, block.output.LayerNorm)

    def site(*chosen: Member) -> Site:
        return Site(chosen, dtype, shared_masks=shared)

    return Layer(
        index,
        site(members[0]) if first_only else site(*members[:3]),
        site(*members[1:3]) if first_only else None,
        site(members[3]),
        site(members[4]),
        site(members[5]),
        Norm(norms[0]),
        Norm(norms[1]),
        config.num_attention_heads,
        config.attention_probs_dropout_prob,
        config.hidden_dropout_prob,
    )


def _type_of(module: nn.Module) -> torch.dtype:
    """The type that a module's first parameter has; under autocast it does not matter."""
    return next(module.parameters()).dtype
