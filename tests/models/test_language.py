"""Language models from encoders: what is pretrained stays, what is new is said, and training touches only that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import BertForMaskedLM

from toy_language import toy_decoder, toy_encoder
from tunelet.base.errors import BaseModelError
from tunelet.models.bases import Base, load_base
from tunelet.models.classifier import head_modules
from tunelet.models.language import build_causal_lm, build_masked_lm
from tunelet.models.settings import ModelSettings
from tunelet.models.vocabulary import VocabularyHead, decoder_of, used_ids
from tunelet.tuning.methods import METHODS, prepare
from tunelet.tuning.settings import TuningSettings

NEW = ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm")
IDS = torch.tensor([[2, 5, 7, 9, 3], [2, 6, 8, 10, 3]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return toy_encoder(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("build", [build_masked_lm, build_causal_lm])
def test_the_backbone_is_the_base_s_and_the_head_is_new(build: Any, base: Base) -> None:
    model = build(base, seed=1)
    stored = load_file(base.folder / "model.safetensors")
    own = {name.removeprefix("bert."): tensor for name, tensor in model.state_dict().items()}
    assert all(own[name].equal(tensor) for name, tensor in stored.items() if "pooler" not in name)
    assert decoder_of(model).weight is model.bert.embeddings.word_embeddings.weight
    assert head_modules(model) == NEW
    assert not decoder_of(model).bias.any()
    again, other = build(base, seed=1), build(base, seed=2)
    weight = model.cls.predictions.transform.dense.weight
    assert weight.equal(again.cls.predictions.transform.dense.weight)
    assert not weight.equal(other.cls.predictions.transform.dense.weight)
    assert not model.training


def test_the_new_head_starts_near_the_identity(base: Base) -> None:
    model = build_masked_lm(base, seed=1)
    hidden = torch.randn(50, 16, generator=torch.Generator().manual_seed(1))
    moved = model.cls.predictions.transform(hidden)
    normed = torch.nn.functional.layer_norm(hidden, (16,))
    assert torch.nn.functional.cosine_similarity(moved, normed).min() > 0.95


def test_a_causal_one_sees_nothing_to_its_right(base: Base) -> None:
    model = build_causal_lm(base, seed=1)
    other = IDS.clone()
    other[:, 3:] = 11
    with torch.no_grad():
        first, second = model(input_ids=IDS).logits, model(input_ids=other).logits
    torch.testing.assert_close(first[:, :3], second[:, :3])
    assert not torch.allclose(first[:, 3], second[:, 3])


def test_a_stored_head_is_used_and_nothing_is_new(base: Base, tmp_path: Path) -> None:
    model = build_masked_lm(base, seed=1)
    torch.nn.init.normal_(model.cls.predictions.transform.dense.weight, generator=torch.Generator().manual_seed(3))
    model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    again = build_masked_lm(load_base(ModelSettings(base=str(tmp_path), max_length=32)), seed=5)
    assert isinstance(again, BertForMaskedLM)
    assert head_modules(again) == ()
    with torch.no_grad():
        torch.testing.assert_close(again(input_ids=IDS).logits, model(input_ids=IDS).logits)


def test_a_decoder_keeps_its_own_head(tmp_path: Path) -> None:
    base = toy_decoder(tmp_path)
    model = build_causal_lm(base)
    assert head_modules(model) == ()
    with pytest.raises(BaseModelError, match="no masked language model"):
        build_masked_lm(base)


@pytest.mark.parametrize("method", [name for name in METHODS.names() if name not in ("full", "vera", "pissa")])
@pytest.mark.parametrize("build", [build_masked_lm, build_causal_lm])
def test_methods_train_the_adapter_and_what_is_new_and_nothing_else(build: Any, method: str, base: Base) -> None:
    settings = TuningSettings(method=method, targets="qkv+dense", r=2, dropout=0.0)  # type: ignore[arg-type]
    tuned = prepare(build(base, seed=1), settings, total_steps=10, seed=1)
    names = [name for name, _ in tuned.trainable()]
    rest = [name for name in names if "lora_" not in name]
    assert all(any(new in name for new in NEW) for name in rest) and len(rest) == 4
    assert not any("transform" in name for name in names if "lora_" in name)
    head = VocabularyHead(tuned.model)
    hidden = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))
    head.loss(hidden, torch.tensor([5, 6, 7])).backward()
    assert all(p.grad is not None for name, p in tuned.trainable() if "transform" in name)


def test_a_head_over_all_is_the_model_s_own(base: Base) -> None:
    model = build_masked_lm(base, seed=1)
    with torch.no_grad():
        whole = model(input_ids=IDS).logits
        hidden = model.bert(input_ids=IDS).last_hidden_state
        torch.testing.assert_close(VocabularyHead(model).logits(hidden[:, 2]), whole[:, 2])
    found = VocabularyHead(model).log_probabilities(
        hidden[:, 2].detach(), torch.tensor([5, 6, 7]), torch.tensor([1, 0, 1])
    )
    expected = whole[:, 2].log_softmax(-1)
    torch.testing.assert_close(found, torch.stack([expected[1, 5], expected[0, 6], expected[1, 7]]))


def test_a_cut_head_is_a_softmax_over_what_is_kept(base: Base) -> None:
    model = build_masked_lm(base, seed=1)
    kept = np.array([5, 6, 9])
    hidden = torch.randn(4, 16, generator=torch.Generator().manual_seed(1))
    head = VocabularyHead(model, kept)
    with torch.no_grad():
        expected = VocabularyHead(model).logits(hidden)[:, kept].log_softmax(-1)
    torch.testing.assert_close(
        head.log_probabilities(hidden, torch.tensor([5, 9, 6, 5])), expected[range(4), [0, 2, 1, 0]]
    )
    # 7 was cut away: it does not count
    found = head.loss(hidden, torch.tensor([5, 7, 6, 7]))
    assert float(found.detach()) == pytest.approx(-float((expected[0, 0] + expected[2, 1]).detach()) / 2, abs=1e-5)
    assert head.loss(hidden, torch.tensor([7, 7, 7, 7])).item() == 0.0


def test_a_cut_head_that_trains_is_read_anew(base: Base) -> None:
    model = build_masked_lm(base, seed=1)
    head = VocabularyHead(model, np.array([5, 6, 9]))
    hidden = torch.ones(1, 16)
    before = head.logits(hidden).detach()
    with torch.no_grad():
        decoder_of(model).weight.mul_(2)
    torch.testing.assert_close(head.logits(hidden), 2 * before)


def test_used_ids() -> None:
    rows = [np.array([1, 2, 2]), np.array([[5, 2], [1, 9]])]
    assert used_ids(rows, 12).tolist() == [1, 2, 5, 9]
    assert used_ids(rows, 12, minimum=2, always=(0, 9)).tolist() == [0, 1, 2, 9]
