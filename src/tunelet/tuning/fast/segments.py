"""Attention where a mask lets most places see few others: no score is computed that the mask hides by its shape.

A row may begin with places that all others see, and go on with segments that see these and themselves: prompts that
share their beginning side by side (`models.prefix.packing`), or texts packed behind each other.

    row:   before · segment 1 · segment 2 · ...        keys of a segment: before, and its own

Of T = D + R places attention over the whole row computes T^2 scores; here it is D^2 + sum over segments of r (D + r).
Segments of like length, of all rows, are computed together (`Part`); what the mask hides within them is hidden as ever.
The structure is read off the mask itself, so nothing hangs on who made it. Not here: attention (`attention`).

Example:
    >>> seen = torch.block_diag(torch.ones(3, 3), torch.ones(2, 2)).bool()
    >>> found = find_segments(seen[None, None], torch.float32)
    >>> [part.places.tolist() for part in found.parts]
    [[[0, 1, 2]], [[3, 4]]]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from tunelet.tuning.fast import attention
from tunelet.tuning.fast.attention import FAR, MaskOf
from tunelet.tuning.fast.heads import join, merge, split

#: Share of the scores of whole rows below which segments are worth their handling.
_WORTH = 0.8
#: Segments are computed with others of at least this share of their length.
_ALIKE = 0.75
#: (part, its number) -> masks of its attention weights, or nothing without dropout
MasksOf = Callable[["Part", int], MaskOf | None]


@dataclass(frozen=True, eq=False)
class Part:
    """N segments of like length, of any rows.

    Attributes:
        places: (N, W) where each stands in the flattened batch; shorter ones end with repetitions.
        there: (M,) numbers, among the N W, of those that are no repetitions.
        before: (N, D) what each sees in front of it, in the same way; D is 0 where that is nothing.
        fronts: for each of the N where that begins, and how many of the D it has; it stands together.
        bias: (N, W, D + W), 0 where a place sees another, `FAR` where it does not.
    """

    places: Tensor
    there: Tensor
    before: Tensor
    fronts: tuple[tuple[int, int], ...]
    bias: Tensor

    @property
    def keys(self) -> int:
        """D + W."""
        return self.bias.shape[2]

    def queries_keys_values(self, joined: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
        """(N heads, W, d), and twice (N heads, D + W, d), of the products (B L, 3 H)."""
        q, k, v = split(joined[self.places.flatten()], len(self.places), 3, heads)
        if not self.before.shape[1]:
            return q, k, v
        width = joined.shape[1] // 3
        first_k, first_v = split(joined[:, width:][self.before.flatten()], len(self.places), 2, heads)
        return q, torch.cat([first_k, k], 1), torch.cat([first_v, v], 1)

    def put(self, target: Tensor, rows: Tensor) -> None:
        """Add rows (N W, X) to the target (B L, X) where they belong; each place is met once."""
        target.index_add_(0, self.places.flatten()[self.there], rows[self.there])

    def put_before(self, target: Tensor, rows: Tensor) -> None:
        """Add rows (N, D, X) to the target (B L, X): one segment after the other, so always in the same order."""
        for (start, size), own in zip(self.fronts, rows, strict=True):
            target[start : start + size] += own[:size]


@dataclass(frozen=True)
class Segments:
    """The structure of a batch's masks.

    Attributes:
        parts: what is in front of segments, then the segments.
    """

    parts: tuple[Part, ...]

    def forward(self, joined: Tensor, heads: int, masks_of: MasksOf) -> Tensor:
        """Context (B L, H) of queries, keys and values (B L, 3 H), 0 at padding."""
        context = joined.new_zeros(len(joined), joined.shape[1] // 3)
        for number, part in enumerate(self.parts):
            q, k, v = part.queries_keys_values(joined, heads)
            found, _ = attention.forward(q, k, v, bias=part.bias, mask_of=masks_of(part, number))
            part.put(context, merge(found, len(part.places), heads))
        return context

    def backward(self, dcontext: Tensor, joined: Tensor, heads: int, masks_of: MasksOf) -> Tensor:
        """Gradient (B L, 3 H) of `joined` from that of the context (B L, H)."""
        width = joined.shape[1] // 3
        gradient = torch.zeros_like(joined)
        for number, part in enumerate(self.parts):
            count, deep = part.before.shape
            q, k, v = part.queries_keys_values(joined, heads)
            rows = torch.zeros((count * part.places.shape[1], width), dtype=dcontext.dtype, device=dcontext.device)
            rows[part.there] = dcontext[part.places.flatten()[part.there]]
            (own,) = split(rows, count, 1, heads)
            mask_of = masks_of(part, number)
            dq, dk, dv = attention.backward(own, q, k, v, None, bias=part.bias, mask_of=mask_of)
            part.put(gradient, join(torch.stack([dq, dk[:, deep:], dv[:, deep:]]), count, heads))
            if deep:
                first = join(torch.stack([dk[:, :deep], dv[:, :deep]]), count, heads)
                part.put_before(gradient[:, width:], first.view(count, deep, -1))
        return gradient


def find_segments(mask: Tensor, dtype: torch.dtype) -> Segments | None:
    """The segments of masks (B, 1, L, L), True where a query (third axis) sees a key; None where they are not worth it.

    Places at the end of a row that do not see themselves are padding: nothing is computed for them.

    Args:
        dtype: of the scores.
    """
    seen, length = mask[:, 0], mask.shape[-1]
    fronts: list[int] = []
    rest: list[tuple[int, int, int]] = []  # row, start and end of each
    for row, own in enumerate(seen):
        front, ends = _structure(own)
        fronts.append(front)
        rest += [(row, start, end) for start, end in pairwise([front, *ends])]
    groups = [(group, False) for group in _alike([(row, 0, front) for row, front in enumerate(fronts) if front])]
    groups += [(group, True) for group in _alike(rest)]
    scores = 0
    for group, behind in groups:
        width, deep = _longest(group), max(fronts[row] for row, _, _ in group) if behind else 0
        scores += len(group) * width * (deep + width)
    if scores >= _WORTH * len(seen) * length * length:
        return None
    return Segments(tuple(_part(seen, group, fronts if behind else None, dtype) for group, behind in groups))


def _structure(seen: Tensor) -> tuple[int, list[int]]:
    """Of a mask (L, L): how many places stand in front, and where each segment behind them ends."""
    there = seen.diagonal()
    end = int(there.long().cumprod(0).sum())
    if bool(there[end:].any()):  # no padding: whoever does not see itself stands in the midst
        end = len(seen)
    if not end:
        return 0, []
    seen = seen[:end, :end]
    front = int(seen.all(0).long().cumprod(0).sum())
    if front == end or bool(seen[:front, front:].any()):
        front = 0  # all see all, or what stands in front sees what comes after
    behind = end - front
    own = seen[front:, front:] | torch.eye(behind, dtype=torch.bool, device=seen.device)
    lowest, highest = own.long().argmax(1), behind - 1 - own.flip(1).long().argmax(1)
    # a cut behind a place: nobody up to it sees beyond, nobody beyond sees what is up to it
    places = torch.arange(behind, device=seen.device)
    reached, back = highest.cummax(0).values, lowest.flip(0).cummin(0).values.flip(0)
    cuts = (reached == places)[:-1] & (back == places)[1:]
    return front, [front + 1 + cut for cut in cuts.nonzero().flatten().tolist()] + [end] * (behind > 0)


def _longest(group: Sequence[tuple[int, int, int]]) -> int:
    return max(end - start for _, start, end in group)


def _alike(stretches: Sequence[tuple[int, int, int]]) -> Iterator[list[tuple[int, int, int]]]:
    """Stretches of like length together, the longest first."""
    group: list[tuple[int, int, int]] = []
    for one in sorted(stretches, key=lambda one: (one[1] - one[2], one)):
        if group and one[2] - one[1] < _ALIKE * _longest(group):
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _part(
    seen: Tensor, group: Sequence[tuple[int, int, int]], fronts: Sequence[int] | None, dtype: torch.dtype
) -> Part:
    length, device = seen.shape[-1], seen.device
    rows = torch.tensor([row for row, _, _ in group], device=device)
    starts = torch.tensor([start for _, start, _ in group], device=device)
    sizes = torch.tensor([end - start for _, start, end in group], device=device)
    own = torch.arange(_longest(group), device=device)
    places = starts[:, None] + own.minimum(sizes[:, None] - 1)  # (N, W) in its row
    inside = own < sizes[:, None]
    front = torch.tensor([0 if fronts is None else fronts[row] for row, _, _ in group], device=device)
    ahead = torch.arange(int(front.max()), device=device)
    before = ahead.minimum((front[:, None] - 1).clamp(min=0))
    keys = torch.cat([before, places], 1)
    counted = torch.cat([ahead < front[:, None], inside], 1)
    open_ = seen[rows[:, None, None], places[:, :, None], keys[:, None, :]] & counted[:, None, :]
    bias = torch.zeros(open_.shape, dtype=dtype, device=device).masked_fill_(~open_, FAR)
    flat = rows[:, None] * length
    return Part(
        places=flat + places,
        there=inside.flatten().nonzero().flatten(),
        before=flat + before,
        fronts=tuple(zip((rows * length).tolist(), front.tolist(), strict=True)),
        bias=bias,
    )
