"""Hidden states at one position of each text: all that a pseudo-likelihood or a [CLS] head needs of an encoder.

Layers laid out as BERT's are run here, so that the last one computes queries, output and feed-forward of the one
position alone. Their modules are called as they are, PEFT's among them. Other encoders, and one whose forward pass the
fast path has taken over, are run whole. Not here: which texts there are, the head.

Example:
    >>> hidden_at(model, ids_BL, mask_BL, position_B).shape         # doctest: +SKIP
    torch.Size([64, 384])
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tunelet.models.vocabulary import backbone_of, whole_model

#: Architectures whose layers are BERT's, by `config.model_type`.
_LAYOUT = ("bert", "roberta", "xlm-roberta", "camembert")


def hidden_at(model: Any, ids: Tensor, mask: Tensor | None, position: Tensor) -> Tensor:
    """The last hidden state (B, H) at one position of each text.

    Args:
        model: in evaluation mode; its backbone is an encoder of `transformers`.
        ids: (B, L) tokens.
        mask: (B, L), 1 at tokens; None: nothing is padding.
        position: (B,) positions.
    """
    backbone, config = backbone_of(model), whole_model(model).config
    rows = torch.arange(len(ids), device=ids.device)
    taken_over = "forward" in backbone.__dict__
    if config.model_type not in _LAYOUT or taken_over or getattr(config, "is_decoder", False):
        whole: Tensor = backbone(input_ids=ids, attention_mask=mask).last_hidden_state
        return whole[rows, position]
    x = backbone.embeddings(input_ids=ids)
    seen = None if mask is None else mask.bool()[:, None, None, :]
    blocks = list(backbone.encoder.layer)
    for block in blocks[:-1]:
        x = _block(block, x, x, seen)
    return _block(blocks[-1], x[rows, position][:, None], x, seen)[:, 0]


def _block(block: Any, x: Tensor, keys: Tensor, seen: Tensor | None) -> Tensor:
    """One layer (Devlin et al. 2019) for the queries x (B, Q, H) over keys (B, L, H)."""
    attention = block.attention.self
    heads = attention.num_attention_heads

    def split(y: Tensor) -> Tensor:
        return y.view(y.shape[0], y.shape[1], heads, -1).transpose(1, 2)

    q, k, v = split(attention.query(x)), split(attention.key(keys)), split(attention.value(keys))
    context = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    x = block.attention.output(context.transpose(1, 2).reshape(x.shape), x)
    found: Tensor = block.output(block.intermediate(x), x)
    return found
