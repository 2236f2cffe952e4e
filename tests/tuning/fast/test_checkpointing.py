"""Gradient checkpointing in the fast path: the same bits, and a layer keeps its input alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fast_models import TARGETS, batch, classifier, engine_of, loss_and_gradients
from tunelet.training.memory import saved_activations
from tunelet.tuning.fast import attention

RATES = {"dropout": 0.3, "hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.1}


def model_of(targets: str, *, checkpointing: bool, dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    model = classifier(targets, **{**RATES, **changes})
    engine_of(model, dtype, seed=3).checkpointing = checkpointing
    return model


def compared(targets: str, inputs: dict[str, Tensor], **options: Any) -> None:
    found = []
    for checkpointing in (False, True):
        model = model_of(targets, checkpointing=checkpointing, **options)
        torch.manual_seed(5)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.get("dtype") == torch.bfloat16):
            found.append(loss_and_gradients(model, inputs))
        # what torch's generator gives next is the same too: computing a layer again draws nothing
        found[-1][1]["next number"] = torch.rand(1)
    (loss, gradients), (again, own) = found
    assert again.equal(loss)
    assert set(own) == set(gradients)
    assert [name for name, gradient in gradients.items() if not own[name].equal(gradient)] == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("targets", TARGETS)
def test_gradients_are_the_same_to_the_bit(targets: str, dtype: torch.dtype) -> None:
    compared(targets, batch(4, 7, padded=True), dtype=dtype)


def test_also_where_attention_goes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "PIECE", 3 * 40 * 40)
    compared("all", batch(3, 40, padded=True))


@pytest.mark.parametrize("targets", ["all", "attention", "dense", "full"])
def test_one_more_layer_keeps_its_input_and_nothing_else(targets: str) -> None:
    rows, length, hidden = 2, 64, 32
    inputs = batch(rows, length, padded=False)

    def kept(layers: int) -> int:
        model = model_of(targets, checkpointing=True, num_hidden_layers=layers)
        return saved_activations(lambda: model(**inputs).logits.sum(), model)

    assert kept(4) - kept(3) == 4 * rows * length * hidden


def test_it_keeps_a_fraction_of_what_is_kept_without() -> None:
    inputs = batch(2, 64, padded=False)

    def kept(checkpointing: bool) -> int:
        model = model_of("all", checkpointing=checkpointing, num_hidden_layers=6)
        return saved_activations(lambda: model(**inputs).logits.sum(), model)

    assert kept(True) < 0.2 * kept(False)


def test_a_graph_may_be_run_backward_twice() -> None:
    model = model_of("all", checkpointing=True)
    loss = model(**batch(3, 9, padded=True)).logits.square().sum()
    trained = [p for p in model.parameters() if p.requires_grad]
    first, second = (torch.autograd.grad(loss, trained, retain_graph=True, allow_unused=True) for _ in range(2))
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(first, second, strict=True))
