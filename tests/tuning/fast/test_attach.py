"""Which models the fast path runs, and that the others are told why not and left as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from fast_models import classifier
from toy_tuned import toy_loaded, train, tuned_on
from tunelet.base.errors import InputError
from tunelet.tuning.fast.attach import attach


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"is_decoder": True}, "decoder"),
        ({"hidden_act": "gelu_new"}, "'gelu_new', not 'gelu'"),
        ({"hidden_act": "relu"}, "'relu'"),
    ],
)
def test_a_bert_of_another_build(changes: dict[str, Any], reason: str) -> None:
    assert reason in attach(classifier("full", **changes), torch.float32)[1]


def test_another_architecture() -> None:
    model = DistilBertForSequenceClassification(DistilBertConfig(vocab_size=50, dim=16, n_layers=1, n_heads=2))
    engine, why_not = attach(model, torch.float32)
    assert engine is None and "distilbert" in why_not


@pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_bias": True}])
def test_a_lora_of_another_kind(options: dict[str, Any]) -> None:
    engine, why_not = attach(classifier("qv", lora=options), torch.float32)
    assert engine is None and why_not == "layer 0: query is a Linear whose adapter the fast path does not know"


def test_two_adapters_at_once() -> None:
    model = classifier("qv")
    model.add_adapter("second", LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]))
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.set_adapter(["default", "second"])
    assert "query" in attach(model, torch.float32)[1]


def test_a_merged_adapter() -> None:
    model = classifier("qv")
    model.merge_adapter()
    assert "query" in attach(model, torch.float32)[1]


def test_something_else_that_trains() -> None:
    model = classifier("qv")
    encoder = model.get_base_model().bert.encoder
    encoder.extra = nn.Parameter(torch.zeros(3))
    assert "extra trains" in attach(model, torch.float32)[1]


def test_a_refused_model_is_left_as_it_was() -> None:
    model = classifier("qv", lora={"use_dora": True})
    before = {name: (p.data_ptr(), p.stride()) for name, p in model.named_parameters()}
    attach(model, torch.float32)
    assert before == {name: (p.data_ptr(), p.stride()) for name, p in model.named_parameters()}
    assert "forward" not in vars(model.get_base_model().bert)


@pytest.mark.parametrize("method", ["dora", "vera", "adalora"])
def test_auto_falls_back_with_a_reason_and_fast_refuses(method: str, tmp_path: Path) -> None:
    base = toy_loaded(tmp_path)
    tuned = tuned_on(base, method=method)
    assert "does not know" in tuned.use_fast_path(torch.float32, seed=1)
    assert tuned.engine is None
    train(tuned, tuned.optimizer(learning_rate=0.01), range(1, 2))
    with pytest.raises(InputError, match=r"tuning\.engine: the fast path cannot run this model: layer 0"):
        tuned_on(base, method=method, engine="fast").use_fast_path(torch.float32, seed=1)


def test_peft_is_used_where_it_is_asked_for(tmp_path: Path) -> None:
    tuned = tuned_on(toy_loaded(tmp_path), engine="peft")
    assert tuned.use_fast_path(torch.float32, seed=1) == "tuning.engine is peft"
    assert tuned.engine is None


@pytest.mark.parametrize("method", ["full", "lora", "rslora", "lora+", "pissa", "lora-fa"])
@pytest.mark.parametrize("sharing", [True, False])
def test_what_it_runs_it_runs(method: str, sharing: bool, tmp_path: Path) -> None:
    tuned = tuned_on(toy_loaded(tmp_path), method=method, engine="fast", dropout=0.1, dropout_sharing=sharing)
    assert tuned.use_fast_path(torch.bfloat16, seed=1) == ""
    train(tuned, tuned.optimizer(learning_rate=0.01), range(1, 4), autocast=True)
    assert all(torch.isfinite(tensor).all() for tensor in tuned.trainable_state().values())
