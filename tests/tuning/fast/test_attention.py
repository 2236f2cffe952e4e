"""Attention against torch's own, in one piece and in many, with padding and with given masks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from tunelet.tuning.fast import attention
from tunelet.tuning.fast.attention import FAR

SHAPES = [(1, 1, 1), (3, 1, 7), (4, 6, 6), (2, 1, 33), (5, 33, 33)]


def inputs(groups: int, queries: int, length: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    torch.manual_seed(groups * 100 + length)
    q, k, v, dc = (torch.randn(groups, n, 8) for n in (queries, length, length, queries))
    return (*(t.to(dtype).requires_grad_() for t in (q, k, v)), dc.to(dtype))


def padding(groups: int, length: int) -> Tensor:
    keep = torch.arange(length) < torch.arange(length, length - groups, -1).clamp(min=1)[:, None]
    return keep[:, None, :]


@pytest.mark.parametrize("piece", [1, 80, 1 << 20])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("padded", [False, True])
def test_it_is_torchs_attention(
    shape: tuple[int, int, int], padded: bool, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "PIECE", piece)
    groups, _, length = shape
    q, k, v, dc = inputs(*shape)
    keep = padding(groups, length) if padded else None
    bias = None if keep is None else torch.zeros(keep.shape).masked_fill(~keep, FAR)
    expected = scaled_dot_product_attention(q, k, v, attn_mask=keep)
    expected.backward(dc)
    with torch.no_grad():
        context, kept = attention.forward(q, k, v, bias=bias, mask_of=None)
        gradients = attention.backward(dc, q, k, v, kept, bias=bias, mask_of=None)
    assert (kept is None) is (shape[0] * shape[1] * length > piece and shape[0] > 1)
    torch.testing.assert_close(context, expected.detach(), atol=1e-6, rtol=1e-5)
    for found, tensor in zip(gradients, (q, k, v), strict=True):
        torch.testing.assert_close(found, tensor.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("piece", [1, 3 * 7 * 7, 1 << 20])
def test_dropped_weights_are_those_of_the_masks(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "PIECE", piece)
    q, k, v, dc = inputs(5, 7, 7)
    whole = (torch.rand(5, 7, 7) > 0.3).float() / 0.7
    asked: list[tuple[int, int]] = []

    def mask_of(start: int, end: int) -> Tensor:
        asked.append((start, end))
        return whole[start:end]

    expected = ((q @ k.transpose(1, 2) * 8**-0.5).softmax(-1) * whole) @ v
    expected.backward(dc)
    with torch.no_grad():
        context, kept = attention.forward(q, k, v, bias=None, mask_of=mask_of)
        forward = list(asked)
        asked.clear()
        gradients = attention.backward(dc, q, k, v, kept, bias=None, mask_of=mask_of)
    assert asked == forward  # the same pieces, so the same masks
    torch.testing.assert_close(context, expected.detach(), atol=1e-6, rtol=1e-5)
    for found, tensor in zip(gradients, (q, k, v), strict=True):
        torch.testing.assert_close(found, tensor.grad, atol=1e-5, rtol=1e-5)


def test_bf16_is_near_fp32() -> None:
    q, k, v, dc = inputs(4, 16, 16, torch.bfloat16)
    with torch.no_grad():
        context, kept = attention.forward(q, k, v, bias=None, mask_of=None)
        gradients = attention.backward(dc, q, k, v, kept, bias=None, mask_of=None)
    exact = [t.detach().float().requires_grad_() for t in (q, k, v)]
    expected = scaled_dot_product_attention(*exact)
    expected.backward(dc.float())
    assert context.dtype == torch.bfloat16
    torch.testing.assert_close(context.float(), expected.detach(), atol=0.03, rtol=0.03)
    for found, tensor in zip(gradients, exact, strict=True):
        assert tensor.grad is not None
        torch.testing.assert_close(found.float(), tensor.grad, atol=0.05, rtol=0.05)


def test_gradients_are_written_where_asked_and_what_was_kept_stays() -> None:
    q, k, v, dc = inputs(3, 5, 5)
    place = torch.full((3, 3, 5, 8), float("nan"))
    with torch.no_grad():
        _, kept = attention.forward(q, k, v, bias=None, mask_of=None)
        assert kept is not None
        before = kept.clone()
        out = (place[0], place[1], place[2])
        found = attention.backward(dc, q, k, v, kept, bias=None, mask_of=None, out=out)
    assert kept.equal(before)
    assert all(a is b for a, b in zip(found, out, strict=True))
    assert torch.isfinite(place).all()


def test_padding_gets_no_weight_and_no_gradient() -> None:
    q, k, v, dc = inputs(2, 4, 6)
    bias = torch.zeros(2, 1, 6)
    bias[1, 0, 3:] = FAR
    with torch.no_grad():
        _, kept = attention.forward(q, k, v, bias=bias, mask_of=None)
        _, dk, dv = attention.backward(dc, q, k, v, kept, bias=bias, mask_of=None)
    assert kept is not None and kept[1, :, 3:].eq(0).all() and kept[0].gt(0).all()
    assert dk[1, 3:].eq(0).all() and dv[1, 3:].eq(0).all()
