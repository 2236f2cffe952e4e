"""Products of a layer apart by heads, and together again: B rows of L places, H wide, G = B heads, d = H / heads.

Example:
    >>> q, k, v = split(torch.zeros(2 * 5, 3 * 8), batch=2, parts=3, heads=4)
    >>> q.shape, join(torch.stack([q, k, v]), batch=2, heads=4).shape
    (torch.Size([8, 5, 2]), torch.Size([10, 24]))
"""

from __future__ import annotations

from torch import Tensor


def split(joined: Tensor, batch: int, parts: int, heads: int) -> tuple[Tensor, ...]:
    """(B L, parts H) -> `parts` tensors (G, L, d)."""
    length = joined.shape[0] // batch
    width = joined.shape[1] // parts // heads
    apart = joined.view(batch, length, parts, heads, width).permute(2, 0, 3, 1, 4).contiguous()
    return apart.view(parts, batch * heads, length, width).unbind(0)


def join(apart: Tensor, batch: int, heads: int) -> Tensor:
    """(parts, G, L, d) -> (B L, parts H)."""
    parts, _, length, width = apart.shape
    return apart.view(parts, batch, heads, length, width).permute(1, 3, 0, 2, 4).reshape(batch * length, -1)


def merge(context: Tensor, batch: int, heads: int) -> Tensor:
    """(G, L, d) -> (B L, H)."""
    return join(context.unsqueeze(0), batch, heads)
