"""One post-norm encoder layer (Vaswani et al. 2017; BERT) as one autograd function that keeps little.

    c = attention(x W_q, x W_k, x W_v)          y = LN(x + drop(c W_o))          z = LN(y + drop(gelu(y W_1) W_2))

with a low-rank update on any of the six products. For the backward pass it keeps x, the joined q, k, v, the two sums
before the norms, the first norm's output, the argument of gelu, and each update's a (T, r); dropout masks are found
again in their pool (`masks`), the context and gelu are computed again. A layer may be asked for the first token alone,
when nothing after it looks at the others: then all but k and v is computed for one row of each text.

Not here: finding the parts of a model (`engine`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tunelet.tuning.fast import attention
from tunelet.tuning.fast.masks import MaskPool
from tunelet.tuning.fast.sites import Site


@dataclass(frozen=True)
class Norm:
    """A layer norm: weight, bias (N,), and epsilon."""

    module: nn.LayerNorm

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Output, mean and reciprocal deviation of each row."""
        weight, bias = self._affine(x.dtype)
        return torch.native_layer_norm(x, list(self.module.normalized_shape), weight, bias, self.module.eps)

    def backward(self, dy: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Gradient of x, and of weight and bias if they train."""
        weight, bias = self._affine(x.dtype)
        trains = self.module.weight.requires_grad
        shape = list(self.module.normalized_shape)
        dx, dweight, dbias = torch.ops.aten.native_layer_norm_backward(
            dy, x, shape, mean, rstd, weight, bias, [True, trains, trains]
        )
        own = self.module.weight.dtype
        return dx, [dweight.to(own), dbias.to(own)] if trains else []

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Weight and bias if they train."""
        return [self.module.weight, self.module.bias] if self.module.weight.requires_grad else []

    def _affine(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        return self.module.weight.detach().to(dtype), self.module.bias.detach().to(dtype)


@dataclass(frozen=True)
class Pass:
    """What one forward pass has in common over its layers.

    Attributes:
        batch, length: B and L; activations are (B L, width).
        bias: (B heads, 1, L) for the scores, or None without padding.
        number: its random number; None where dropout is off.
        pools: mask pools by probability.
    """

    batch: int
    length: int
    bias: Tensor | None
    number: int | None
    pools: dict[float, MaskPool]

    def mask(self, p: float, site: int, shape: tuple[int, ...]) -> Tensor | None:
        """The mask of one site of dropout, or None where there is none."""
        if self.number is None or p == 0.0:
            return None
        count = 1
        for size in shape:
            count *= size
        return self.pools[p].slice(self.number, site, count).view(shape)


@dataclass(frozen=True)
class Layer:
    """The parts of one layer.

    Attributes:
        index: its number, from 0; sites of dropout are numbered by it.
        query, key_value: for a layer that gives the first token only; else `query` holds all three.
        out, up, down: the products after attention, into and out of the feed-forward part.
        norm_attention, norm_output: the two norms.
        heads: attention heads.
        attention_dropout, hidden_dropout: probabilities.
    """

    index: int
    query: Site
    key_value: Site | None
    out: Site
    up: Site
    down: Site
    norm_attention: Norm
    norm_output: Norm
    heads: int
    attention_dropout: float
    hidden_dropout: float

    @property
    def sites(self) -> list[Site]:
        """All products, in the order of their parameters."""
        return [site for site in (self.query, self.key_value, self.out, self.up, self.down) if site is not None]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All that trains, in the order in which the backward pass returns gradients."""
        own = [parameter for site in self.sites for parameter in site.parameters]
        return [*own, *self.norm_attention.parameters, *self.norm_output.parameters]

    def __call__(self, x: Tensor, step: Pass) -> Tensor:
        """(B L, H) -> (B L, H), or (B, H) for a layer that gives the first token only."""
        output: Tensor = _LayerFunction.apply(x, self, step, *self.parameters)  # type: ignore[no-untyped-call]
        return output

    def number(self, site: int) -> int:
        """Number of a site of dropout in the whole model."""
        return self.index * 16 + site

    def masks(self, site: Site, place: int, step: Pass, rows: int) -> list[Tensor]:
        """Masks of the updates' input at a product; they share a mask or have one each (`Site`)."""
        drawn = (
            step.mask(site.dropout, self.number(place) + 1000 * extra, (rows, site.inputs))
            for extra in range(site.masks)
        )
        return [mask for mask in drawn if mask is not None]

    def masks_of_keys(self, site: Site, step: Pass, rows: int) -> list[Tensor]:
        """Masks of keys and values where queries are a product of their own: the queries' mask if masks are shared."""
        return self.masks(site, 0 if site.shared_masks else 7, step, rows)

    def attention_masks(self, step: Pass, queries: int) -> attention.MaskOf | None:
        """Masks of the scores, piece by piece; pieces differ by the number of their first group."""
        if step.number is None or self.attention_dropout == 0.0:
            return None

        def mask_of(start: int, end: int) -> Tensor:
            mask = step.mask(
                self.attention_dropout, self.number(5) + 100_000 * start, (end - start, queries, step.length)
            )
            if mask is None:
                raise RuntimeError("a pass without dropout was asked for a mask")
            return mask

        return mask_of


class _LayerFunction(torch.autograd.Function):
    """forward and backward of `Layer`; shapes: T = B L rows, H hidden, F feed-forward, G = B heads, d = H / heads."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Layer, step: Pass, *parameters: Tensor) -> Tensor:
        first_only = layer.key_value is not None
        heads, batch, length = layer.heads, step.batch, step.length
        x_q = x.view(batch, length, -1)[:, 0].contiguous() if first_only else x
        masks_x = layer.masks(layer.query, 0, step, x.shape[0])
        if layer.key_value is None:
            joined, a_q = layer.query.forward(x, masks_x)
            a_kv = None
            q, k, v = _split(joined, batch, 3, heads)
        else:
            joined, a_kv = layer.key_value.forward(x, layer.masks_of_keys(layer.key_value, step, x.shape[0]))
            queries, a_q = layer.query.forward(x_q, _first(masks_x, batch, length))
            k, v = _split(joined, batch, 2, heads)
            (q,) = _split(queries, batch, 1, heads)
        mask_of = layer.attention_masks(step, q.shape[1])
        context, kept = attention.forward(q, k, v, bias=step.bias, mask_of=mask_of)
        c = _merge(context, batch, heads)
        o, a_o = layer.out.forward(c, layer.masks(layer.out, 1, step, c.shape[0]))
        sum_1 = _residual(o, x_q, step.mask(layer.hidden_dropout, layer.number(2), tuple(o.shape)))
        y, mean_1, rstd_1 = layer.norm_attention.forward(sum_1)
        u, a_u = layer.up.forward(y, layer.masks(layer.up, 3, step, y.shape[0]))
        g = torch.nn.functional.gelu(u)
        z, a_d = layer.down.forward(g, layer.masks(layer.down, 4, step, g.shape[0]))
        sum_2 = _residual(z, y, step.mask(layer.hidden_dropout, layer.number(6), tuple(z.shape)))
        output, mean_2, rstd_2 = layer.norm_output.forward(sum_2)
        ctx.layer, ctx.step = layer, step
        ctx.save_for_backward(
            x, q, k, v, kept, a_q, a_kv, a_o, sum_1, mean_1, rstd_1, y, a_u, u, a_d, sum_2, mean_2, rstd_2
        )
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        layer: Layer = ctx.layer
        step: Pass = ctx.step
        x, q, k, v, kept, a_q, a_kv, a_o, sum_1, mean_1, rstd_1, y, a_u, u, a_d, sum_2, mean_2, rstd_2 = (
            ctx.saved_tensors
        )
        batch, length, heads = step.batch, step.length, layer.heads
        rows = y.shape[0]
        # feed-forward part
        d_sum_2, g_norm_2 = layer.norm_output.backward(gradients[0].contiguous(), sum_2, mean_2, rstd_2)
        dz = _masked(d_sum_2, step.mask(layer.hidden_dropout, layer.number(6), tuple(d_sum_2.shape)))
        dg, g_down = layer.down.backward(
            dz,
            torch.nn.functional.gelu(u) if layer.down.needs_input else u,
            a_d,
            layer.masks(layer.down, 4, step, rows),
            need_dx=True,
        )
        du = torch.ops.aten.gelu_backward(_there(dg), u)
        dy, g_up = layer.up.backward(du, y, a_u, layer.masks(layer.up, 3, step, rows), need_dx=True)
        # attention part
        d_sum_1, g_norm_1 = layer.norm_attention.backward(d_sum_2 + _there(dy), sum_1, mean_1, rstd_1)
        do = _masked(d_sum_1, step.mask(layer.hidden_dropout, layer.number(2), tuple(d_sum_1.shape)))
        mask_of = layer.attention_masks(step, q.shape[1])
        c = _context(q, k, v, kept, step, mask_of, heads) if layer.out.needs_input else do
        dc, g_out = layer.out.backward(do, c, a_o, layer.masks(layer.out, 1, step, rows), need_dx=True)
        dcontext = _split(_there(dc), batch, 1, heads)[0]
        need_dx = ctx.needs_input_grad[0]
        masks_x = layer.masks(layer.query, 0, step, x.shape[0])
        if layer.key_value is None:
            joined = q.new_empty((3, *q.shape))
            attention.backward(
                dcontext, q, k, v, kept, bias=step.bias, mask_of=mask_of, out=(joined[0], joined[1], joined[2])
            )
            dx, g_in = layer.query.backward(_join(joined, batch, heads), x, a_q, masks_x, need_dx=need_dx)
            if dx is not None:
                dx = dx + d_sum_1
        else:
            joined = k.new_empty((2, *k.shape))
            dq = torch.empty_like(q)
            attention.backward(dcontext, q, k, v, kept, bias=step.bias, mask_of=mask_of, out=(dq, joined[0], joined[1]))
            masks_kv = layer.masks_of_keys(layer.key_value, step, x.shape[0])
            dx, g_kv = layer.key_value.backward(_join(joined, batch, heads), x, a_kv, masks_kv, need_dx=need_dx)
            x_q = x.view(batch, length, -1)[:, 0].contiguous()
            dx_q, g_q = layer.query.backward(
                _merge(dq, batch, heads), x_q, a_q, _first(masks_x, batch, length), need_dx=need_dx
            )
            g_in = [*g_q, *g_kv]
            if dx is not None:
                dx = dx.contiguous()
                dx.view(batch, length, -1)[:, 0] += _there(dx_q) + d_sum_1
        return dx, None, None, *g_in, *g_out, *g_up, *g_down, *g_norm_1, *g_norm_2


def _split(joined: Tensor, batch: int, parts: int, heads: int) -> tuple[Tensor, ...]:
    """(B L, parts H) -> `parts` tensors (G, L, d)."""
    length = joined.shape[0] // batch
    width = joined.shape[1] // parts // heads
    apart = joined.view(batch, length, parts, heads, width).permute(2, 0, 3, 1, 4).contiguous()
    return apart.view(parts, batch * heads, length, width).unbind(0)


def _join(apart: Tensor, batch: int, heads: int) -> Tensor:
    """(parts, G, L, d) -> (B L, parts H)."""
    parts, _, length, width = apart.shape
    return apart.view(parts, batch, heads, length, width).permute(1, 3, 0, 2, 4).reshape(batch * length, -1)


def _merge(context: Tensor, batch: int, heads: int) -> Tensor:
    """(G, Q, d) -> (B Q, H)."""
    return _join(context.unsqueeze(0), batch, heads)


def _context(
    q: Tensor, k: Tensor, v: Tensor, kept: Tensor | None, step: Pass, mask_of: attention.MaskOf | None, heads: int
) -> Tensor:
    """The context once more, as the forward pass had it."""
    if kept is None:
        return _merge(attention.forward(q, k, v, bias=step.bias, mask_of=mask_of)[0], step.batch, heads)
    weights = kept if mask_of is None else kept * mask_of(0, len(q))
    return _merge(torch.bmm(weights, v), step.batch, heads)


def _first(masks: list[Tensor], batch: int, length: int) -> list[Tensor]:
    """Rows of the first token of each text."""
    return [mask.view(batch, length, -1)[:, 0] for mask in masks]


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask


def _residual(x: Tensor, residual: Tensor, mask: Tensor | None) -> Tensor:
    return x + residual if mask is None else torch.addcmul(residual, x, mask)


def _there(gradient: Tensor | None) -> Tensor:
    if gradient is None:
        raise RuntimeError("a gradient that was asked for is missing")
    return gradient
