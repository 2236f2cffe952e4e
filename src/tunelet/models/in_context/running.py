"""Texts that a causal language model has read so far, side by side: keys and values, and what of them counts.

What is read next comes as vectors, each with what it may look at among the new ones, so a row may be a text, a tree of
possible continuations, or one after the other. Rows are padded anywhere: padding is looked at by nobody, and a place's
position is its depth in its own row, so what a row gives does not depend on the others. Not here: what is read
(`answering`), the vocabulary.

Example:
    >>> shared = Running.start(model)                                               # doctest: +SKIP
    >>> shared.read(prefix_1LH, causal(lengths, width), depths, kept)               # doctest: +SKIP
    >>> hidden_BLH = shared.copied(8).read(rest_BLH, looks, depths, kept)           # doctest: +SKIP
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from tunelet.base.errors import BaseModelError, Problem
from tunelet.models.bases import usable_positions
from tunelet.models.vocabulary import backbone_of, whole_model

#: Architectures that count positions from behind the padding's id.
_OFFSET = ("roberta", "xlm-roberta", "camembert")


class Running:
    """See the top of the file.

    Args:
        language: a causal language model in evaluation mode, plain or with PEFT's adapter.
        cache: keys and values of K places; it belongs to this object alone.
        seen: (B, K) bool, which of them later places look at.
        length: (B,) int64, the position of the next place.
        dtype: in which the attention computes.
    """

    def __init__(self, language: Any, cache: DynamicCache, seen: Tensor, length: Tensor, dtype: torch.dtype) -> None:
        self.language, self.cache, self.seen, self.length, self.dtype = language, cache, seen, length, dtype
        config = whole_model(language).config
        self._offset = int(config.pad_token_id) + 1 if config.model_type in _OFFSET else 0

    @classmethod
    def start(cls, language: Any, rows: int = 1, *, autocast: torch.dtype | None = None) -> Running:
        """Rows of which nothing is read yet."""
        first = next(language.parameters())
        seen = torch.zeros(rows, 0, dtype=torch.bool, device=first.device)
        length = torch.zeros(rows, dtype=torch.int64, device=first.device)
        return cls(language, DynamicCache(), seen, length, autocast or first.dtype)

    def copied(self, rows: int) -> Running:
        """The one row as many, without copying its keys and values."""
        return self._taken(lambda kept: kept.expand(rows, *kept.shape[1:]))

    def chosen(self, rows: Tensor) -> Running:
        """Some of the rows (int64), in this order."""
        return self._taken(lambda kept: kept[rows])

    def read(self, vectors: Tensor, looks: Tensor, depths: Tensor, kept: Tensor) -> Tensor:
        """Read on; `length` stays as it is, the caller knows how much of this was text.

        Args:
            vectors: (B, L, H).
            looks: (B, L, L) bool, whether the row's place i looks at place j of the new ones; each at itself.
            depths: (B, L) int64, positions counted from `length`.
            kept: (B, L) bool, which of the new places are seen later.

        Returns:
            (B, L, H) last hidden states, before the head.
        """
        before = self.seen[:, None, :].expand(-1, looks.shape[1], -1)
        allowed = torch.cat([before, looks], dim=2)[:, None]
        bias = torch.zeros(allowed.shape, dtype=self.dtype, device=allowed.device)
        bias.masked_fill_(~allowed, torch.finfo(self.dtype).min)
        out = backbone_of(self.language)(
            inputs_embeds=vectors,
            attention_mask=bias,
            position_ids=self.length[:, None] + depths + self._offset,
            past_key_values=self.cache,
            use_cache=True,
        )
        self.seen = torch.cat([self.seen, kept], dim=1)
        hidden: Tensor = out.last_hidden_state
        return hidden

    def _taken(self, take: Any) -> Running:
        cache = DynamicCache()
        for layer in self.cache.layers:
            copy = DynamicLayer()
            copy.lazy_initialization(layer.keys, layer.values)
            copy.keys, copy.values = take(layer.keys), take(layer.values)
            cache.layers.append(copy)
        return Running(self.language, cache, take(self.seen), take(self.length), self.dtype)


def causal(real: Tensor) -> Tensor:
    """What places of plain texts look at (B, L, L): real ones up to themselves; padding (False in `real`) at itself."""
    width = real.shape[1]
    lower = torch.ones(width, width, dtype=torch.bool, device=real.device).tril()
    return (lower & real[:, None, :]) | torch.eye(width, dtype=torch.bool, device=real.device)


def room_of(language: Any) -> int | None:
    """Places that a causal language model reads exactly as it was trained; None where nothing limits it.

    Raises:
        BaseModelError: it cannot be told the position of a token, or keeps no keys and values.
    """
    takes = inspect.signature(type(backbone_of(language)).forward).parameters
    lost = [name for name in ("position_ids", "past_key_values", "inputs_embeds") if name not in takes]
    if lost:
        name = type(backbone_of(language)).__name__
        hint = "take a decoder of the Llama, Qwen, GPT-2 or BERT kind"
        raise BaseModelError(Problem(f"{name} takes no {', '.join(lost)}, so prompts cannot share a prefix", hint=hint))
    config = whole_model(language).config
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    limits = [limit for limit in (usable_positions(config), window) if isinstance(limit, int) and limit > 0]
    return min(limits, default=None)
