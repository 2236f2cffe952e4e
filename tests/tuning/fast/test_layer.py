"""One layer against the same in plain autograd, multiplied by the very masks that the fast path takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fast_models import TARGETS, assert_same_gradients, classifier, config, engine_of, layer_by_autograd
from tunelet.tuning.fast import attention
from tunelet.tuning.fast.attention import FAR
from tunelet.tuning.fast.engine import FastEncoder
from tunelet.tuning.fast.layer import Layer
from tunelet.tuning.fast.layer_function import run_layer
from tunelet.tuning.fast.passes import Pass

H = config().hidden_size


def engine(targets: str, *, shared: bool = True, dtype: torch.dtype = torch.float64, **changes: Any) -> FastEncoder:
    """Of a model with every kind of dropout, each of its own probability."""
    chosen = {"dropout": 0.3, "hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.1, **changes}
    model = classifier(targets, **chosen).to(torch.float64 if dtype == torch.float64 else torch.float32)
    made = engine_of(model, dtype, seed=3, shared_masks=shared)
    made.refresh()
    return made


def a_pass(
    engine: FastEncoder, batch: int, length: int, *, padded: bool, dropout: bool = True, number: int = 7
) -> Pass:
    mask = torch.ones(batch, length)
    if padded:
        for row in range(batch):
            mask[row, max(1, length - 2 * row) :] = 0
    masks = {p: pool.begin(number) for p, pool in engine._pools.items()} if dropout else {}
    return Pass(batch, length, engine.bias(mask), (masks,))


def gradients_of(layer: Layer, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    weights = torch.linspace(-1.0, 1.0, y.numel(), dtype=y.dtype).view(y.shape)
    tensors = [x, *layer.parameters] if x.requires_grad else layer.parameters
    found = torch.autograd.grad((y * weights).sum() + y.square().mean(), tensors, allow_unused=True)
    return {str(index): gradient for index, gradient in enumerate(found) if gradient is not None}


@pytest.mark.parametrize("dropout", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("targets", TARGETS)
def test_with_the_same_masks_it_is_autograds_layer(targets: str, shared: bool, dropout: bool) -> None:
    fast = engine(targets, shared=shared)
    for batch, length, padded in ((1, 1, False), (3, 1, False), (4, 6, True)):
        step = a_pass(fast, batch, length, padded=padded, dropout=dropout)
        layer = fast.layers[0]
        x = torch.randn(batch * length, H, dtype=torch.float64, requires_grad=True)
        found, expected = run_layer(layer, x, step), layer_by_autograd(layer, x, step)
        torch.testing.assert_close(found, expected)
        assert_same_gradients(gradients_of(layer, x, found), gradients_of(layer, x, expected), tolerance=1e-9)


@pytest.mark.parametrize("piece", [1 << 20, 2 * 9 * 9])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("targets", TARGETS)
def test_a_layer_for_the_first_token_is_the_first_row_of_the_whole_layer(
    targets: str, shared: bool, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without dropout after the products: the mask of a row of residuals has another place than that of all rows."""
    monkeypatch.setattr(attention, "PIECE", piece)
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    names = {"dense": 0.0, "attention": 0.0, "all": 0.0, "full": 0.0}
    fast = engine(targets, shared=shared, dropout=names.get(targets, 0.3), **rates)
    layer = fast.layers[-1]
    assert layer.key_value is not None and fast.layers[0].key_value is None
    batch, length = 4, 9
    step = a_pass(fast, batch, length, padded=True)
    x = torch.randn(batch * length, H, dtype=torch.float64, requires_grad=True)
    found = run_layer(layer, x, step)
    expected = layer_by_autograd(layer, x, step).view(batch, length, H)[:, 0]
    torch.testing.assert_close(found, expected)
    assert_same_gradients(gradients_of(layer, x, found), gradients_of(layer, x, expected), tolerance=1e-9)


@pytest.mark.parametrize("shared", [True, False])
def test_a_layer_for_the_first_token_has_the_gradient_of_what_it_computes(shared: bool) -> None:
    fast = engine("all", shared=shared)
    layer = fast.layers[-1]
    step = a_pass(fast, 2, 4, padded=True)
    x = torch.randn(8, H, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x: run_layer(layer, x, step), (x,), fast_mode=True)


@pytest.mark.parametrize("shared", [True, False])
def test_one_mask_for_query_key_and_value_or_one_for_each(shared: bool) -> None:
    fast = engine("qkv", shared=shared)
    layer = fast.layers[0]
    step = a_pass(fast, 3, 5, padded=False)
    masks = layer.masks(layer.query, 0, step, 15)
    assert len(masks) == (1 if shared else 3)
    assert all(not a.equal(b) for index, a in enumerate(masks) for b in masks[:index])
    last = fast.layers[-1]
    keys = last.masks_of_keys(step, 15)
    assert len(keys) == (1 if shared else 2)
    assert keys[0].equal(last.masks(last.query, 0, step, 15)[0]) is shared


def test_no_two_sites_of_dropout_have_one_mask() -> None:
    fast = engine("all", shared=False, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3, num_hidden_layers=4)
    step = a_pass(fast, 4, H, padded=False)
    drawn: list[Tensor] = []
    for layer in fast.layers[:-1]:
        for place, site in ((0, layer.query), (1, layer.out), (3, layer.up), (4, layer.down)):
            drawn += [mask.flatten()[: H * H] for mask in layer.masks(site, place, step, 4 * H)]
        for second in (False, True):
            mask = layer.mask_of_residual(second, step, (4 * H, H))
            assert mask is not None
            drawn.append(mask.flatten()[: H * H])
        scores = layer.mask_of_scores(step, H)
        assert scores is not None
        drawn += [scores(start, start + 1).flatten() for start in range(4)]
    assert len(drawn) == 3 * (6 + 2 + 4)
    correlation = torch.corrcoef(torch.stack(drawn).float())
    assert (correlation - torch.eye(len(drawn))).abs().max() < 0.25


def test_long_rows_and_pieces_take_the_same_masks_forward_and_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    """More numbers than half a pool, and attention in pieces: the derivative along a line is the gradient's."""
    monkeypatch.setattr(attention, "PIECE", 3 * 24 * 24)
    fast = engine("all")
    for pool in fast._pools.values():
        pool.size, pool.numbers = 1 << 10, None
    layer = fast.layers[0]
    step = a_pass(fast, 3, 24, padded=True)
    x = torch.randn(72, H, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x: run_layer(layer, x, step), (x,), fast_mode=True)


def test_a_graph_may_be_run_backward_twice() -> None:
    fast = engine("all")
    layer = fast.layers[0]
    x = torch.randn(12, H, dtype=torch.float64, requires_grad=True)
    y = run_layer(layer, x, a_pass(fast, 3, 4, padded=True)).square().sum()
    first, second = (torch.autograd.grad(y, [x, *layer.parameters], retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_second_derivatives_are_refused() -> None:
    fast = engine("qv")
    x = torch.randn(4, H, dtype=torch.float64, requires_grad=True)
    (dx,) = torch.autograd.grad(
        run_layer(fast.layers[0], x, a_pass(fast, 1, 4, padded=False)).square().sum(), x, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()


def test_bf16_is_near_fp64_with_the_same_masks() -> None:
    exact, rounded = engine("all"), engine("all", dtype=torch.bfloat16)
    layer, other = exact.layers[0], rounded.layers[0]
    step = a_pass(rounded, 4, 6, padded=True)
    bias = None if step.bias is None else step.bias.double()
    same = Pass(4, 6, bias, ({p: _in_double(masks) for p, masks in step.masks[0].items()},))
    x = torch.randn(24, H).bfloat16().requires_grad_()
    wide = x.detach().double().requires_grad_()
    y, z = run_layer(other, x, step), run_layer(layer, wide, same)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), z, atol=0.06, rtol=0.06)
    found = {name: gradient.double() for name, gradient in gradients_of(other, x, y).items()}
    assert_same_gradients(found, gradients_of(layer, wide, z), tolerance=0.25)


def _in_double(masks: Any) -> Any:
    return type(masks)(masks.numbers.double(), masks.pass_number)


def test_padding_bias_is_one_row_for_every_head() -> None:
    fast = engine("qv")
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    bias = fast.bias(mask)
    heads = fast.layers[0].heads
    assert bias is not None and bias.shape == (2 * heads, 1, 3)
    assert bias[:heads].eq(0).all() and bias[heads:].eq(torch.tensor([0.0, FAR, FAR])).all()
    assert fast.bias(torch.ones(2, 3)) is None and fast.bias(None) is None
