"""How deep the frozen part of an encoder reaches, and its dropout switched off."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    PretrainedConfig,
    RobertaConfig,
)

from tunelet.tuning.frozen_part import frozen_depth
from tunelet.tuning.methods import prepare
from tunelet.tuning.settings import TuningSettings
from tunelet.tuning.tuned import Tuned

SIZES = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
CONFIGS: dict[str, PretrainedConfig] = {
    "bert": BertConfig(**SIZES),
    "roberta": RobertaConfig(**SIZES),
    "electra": ElectraConfig(**SIZES, embedding_size=4),
    "deberta-v2": DebertaV2Config(**SIZES),
    "distilbert": DistilBertConfig(vocab_size=20, dim=8, n_layers=3, n_heads=2, hidden_dim=16),
}


def tuned_with(kind: str = "bert", **settings: Any) -> Tuned:
    model = AutoModelForSequenceClassification.from_config(CONFIGS[kind])
    chosen = TuningSettings.model_validate({"targets": "qv", "r": 2, **settings})
    return prepare(model, chosen, total_steps=1, seed=0)


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize(("layers", "depth"), [((1, 2), 1), ((2,), 2), ((0, 2), 0), (None, 0)])
def test_it_reaches_to_the_lowest_layer_that_trains(kind: str, layers: tuple[int, ...] | None, depth: int) -> None:
    assert frozen_depth(tuned_with(kind, layers=layers).model) == depth


@pytest.mark.parametrize(
    ("settings", "depth"),
    [
        ({"method": "full"}, 0),
        ({"layers": [2], "bias": "all"}, 0),  # the embeddings' norm has a bias
        ({"targets": ["pooler.dense"]}, 3),
    ],
)
def test_what_else_trains_counts(settings: dict[str, Any], depth: int) -> None:
    assert frozen_depth(tuned_with(**settings).model) == depth


@pytest.mark.parametrize("kind", CONFIGS)
def test_without_frozen_dropout_the_frozen_part_is_constant_and_the_rest_is_not(kind: str) -> None:
    inputs = {"input_ids": torch.tensor([[1, 5, 6, 7]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}

    def differ(frozen_dropout: bool) -> list[bool]:
        """For each hidden state, from the embeddings up, whether two passes in training mode give different ones."""
        model = tuned_with(kind, layers=[2], dropout=0.0, frozen_dropout=frozen_dropout).model.train()
        torch.manual_seed(1)
        first, second = (model(**inputs, output_hidden_states=True).hidden_states for _ in range(2))
        return [not a.equal(b) for a, b in zip(first, second, strict=True)]

    assert differ(True) == [True] * 4
    assert differ(False) == [False, False, False, True]


def test_where_nothing_is_frozen_no_dropout_is_touched() -> None:
    model = tuned_with(frozen_dropout=False).model
    rates = {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    assert 0.0 not in rates
