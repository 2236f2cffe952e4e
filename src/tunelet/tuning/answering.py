"""The forward pass of a BERT-like encoder that only answers: its own modules, without what a classifier ignores.

Layers but the last are BERT's. A classification head looks at the first token alone, so the last layer is computed for
that token, and its keys and values not at all: with one query q a text and head,

    q . (W_k x_t + b_k) = (W_k^T q) . x_t + const,      sum_t p_t (W_v x_t + b_v) = W_v (sum_t p_t x_t) + b_v

(softmax does not see the constant), so two small products a text take the place of two large ones over all its tokens.
Linear layers are called as they are, in fp32 or int8 (`int8`). Not here: training, dropout (`fast`).

Example:
    >>> AnsweringEncoder(model.bert)            # doctest: +SKIP
    >>> model(**batch).logits                   # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

from tunelet.tuning.int8 import Int8Linear

#: architectures with BERT's layers, by `config.model_type`
FAMILIES = ("bert", "roberta", "xlm-roberta", "electra")
#: added to a score at padding; far below any score
FAR = -1e4
#: arguments that are used, or that ask for what is given anyway
_TAKEN = ("token_type_ids", "position_ids", "return_dict")


def can_answer(model: Any) -> bool:
    """Whether `model` is a classifier with BERT's layers that this forward pass computes."""
    config = model.config
    if config.model_type not in FAMILIES or not type(model).__name__.endswith("ForSequenceClassification"):
        return False
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        return False
    if getattr(config, "position_embedding_type", "absolute") not in (None, "absolute"):
        return False
    backbone = getattr(model, model.base_model_prefix)
    return all(type(linear) in (nn.Linear, Int8Linear) for block in backbone.encoder.layer for linear in linears(block))


def linears(block: Any) -> tuple[nn.Module, ...]:
    """The six linear layers of one of BERT's layers."""
    own = block.attention.self
    return own.query, own.key, own.value, block.attention.output.dense, block.intermediate.dense, block.output.dense


class AnsweringEncoder:
    """Takes over the forward pass of `backbone`, whose modules it calls.

    A call that asks for anything else (hidden states, attention weights, a mask of other shape) or that comes in
    training mode is computed by the backbone itself.
    """

    def __init__(self, backbone: Any) -> None:
        self.backbone = backbone
        self.blocks = list(backbone.encoder.layer)
        self.heads = self.blocks[0].attention.self.num_attention_heads
        backbone.forward = self.forward

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, *positional: Any, **others: Any
    ) -> Any:
        """Ids and mask (B, L) to the last hidden state of the first token (B, 1, H) and the pooled one, if any."""
        if input_ids is None or positional or not self._can(attention_mask, others):
            return type(self.backbone).forward(self.backbone, input_ids, attention_mask, *positional, **others)
        ids = {key: others[key] for key in ("token_type_ids", "position_ids") if others.get(key) is not None}
        x = self.backbone.embeddings(input_ids=input_ids, **ids)
        project = getattr(self.backbone, "embeddings_project", None)
        x = x if project is None else project(x)
        bias = x.new_zeros(input_ids.shape)
        if attention_mask is not None:
            bias.masked_fill_(attention_mask == 0, FAR)
        bias = bias[:, None]
        for block in self.blocks[:-1]:
            x = _rest(block, self._attended(block, x, bias), x)
        x = _rest(self.blocks[-1], self._attended_first(self.blocks[-1], x, bias), x[:, :1])
        pooler = getattr(self.backbone, "pooler", None)
        return BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=x, pooler_output=None if pooler is None else pooler(x)
        )

    def _attended(self, block: Any, x: Tensor, bias: Tensor) -> Tensor:
        """What attention gives for x (B, L, H), before its output layer; bias (B, 1, L)."""
        own, (batch, length, width) = block.attention.self, x.shape

        def apart(y: Tensor) -> Tensor:
            return y.view(batch, length, self.heads, -1).transpose(1, 2)

        q, k, v = apart(own.query(x)), apart(own.key(x)), apart(own.value(x))
        # with a mask even where it is zero: torch's kernel without one is the slower on short texts
        context = scaled_dot_product_attention(q, k, v, attn_mask=bias[:, None])
        return context.transpose(1, 2).reshape(batch, length, width)

    def _attended_first(self, block: Any, x: Tensor, bias: Tensor) -> Tensor:
        """The same for the first token alone, (B, 1, H), through the rows of W_k and W_v of each head (h, d, H)."""
        own, (batch, _, width) = block.attention.self, x.shape
        size = width // self.heads
        key, value = (linear.weight.view(self.heads, size, width) for linear in (own.key, own.value))
        q = own.query(x[:, 0]).view(batch, self.heads, size).transpose(0, 1)  # (h, B, d)
        asked = torch.bmm(q, key).transpose(0, 1)  # (B, h, H)
        p = torch.baddbmm(bias, asked, x.transpose(1, 2), alpha=size**-0.5).softmax(-1)  # (B, h, L)
        seen = torch.bmm(p, x).transpose(0, 1)  # (h, B, H)
        context = torch.bmm(seen, value.transpose(1, 2)).transpose(0, 1).reshape(batch, 1, width)
        return context if own.value.bias is None else context + own.value.bias

    def _can(self, attention_mask: Tensor | None, others: Mapping[str, Any]) -> bool:
        asked = [key for key, value in others.items() if value is not None and value is not False and key not in _TAKEN]
        shaped = attention_mask is None or attention_mask.dim() == 2
        return shaped and not asked and others.get("return_dict") is not False and not self.backbone.training


def _rest(block: Any, context: Tensor, x: Tensor) -> Tensor:
    """A layer after its attention, for the tokens x that it is computed for."""
    out, down = block.attention.output, block.output
    y = out.LayerNorm(out.dense(context) + x)
    u: Tensor = block.intermediate.intermediate_act_fn(block.intermediate.dense(y))
    z: Tensor = down.LayerNorm(down.dense(u) + y)
    return z
