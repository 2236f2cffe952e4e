"""What the fast path keeps for the backward pass: always less than full fine-tuning by the model's own modules."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fast_models import batch, classifier, engine_of
from tunelet.training.memory import ByteMasks, measure_memory, saved_activations

TARGETS = ("attention", "all")
#: BERT's proportions: feed-forward four times as wide, heads of width 64 made 8, so that scores weigh as in BERT-base
SHAPE = {"hidden_size": 96, "num_attention_heads": 12, "intermediate_size": 384, "max_position_embeddings": 512}
RATES = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "classifier_dropout": 0.0}


def kept(
    targets: str, length: int, *, fast: bool, attn: str = "eager", dtype: torch.dtype = torch.float32, **changes: Any
) -> int:
    """Bytes kept by one forward pass over two texts, with one-byte masks as CUDA keeps them (the peer's advantage)."""
    model = classifier(targets, dropout=0.1, attn_implementation=attn, **{**SHAPE, **RATES, **changes})
    if fast:
        engine_of(model, dtype)
    inputs = batch(2, length, padded=False)
    with ByteMasks(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        return saved_activations(lambda: model(**inputs).logits.float().sum(), model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("attn", ["eager", "sdpa"])
@pytest.mark.parametrize("length", [128, 512])
@pytest.mark.parametrize(("targets", "share"), [("all", 0.75), ("attention", 0.65)])
def test_lora_with_dropout_keeps_less_than_full_fine_tuning(
    targets: str, share: float, length: int, attn: str, dtype: torch.dtype
) -> None:
    full = kept("full", length, fast=False, attn=attn, dtype=dtype)
    assert kept(targets, length, fast=True, dtype=dtype) <= share * full


@pytest.mark.parametrize(("targets", "share"), [("all", 0.75), ("attention", 0.65)])
def test_even_beside_an_attention_that_keeps_no_scores(targets: str, share: float) -> None:
    """Without dropout on the attention weights, torch's fused attention keeps neither scores nor masks."""
    rates = {"attention_probs_dropout_prob": 0.0, "num_hidden_layers": 4}
    full = kept("full", 512, fast=False, attn="sdpa", **rates)
    assert kept(targets, 512, fast=True, **rates) <= share * full


def test_peft_keeps_more_than_full_fine_tuning_where_the_fast_path_does_not() -> None:
    """The anomaly, and its end, on one shape."""
    full = kept("full", 128, fast=False)
    assert kept("all", 128, fast=False) > full
    assert kept("all", 128, fast=True) < kept("full", 128, fast=True) <= full


@pytest.mark.parametrize("targets", TARGETS)
def test_dropout_costs_no_memory(targets: str) -> None:
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    assert kept(targets, 64, fast=True) == kept(targets, 64, fast=True, **none)


def test_what_one_more_layer_keeps_exactly() -> None:
    """Per token: x, q, k, v, two sums and y (H each), the argument of gelu (F), each update's a, the norms' scales."""
    tokens, hidden, inner, rank = 2 * 512, SHAPE["hidden_size"], SHAPE["intermediate_size"], 4
    found = {
        targets: kept(targets, 512, fast=True, num_hidden_layers=4) - kept(targets, 512, fast=True, num_hidden_layers=3)
        for targets in ("all", "attention", "dense", "full")
    }
    scales = 2 * 2  # mean and reciprocal deviation, of both norms
    assert found["all"] == 4 * tokens * (7 * hidden + inner + 6 * rank + scales)
    assert found["attention"] == 4 * tokens * (6 * hidden + inner + 4 * rank + scales)  # y is input of nothing trained
    assert found["dense"] == 4 * tokens * (6 * hidden + inner + 3 * rank + scales)  # nor is x
    assert found["full"] == 4 * tokens * (7 * hidden + inner + scales)


def test_a_frozen_a_needs_no_input() -> None:
    model = classifier("all", dropout=0.1, **SHAPE, **RATES)
    engine_of(model)
    inputs = batch(2, 512, padded=False)

    def bytes_kept() -> int:
        return saved_activations(lambda: model(**inputs).logits.sum(), model)

    before = bytes_kept()
    for name, parameter in model.named_parameters():
        if ".lora_A." in name:
            parameter.requires_grad_(False)
    # of the first layer x and y; of the last x, and y of the first tokens, which the pooler's A would need as well
    assert before - bytes_kept() == 4 * 2 * (512 * 3 + 2) * SHAPE["hidden_size"]


def test_gradients_and_moments_are_the_adapters_and_the_engine_is_counted() -> None:
    model = classifier("all", dropout=0.1, **SHAPE, **RATES)
    engine = engine_of(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, fused=True)
    inputs = batch(2, 32, padded=True)
    model(**inputs).logits.sum().backward()
    optimizer.step()
    found = measure_memory(model, optimizer, lambda: model(**inputs).logits.sum(), working=engine.tensors())
    alone = measure_memory(model, optimizer, lambda: model(**inputs).logits.sum())
    assert found.gradients == sum(p.nbytes for p in trained)
    pools = sum(pool.numbers.nbytes for pool in engine._pools.values() if pool.numbers is not None)
    assert found.parameters - alone.parameters >= pools > 0
