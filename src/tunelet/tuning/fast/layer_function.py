"""One post-norm encoder layer (Vaswani et al. 2017; BERT) as one autograd function that keeps little.

    c = attention(x W_q, x W_k, x W_v)          y = LN(x + drop(c W_o))          z = LN(y + drop(gelu(y W_1) W_2))

with a low-rank update on any of the six products. For the backward pass it keeps q, k, v, the two sums before the
norms, the argument of gelu, each update's a (T, r), and x and y where a trained matrix has them as input. Dropout masks
are found again in their pool (`masks`), the context and gelu are computed again; of a row in segments (`segments`) the
context is kept. With gradient checkpointing (Chen et al. 2016) it keeps x alone, and the backward pass runs the layer's
forward pass again: the same masks, so the same bits.
A layer may be asked for the first token alone, when nothing after it looks at the others: then all but k and v is
computed for one row of each text.

Shapes: T = B L rows, H hidden, F feed-forward, G = B heads, d = H / heads. Not here: the layer's parts (`layer`).

Example:
    >>> z = run_layer(layer, x, step)       # doctest: +SKIP
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import gelu

from tunelet.tuning.fast import attention
from tunelet.tuning.fast.heads import join, merge, split
from tunelet.tuning.fast.layer import DOWN_INPUT, OUT_INPUT, QKV_INPUT, UP_INPUT, Layer
from tunelet.tuning.fast.passes import Pass

#: what the backward pass needs of the forward pass; None where there is nothing, or nothing that trains needs it
Kept = tuple[Tensor | None, ...]


def run_layer(layer: Layer, x: Tensor, step: Pass, *, checkpointing: bool = False) -> Tensor:
    """x (T, H) to (T, H), or to (B, H) for a layer that gives the first token only.

    Args:
        checkpointing: keep x alone for the backward pass, and compute the rest again there.
    """
    arguments = (x, layer, step, checkpointing, *layer.parameters)
    output: Tensor = _LayerFunction.apply(*arguments)  # type: ignore[no-untyped-call]
    return output


class _LayerFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Layer, step: Pass, checkpointing: bool, *parameters: Tensor) -> Tensor:
        output, kept = _forward(layer, x, step)
        ctx.layer, ctx.step, ctx.checkpointing = layer, step, checkpointing
        ctx.save_for_backward(*((x,) if checkpointing else kept))
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        with torch.autocast(gradient.device.type, enabled=False):
            kept = ctx.saved_tensors
            if ctx.checkpointing:
                kept = _forward(ctx.layer, kept[0], ctx.step)[1]
            dx, gradients = _backward(ctx.layer, ctx.step, kept, gradient, need_dx=ctx.needs_input_grad[0])
        return dx, None, None, None, *gradients


def _forward(layer: Layer, x: Tensor, step: Pass) -> tuple[Tensor, Kept]:
    """The output, and what the backward pass needs."""
    heads, batch, length = layer.heads, step.batch, step.length
    masks_x = layer.masks(layer.query, QKV_INPUT, step, x.shape[0])
    parts: tuple[Tensor | None, ...] = ()  # q, k, v and P
    if layer.key_value is None:
        x_q, a_kv = x, None
        joined, a_q = layer.query.forward(x, masks_x)
        if step.segments is not None:
            c = step.segments.forward(joined, heads, partial(layer.mask_of_part, step))
            parts = (joined, None, None, None)
        else:
            q, k, v = split(joined, batch, 3, heads)
    else:
        x_q = _first(x, length)
        joined, a_kv = layer.key_value.forward(x, layer.masks_of_keys(step, x.shape[0]))
        queries, a_q = layer.query.forward(x_q, [_first(mask, length) for mask in masks_x])
        k, v = split(joined, batch, 2, heads)
        (q,) = split(queries, batch, 1, heads)
    if not parts:
        context, kept = attention.forward(q, k, v, bias=step.bias, mask_of=layer.mask_of_scores(step, q.shape[1]))
        c, parts = merge(context, batch, heads), (q, k, v, kept)
    o, a_o = layer.out.forward(c, layer.masks(layer.out, OUT_INPUT, step, c.shape[0]))
    sum_1 = _residual(o, x_q, layer.mask_of_residual(False, step, tuple(o.shape)))
    y, mean_1, rstd_1 = layer.norm_attention.forward(sum_1)
    u, a_u = layer.up.forward(y, layer.masks(layer.up, UP_INPUT, step, y.shape[0]))
    z, a_d = layer.down.forward(gelu(u), layer.masks(layer.down, DOWN_INPUT, step, u.shape[0]))
    sum_2 = _residual(z, y, layer.mask_of_residual(True, step, tuple(z.shape)))
    output, mean_2, rstd_2 = layer.norm_output.forward(sum_2)
    return output, (
        x if layer.needs_input else None,
        *parts,
        c if layer.out.needs_input and step.segments is not None else None,
        *(a_q, a_kv, a_o, sum_1, mean_1, rstd_1),
        y if layer.up.needs_input else None,
        *(a_u, u, a_d, sum_2, mean_2, rstd_2),
    )


def _backward(
    layer: Layer, step: Pass, tensors: Any, gradient: Tensor, *, need_dx: bool
) -> tuple[Tensor | None, list[Tensor]]:
    """The gradient of the layer's input, and those of its parameters, from what `_forward` kept."""
    x, q, k, v, kept, c, a_q, a_kv, a_o, sum_1, mean_1, rstd_1, y, a_u, u, a_d, sum_2, mean_2, rstd_2 = tensors
    batch, length, heads = step.batch, step.length, layer.heads
    rows, tokens = len(sum_1), batch * length
    # feed-forward part
    d_sum_2, g_norm_2 = layer.norm_output.backward(gradient.contiguous(), sum_2, mean_2, rstd_2)
    dz = _masked(d_sum_2, layer.mask_of_residual(True, step, tuple(d_sum_2.shape)))
    masks = layer.masks(layer.down, DOWN_INPUT, step, rows)
    dg, g_down = layer.down.backward(dz, gelu(u) if layer.down.needs_input else None, a_d, masks, need_dx=True)
    du = torch.ops.aten.gelu_backward(_there(dg), u)
    dy, g_up = layer.up.backward(du, y, a_u, layer.masks(layer.up, UP_INPUT, step, rows), need_dx=True)
    # attention part
    d_sum_1, g_norm_1 = layer.norm_attention.backward(d_sum_2 + _there(dy), sum_1, mean_1, rstd_1)
    do = _masked(d_sum_1, layer.mask_of_residual(False, step, tuple(d_sum_1.shape)))
    mask_of = None if step.segments is not None else layer.mask_of_scores(step, q.shape[1])
    if layer.out.needs_input and c is None:
        c = _context(q, k, v, kept, step, mask_of, heads)
    dc, g_out = layer.out.backward(do, c, a_o, layer.masks(layer.out, OUT_INPUT, step, rows), need_dx=True)
    masks_x = layer.masks(layer.query, QKV_INPUT, step, tokens)
    if layer.key_value is None:
        if step.segments is not None:
            d_joined = step.segments.backward(_there(dc), q, heads, partial(layer.mask_of_part, step))
        else:
            apart = q.new_empty((3, *q.shape))
            (dcontext,) = split(_there(dc), batch, 1, heads)
            out = (apart[0], apart[1], apart[2])
            attention.backward(dcontext, q, k, v, kept, bias=step.bias, mask_of=mask_of, out=out)
            d_joined = join(apart, batch, heads)
        dx, g_in = layer.query.backward(d_joined, x, a_q, masks_x, need_dx=need_dx)
        if dx is not None:
            dx = dx + d_sum_1
    else:
        (dcontext,) = split(_there(dc), batch, 1, heads)
        joined, dq = k.new_empty((2, *k.shape)), torch.empty_like(q)
        attention.backward(dcontext, q, k, v, kept, bias=step.bias, mask_of=mask_of, out=(dq, joined[0], joined[1]))
        masks_kv = layer.masks_of_keys(step, tokens)
        dx, g_kv = layer.key_value.backward(join(joined, batch, heads), x, a_kv, masks_kv, need_dx=need_dx)
        x_q = None if x is None else _first(x, length)
        masks_q = [_first(mask, length) for mask in masks_x]
        dx_q, g_q = layer.query.backward(merge(dq, batch, heads), x_q, a_q, masks_q, need_dx=need_dx)
        g_in = [*g_q, *g_kv]
        if dx is not None:
            dx = dx.contiguous()
            dx.view(batch, length, -1)[:, 0] += _there(dx_q) + d_sum_1
    return dx, [*g_in, *g_out, *g_up, *g_down, *g_norm_1, *g_norm_2]


def _context(
    q: Tensor, k: Tensor, v: Tensor, kept: Tensor | None, step: Pass, mask_of: attention.MaskOf | None, heads: int
) -> Tensor:
    """The context once more, as the forward pass had it."""
    if kept is None:
        return merge(attention.forward(q, k, v, bias=step.bias, mask_of=mask_of)[0], step.batch, heads)
    weights = kept if mask_of is None else kept * mask_of(0, len(q))
    return merge(torch.bmm(weights, v), step.batch, heads)


def _first(x: Tensor, length: int) -> Tensor:
    """Rows of the first token of each text: (B L, N) -> (B, N)."""
    return x.view(-1, length, x.shape[1])[:, 0].contiguous()


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask


def _residual(x: Tensor, residual: Tensor, mask: Tensor | None) -> Tensor:
    return x + residual if mask is None else torch.addcmul(residual, x, mask)


def _there(gradient: Tensor | None) -> Tensor:
    if gradient is None:
        raise RuntimeError("a gradient that was asked for is missing")
    return gradient
