"""Gradient checkpointing and `torch.compile` where PEFT's modules compute the encoder."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._inductor.config as inductor
from torch import nn
from transformers import FNetConfig, FNetForSequenceClassification

from toy_tuned import BATCH, GOLD, toy_loaded, tuned_on
from tunelet.base.errors import InputError
from tunelet.training.memory import saved_activations
from tunelet.tuning.own_modules import checkpoint_layers, compile_layers
from tunelet.tuning.tuned import Tuned

METHODS = ("lora", "dora", "vera", "full")


def ready(folder: Path, *, method: str = "lora", **options: Any) -> Tuned:
    tuned = tuned_on(toy_loaded(folder, layers=3), method=method, engine="peft", dropout=0.2, **options)
    assert tuned.use_fast_path(torch.float32, seed=1) == "tuning.engine is peft"
    tuned.model.train()
    return tuned


def step(tuned: Tuned) -> dict[str, torch.Tensor]:
    """Gradients, the loss among them, and the number that torch's generator gives next."""
    torch.manual_seed(4)
    loss = torch.nn.functional.cross_entropy(tuned.model(**BATCH).logits, GOLD)
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in tuned.trainable() if p.grad is not None}
    return {**gradients, "loss": loss.detach(), "next number": torch.rand(1)}


@pytest.mark.parametrize("method", METHODS)
def test_checkpointed_the_gradients_are_the_same_to_the_bit(method: str, tmp_path: Path) -> None:
    expected = step(ready(tmp_path, method=method))
    found = step(ready(tmp_path, method=method, gradient_checkpointing=True))
    assert found.keys() == expected.keys()
    assert [name for name, tensor in expected.items() if not found[name].equal(tensor)] == []


def test_checkpointed_it_keeps_less(tmp_path: Path) -> None:
    def kept(**options: Any) -> int:
        model = ready(tmp_path, **options).model
        return saved_activations(lambda: model(**BATCH).logits.sum(), model)

    assert kept(gradient_checkpointing=True) < 0.25 * kept()


@pytest.mark.parametrize("method", ["dora", "adalora"])
def test_what_the_fast_path_does_not_know_is_checkpointed_by_its_own_modules(method: str, tmp_path: Path) -> None:
    tuned = tuned_on(toy_loaded(tmp_path), method=method, gradient_checkpointing=True)
    assert tuned.use_fast_path(torch.float32, seed=1) != ""
    assert tuned.model.get_base_model().is_gradient_checkpointing  # type: ignore[operator]


def test_the_fast_path_checkpoints_by_itself(tmp_path: Path) -> None:
    tuned = tuned_on(toy_loaded(tmp_path), gradient_checkpointing=True)
    assert tuned.use_fast_path(torch.float32, seed=1) == ""
    assert tuned.engine is not None and tuned.engine.checkpointing
    assert not tuned.model.get_base_model().is_gradient_checkpointing  # type: ignore[operator]


def test_an_architecture_without_is_told() -> None:
    model = FNetForSequenceClassification(FNetConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1))
    model.supports_gradient_checkpointing = False
    with pytest.raises(InputError, match=r"tuning\.gradient_checkpointing: the architecture 'fnet' has no gradient"):
        checkpoint_layers(model)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.dropout = nn.Linear(8, 8), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.dropout(torch.tanh(self.linear(x)))


class Encoder(nn.Module):
    """Two layers, found as a transformers model's are: a BERT takes minutes to compile on a busy machine."""

    base_model_prefix = "bert"

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.bert = nn.Module()
        self.bert.layer = nn.ModuleList([Block(), Block()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.bert.layer:
            x = layer(x)
        return x


class TestCompile:
    @pytest.fixture(autouse=True)
    def _own_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
        torch._dynamo.reset()
        yield
        torch._dynamo.reset()

    @pytest.mark.slow
    @pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="no C++ compiler")
    def test_compiled_layers_are_the_same_function_with_the_same_dropout(self) -> None:
        plain = Encoder().train()
        compiled = copy.deepcopy(plain)
        compile_layers(compiled)
        found = []
        for model in (plain, compiled):
            for rows in (3, 5):  # one compilation serves both
                torch.manual_seed(4)
                model.zero_grad()
                loss = model(torch.linspace(-1, 1, rows * 8).view(rows, 8)).square().sum()
                loss.backward()
            found.append({"loss": loss.detach()} | {name: p.grad for name, p in model.named_parameters()})
        assert found[0].keys() == found[1].keys()  # names stay, so what is saved does
        for name, tensor in found[0].items():
            torch.testing.assert_close(found[1][name], tensor, msg=name)

    def test_without_a_compiler_the_setting_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
        with pytest.raises(InputError, match=r"tuning\.compile: torch cannot compile") as caught:
            ready(tmp_path, compile=True)
        assert "install a C++ compiler (g++ or clang), or leave tuning.compile off" in str(caught.value)

    def test_a_model_without_layers_is_told(self, tmp_path: Path) -> None:
        model = tuned_on(toy_loaded(tmp_path)).model.get_base_model()  # type: ignore[operator]
        model.bert.encoder.layer = nn.Sequential(*model.bert.encoder.layer)
        with pytest.raises(InputError, match=r"tuning\.compile: found no list of encoder layers"):
            compile_layers(model)

    def test_the_fast_path_is_not_compiled(self, tmp_path: Path) -> None:
        tuned = tuned_on(toy_loaded(tmp_path), compile=True)
        assert tuned.use_fast_path(torch.float32, seed=1) == ""
        layers = tuned.model.get_base_model().bert.encoder.layer  # type: ignore[operator]
        assert all(layer._compiled_call_impl is None for layer in layers)
