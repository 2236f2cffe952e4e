"""BERT-base's parameter counts, on the meta device: the numbers that the paper should have printed."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from tunelet.tuning.methods import prepare
from tunelet.tuning.settings import TuningSettings
from tunelet.tuning.trainable import TrainableTable, trainable_table

BERT_BASE = 109_482_240
HEAD = 6 * 768 + 6


def counted(**settings: object) -> TrainableTable:
    """The table of a six-label BERT-base; no weight is made but the adapter's."""
    with torch.device("meta"):
        model = BertForSequenceClassification(BertConfig(num_labels=6))
    chosen = TuningSettings.model_validate(settings)
    return trainable_table(prepare(model, chosen, total_steps=100, seed=1).model)


@pytest.mark.parametrize(
    ("targets", "r", "trainable"),
    [
        ("qv", 2, 78_342),
        ("qv", 8, 299_526),
        ("qv", 32, 1_184_262),
        ("qkv+dense", 2, 339_462),
        ("qkv+dense", 8, 1_344_006),
        ("qkv+dense", 32, 5_362_182),
        ("attention+linear", 8, 1_344_006),
        ("all-linear", 8, 1_344_006),
        ("qkv", 8, 299_526 + 12 * 8 * 2 * 768),
        ("attention", 8, 299_526 + 12 * 8 * 2 * 768),
        (("query", "value"), 8, 299_526),
    ],
)
def test_lora(targets: str | tuple[str, ...], r: int, trainable: int) -> None:
    table = counted(targets=targets, r=r)
    assert table.trainable == trainable
    assert table.total == BERT_BASE + trainable  # the base once, the adapter and the head once
    assert table.share == trainable / (BERT_BASE + trainable)


def test_full() -> None:
    table = counted(method="full")
    assert table.trainable == table.total == BERT_BASE + HEAD


@pytest.mark.parametrize(
    ("method", "trainable"),
    [
        ("rslora", 299_526),
        ("lora+", 299_526),
        ("dora", 299_526 + 24 * 768),  # a length per row
        ("lora-fa", HEAD + 24 * 8 * 768),  # B alone
        ("vera", HEAD + 24 * (768 + 8)),  # b and d
        ("adalora", HEAD + 24 * (12 * 2 * 768 + 12)),  # P, Q and e at rank 12
    ],
)
def test_the_other_methods_on_query_and_value(method: str, trainable: int) -> None:
    assert counted(method=method, targets="qv", r=8).trainable == trainable


def test_the_rows_name_what_trains_layer_by_layer_in_one_line() -> None:
    table = counted(targets="qv", r=8)
    rows = {row.pattern: (row.count, row.shape, row.parameters) for row in table.rows}
    assert rows == {
        "encoder.layer.*.attention.self.query.lora_A": (12, (8, 768), 73_728),
        "encoder.layer.*.attention.self.query.lora_B": (12, (768, 8), 73_728),
        "encoder.layer.*.attention.self.value.lora_A": (12, (8, 768), 73_728),
        "encoder.layer.*.attention.self.value.lora_B": (12, (768, 8), 73_728),
        "classifier.weight": (1, (6, 768), 4_608),
        "classifier.bias": (1, (6,), 6),
    }
    assert sum(row["parameters"] for row in table.to_json()["rows"]) == table.trainable
