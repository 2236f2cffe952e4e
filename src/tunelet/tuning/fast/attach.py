"""Says whether the fast path can run a model, and lets it. What it cannot run is said in one sentence.

It can: post-norm encoders laid out as BERT (BERT, RoBERTa, XLM-RoBERTa, ELECTRA) with exact gelu, under LoRA, rsLoRA,
LoRA+, PiSSA and LoRA-FA with any targets, and under full fine-tuning; on any device, in fp32 or bf16. Not here: the
forward pass (`engine`).

Example:
    >>> attach(distilbert, torch.float32)[1]        # doctest: +SKIP
    "its architecture 'distilbert' is none of bert, roberta, xlm-roberta, electra"
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tunelet.tuning.fast.engine import FastEncoder
from tunelet.tuning.fast.layer import Layer, Norm
from tunelet.tuning.fast.members import Member, member_of
from tunelet.tuning.fast.sites import Site

#: architectures whose layers are BERT's, by `config.model_type`
FAMILIES = ("bert", "roberta", "xlm-roberta", "electra")


def attach(
    model: nn.Module, dtype: torch.dtype, *, seed: int = 0, shared_masks: bool = True
) -> tuple[FastEncoder | None, str]:
    """Take over the encoder of `model`.

    Weights that do not train are copied (or shared, in the same type) now: load and cast them before. What trains is
    read anew at every pass.

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
    if getattr(config, "position_embedding_type", "absolute") not in (None, "absolute"):
        return None, f"its attention knows {config.position_embedding_type!r} positions"
    backbone = getattr(whole, whole.base_model_prefix)
    first_only = type(whole).__name__.endswith("ForSequenceClassification")
    blocks = list(backbone.encoder.layer)
    linears: list[list[Member]] = []
    for index, block in enumerate(blocks):
        found = _members(block)
        if isinstance(found, str):
            return None, f"layer {index}: {found}"
        linears.append(found)
    covered = {id(parameter) for members in linears for member in members for parameter in member.trained}
    covered |= {id(p) for block in blocks for norm in _norms(block) for p in norm.parameters()}
    for name, parameter in backbone.encoder.named_parameters():
        if parameter.requires_grad and id(parameter) not in covered:
            return None, f"{name} trains, and the fast path has no gradient for it"
    layers = [
        _layer(block, members, index, dtype, first_only and index == len(blocks) - 1, shared_masks)
        for index, (block, members) in enumerate(zip(blocks, linears, strict=True))
    ]
    engine = FastEncoder(
        backbone, layers, dtype, head_dtype=_head_dtype(whole, dtype), first_only=first_only, seed=seed
    )
    return engine, ""


def _members(block: Any) -> list[Member] | str:
    """The six linear layers of a block, or what is wrong with one."""
    modules = {
        "query": block.attention.self.query,
        "key": block.attention.self.key,
        "value": block.attention.self.value,
        "attention.output.dense": block.attention.output.dense,
        "intermediate.dense": block.intermediate.dense,
        "output.dense": block.output.dense,
    }
    members: list[Member] = []
    for name, module in modules.items():
        member = member_of(module)
        if member is None:
            return f"{name} is a {type(module).__name__} whose adapter the fast path does not know"
        members.append(member)
    rates = {member.dropout for member in members[:3] if member.rank}
    if len(rates) > 1:
        return f"query, key and value have adapters of different dropout: {', '.join(map(str, sorted(rates)))}"
    return members


def _norms(block: Any) -> tuple[nn.LayerNorm, nn.LayerNorm]:
    return block.attention.output.LayerNorm, block.output.LayerNorm


def _layer(block: Any, members: list[Member], index: int, dtype: torch.dtype, first_only: bool, shared: bool) -> Layer:
    attention = block.attention
    norm_attention, norm_output = (Norm(norm, dtype) for norm in _norms(block))

    def site(*chosen: Member) -> Site:
        return Site(chosen, dtype, shared_masks=shared)

    return Layer(
        index,
        site(members[0]) if first_only else site(*members[:3]),
        site(*members[1:3]) if first_only else None,
        site(members[3]),
        site(members[4]),
        site(members[5]),
        norm_attention,
        norm_output,
        attention.self.num_attention_heads,
        attention.self.dropout.p,
        (attention.output.dropout.p, block.output.dropout.p),
    )


def _head_dtype(whole: nn.Module, otherwise: torch.dtype) -> torch.dtype:
    """The type of what comes after the backbone."""
    prefix = str(getattr(whole, "base_model_prefix", ""))
    return next((p.dtype for name, p in whole.named_parameters() if not name.startswith(f"{prefix}.")), otherwise)
