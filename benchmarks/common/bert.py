"""A BERT of any size with random weights, prepared as ours or as the peers, for counting memory: no files needed.

Example:
    >>> model = peer(Size(layers=2), "lora_linear", attention="eager")      # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from tunelet.tuning.methods import prepare
from tunelet.tuning.precision import freeze_in
from tunelet.tuning.settings import TuningSettings
from tunelet.tuning.tuned import Tuned

#: what trains, by the names that the figures have
TUNINGS = {
    "full": TuningSettings(method="full"),
    "lora_attention": TuningSettings(method="lora", targets="attention", r=8, alpha=16, dropout=0.1),
    "lora_linear": TuningSettings(method="lora", targets="attention+linear", r=8, alpha=16, dropout=0.1),
}


@dataclass(frozen=True)
class Size:
    """Sizes of model and batch; by default BERT-base and 16 texts of 512 tokens, as in the paper."""

    layers: int = 12
    hidden: int = 768
    heads: int = 12
    vocabulary: int = 30522
    batch: int = 16
    length: int = 512
    labels: int = 6


def plain(size: Size, attention: str) -> Any:
    """The classifier as transformers builds it, in training mode, with its own dropout of 0.1."""
    config = BertConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.hidden,
        max_position_embeddings=max(512, size.length),
        num_labels=size.labels,
        attn_implementation=attention,
    )
    return BertForSequenceClassification(config).train()


def tuned(size: Size, what: str, *, attention: str = "sdpa", engine: str = "peft", dtype: str = "fp32") -> Tuned:
    """`plain` with what trains: by PEFT's own modules (or all of transformers'), or through our fast path.

    Raises:
        InputError: `engine` is "fast", and it cannot run this.
    """
    settings = TUNINGS[what].model_copy(update={"engine": engine})
    found = prepare(plain(size, attention), settings, total_steps=10, seed=1)
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    if engine != "peft":
        if kind == torch.bfloat16:
            freeze_in(found.model, kind)
        found.use_fast_path(kind, seed=1)
    found.model.train()
    return found


def loss(model: nn.Module, size: Size, device: str = "cpu") -> Tensor:
    """One forward pass over a batch without padding."""
    ids = torch.zeros((size.batch, size.length), dtype=torch.long, device=device)
    gold = torch.zeros(size.batch, dtype=torch.long, device=device)
    value: Tensor = model(input_ids=ids, labels=gold).loss
    return value
