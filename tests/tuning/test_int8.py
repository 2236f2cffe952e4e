"""A layer in int8 is near the layer that it stands for, also where bytes would overflow and where one input is huge."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tunelet.base.errors import InputError
from tunelet.tuning import int8
from tunelet.tuning.int8 import Int8Linear, largest_inputs, narrow_inputs


def layer(inputs: int, outputs: int, seed: int, *, bias: bool = True) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs, bias=bias).requires_grad_(False)


def error(plain: nn.Linear, x: torch.Tensor) -> float:
    """Largest error relative to the largest output."""
    small = Int8Linear(plain, x.abs().reshape(-1, x.shape[-1]).amax(0))
    told = plain(x)
    found = small(x)
    assert found.shape == told.shape and found.dtype == torch.float32
    return float((found - told).abs().max() / told.abs().max())


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 70), st.integers(1, 40), st.booleans(), st.integers(0, 5))
def test_it_is_near_in_any_shape(inputs: int, outputs: int, bias: bool, seed: int) -> None:
    plain = layer(inputs, outputs, seed, bias=bias)
    assert error(plain, torch.randn(3, 5, inputs)) < 0.05
    assert error(plain, torch.randn(7, inputs)) < 0.05


def test_sums_of_large_products_do_not_overflow() -> None:
    plain = layer(64, 8, 0)
    plain.weight.fill_(1.0)
    x = torch.ones(4, 64) * torch.linspace(0.5, 1.0, 4)[:, None]
    assert error(plain, x) < 0.02


def test_one_huge_input_does_not_spoil_the_others() -> None:
    plain = layer(64, 32, 0)
    x = torch.randn(16, 64)
    x[:, 5] = 1000.0
    small = Int8Linear(plain, x.abs().amax(0))
    rest = x.clone()
    rest[:, 5] = 0.0
    thin = torch.outer(x[:, 5], plain.weight[:, 5])
    assert torch.allclose(small(x) - thin, plain(rest), atol=0.05 * float(plain(rest).abs().max()) + 1e-3)


@pytest.mark.parametrize(
    ("machine", "flags", "narrow"),
    [
        ("x86_64", {"avx2"}, True),
        ("x86_64", {"avx2", "avx512_vnni"}, False),
        ("AMD64", {"avx_vnni"}, False),
        ("AMD64", None, True),
        ("aarch64", {"asimd"}, False),
    ],
)
def test_inputs_are_narrow_where_sums_are(
    monkeypatch: pytest.MonkeyPatch, machine: str, flags: set[str] | None, narrow: bool
) -> None:
    monkeypatch.setattr(int8.platform, "machine", lambda: machine)
    monkeypatch.setattr(int8, "processor_flags", lambda: None if flags is None else frozenset(flags))
    assert narrow_inputs() is narrow


def test_torch_s_engine_stays_as_it_was() -> None:
    before = torch.backends.quantized.engine
    Int8Linear(layer(8, 8, 0), torch.ones(8))
    assert torch.backends.quantized.engine == before


def test_without_an_engine_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "ENGINES", ())
    with pytest.raises(InputError, match="no int8 products"):
        Int8Linear(layer(8, 8, 0), torch.ones(8))


def test_the_largest_inputs_are_those_of_the_pass() -> None:
    first, second = layer(3, 2, 0), layer(2, 2, 1)
    model = nn.Sequential(first, second)
    x = torch.tensor([[1.0, -9.0, 2.0], [-3.0, 0.0, 1.0]])
    seen, hidden = largest_inputs(model, [first, second], {"input": x})
    assert seen.tolist() == [3.0, 9.0, 2.0]
    assert torch.equal(hidden, first(x).abs().amax(0))
    assert not first._forward_pre_hooks
