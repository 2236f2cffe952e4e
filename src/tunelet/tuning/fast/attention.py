"""Bidirectional self-attention with its own backward pass, which keeps scores only where they are small.

    P = softmax(q k^T / sqrt(d) + bias),   c = (m * P) v        (Vaswani et al. 2017, eq. 1; m the dropout mask)

Scores grow with the square of the length. Short texts keep P; for long ones the forward pass goes through the batch in
pieces that fit the cache, and the backward pass computes each piece's P again. (torch's fused attention is no help
here: on a CPU its backward pass takes ten times as long for short texts, and it has no dropout.)

Example:
    >>> context, kept = forward(q, k, v, bias=None, mask_of=None)       # doctest: +SKIP
    >>> dq, dk, dv = backward(dcontext, q, k, v, kept, bias=None, mask_of=None)      # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: added to a score at what is not seen; far below any score, and finite in every type
FAR = -1e4
#: scores of a piece: 2 MB in bf16, the size of a core's cache
PIECE = 1 << 20
#: rows (batch x heads) of a piece -> the dropout masks of its scores, or nothing without dropout
MaskOf = Callable[[int, int], Tensor]


def forward(
    q: Tensor, k: Tensor, v: Tensor, *, bias: Tensor | None, mask_of: MaskOf | None
) -> tuple[Tensor, Tensor | None]:
    """Attention over G = batch x heads groups.

    Args:
        q: (G, Q, d) queries.
        k, v: (G, L, d) keys and values.
        bias: (G, 1 or Q, L), added to the scores: large and negative at what is not seen, padding say; or, for all
            heads alike, (B, 1 or Q, L). None: everything is seen.
        mask_of: gives the masks (end - start, Q, L) of the groups from start to end; None: no dropout.

    Returns:
        context (G, Q, d), and P (G, Q, L) if it is small enough to be kept, else None.
    """
    step = piece_of(q.shape[1], k.shape[1])
    if step >= len(q):
        p = _weights(q, k, _of(bias, 0, len(q), len(q)))
        return torch.bmm(p if mask_of is None else p * mask_of(0, len(q)), v), p
    context = torch.empty_like(q)
    for start in range(0, len(q), step):
        end = min(start + step, len(q))
        p = _weights(q[start:end], k[start:end], _of(bias, start, end, len(q)))
        if mask_of is not None:
            p = p * mask_of(start, end)
        torch.bmm(p, v[start:end], out=context[start:end])
    return context, None


def backward(
    dcontext: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kept: Tensor | None,
    *,
    bias: Tensor | None,
    mask_of: MaskOf | None,
    out: tuple[Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v.

    Args:
        dcontext: (G, Q, d), the gradient of the context.
        kept: P, or None to compute it again.
        out: tensors to write into, shaped as q, k and v.
    """
    dq, dk, dv = out if out is not None else (torch.empty_like(q), torch.empty_like(k), torch.empty_like(v))
    step = len(q) if kept is not None else piece_of(q.shape[1], k.shape[1])
    scale = q.shape[-1] ** -0.5
    for start in range(0, len(q), step):
        part = slice(start, min(start + step, len(q)))
        p = kept if kept is not None else _weights(q[part], k[part], _of(bias, part.start, part.stop, len(q)))
        mask = None if mask_of is None else mask_of(part.start, part.stop)
        torch.bmm((p if mask is None else p * mask).transpose(1, 2), dcontext[part], out=dv[part])
        dp = torch.bmm(dcontext[part], v[part].transpose(1, 2))
        if mask is not None:
            dp.mul_(mask)
        wide = _wide(dp)
        ds = torch._softmax_backward_data(dp.to(wide), p.to(wide), -1, wide).mul_(scale).to(p.dtype)
        torch.bmm(ds, k[part], out=dq[part])
        torch.bmm(ds.transpose(1, 2), q[part], out=dk[part])
    return dq, dk, dv


def _of(bias: Tensor | None, start: int, end: int, groups: int) -> Tensor | None:
    """The bias of the groups from start to end."""
    if bias is None or len(bias) == groups:
        return None if bias is None else bias[start:end]
    return bias[torch.arange(start, end, device=bias.device) // (groups // len(bias))]


def _weights(q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
    """P (G, Q, L); softmax is computed in fp32 and rounded to the type of q."""
    scale = q.shape[-1] ** -0.5
    if bias is None:
        scores = torch.bmm(q, k.transpose(1, 2)).mul_(scale)
    else:
        scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=scale)
    return torch.softmax(scores, -1, dtype=_wide(scores)).to(q.dtype)


def _wide(x: Tensor) -> torch.dtype:
    """The type for softmax: for short rows on a CPU, torch's bf16 kernels take longer than fp32 and the casts."""
    return torch.float32 if x.dtype == torch.bfloat16 and x.device.type == "cpu" else x.dtype


def piece_of(queries: int, keys: int) -> int:
    """Groups of a piece."""
    return max(1, PIECE // (queries * keys))
