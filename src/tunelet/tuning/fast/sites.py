"""Linear layers that share an input, as one product, with their low-rank updates inside it.

For members i with weights W_i (N_i, K), LoRA factors A_i (r_i, K), B_i (N_i, r_i) and scaling s_i,

    y_i = x W_i^T + b_i + s_i (m_i * x) A_i^T B_i^T        (Hu et al. 2021, eq. 3; m_i the dropout mask)

Put side by side, a = (m * x) A^T is one small product, and y = [x, a] [W, S]^T + b is one large one, where S holds the
blocks s_i B_i. The backward pass has the same shape: [dx, da] = dy [W, S] is one product, and dA = da^T (m * x),
dB = s dy^T a are small. Nothing but x and a is needed again, and x is there anyway; where A is frozen, not even x.

A member may instead train its weight and bias (full fine-tuning); then dW = dy^T x.

Not here: which members a layer has (`layer`), what a member is (`members`), where masks come from (`masks`).

Example:
    >>> site = Site([member_of(model.attention.self.query)], torch.bfloat16, shared_masks=True)       # doctest: +SKIP
    >>> y, a = site.forward(x, [mask])                                                              # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tunelet.tuning.fast.members import Member
from tunelet.tuning.fast.passes import Pass

#: a place in a product's own copy, the parameter it is a copy of, and the factor between them
Copy = tuple[Tensor, Tensor, float]


@dataclass(frozen=True)
class Block:
    """Rows of a member in the stacked output and in the stacked rank."""

    rows: slice
    ranks: slice


def blocks_of(members: Sequence[Member]) -> list[Block]:
    """Where each member stands."""
    blocks: list[Block] = []
    rows = ranks = 0
    for member in members:
        end_rows, end_ranks = rows + member.weight.shape[0], ranks + member.rank
        blocks.append(Block(slice(rows, end_rows), slice(ranks, end_ranks)))
        rows, ranks = end_rows, end_ranks
    return blocks


class Site:
    """Members that share an input.

    Args:
        members: at least one; all with the same input width K, and one probability of dropout where they have any.
        dtype: in which the products are computed; copies of the weights are held in it.
        shared_masks: one dropout mask for all members, or one for each as in PEFT.

    Attributes:
        inputs, outputs, rank: K, sum N_i, sum r_i.
        dropout: probability on the updates' input.
        masks: how many masks a pass needs.
    """

    def __init__(self, members: Sequence[Member], dtype: torch.dtype, *, shared_masks: bool) -> None:
        self.members = list(members)
        first = self.members[0].weight
        self.inputs = first.shape[1]
        self.blocks = blocks_of(self.members)
        rows, ranks = self.blocks[-1].rows.stop, self.blocks[-1].ranks.stop
        self.outputs, self.rank = rows, ranks
        self.shared_masks = shared_masks
        self.dropout = max(member.dropout for member in self.members)
        self.masks = 0 if not self.rank or not self.dropout else 1 if shared_masks else len(self.members)
        self.weight = first.new_zeros((rows, self.inputs + ranks), dtype=dtype)
        self.bias = first.new_zeros(rows, dtype=dtype)
        self.factor = first.new_zeros((ranks, self.inputs), dtype=dtype)
        self._copy_frozen()

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All trained parameters, member by member."""
        return [parameter for member in self.members for parameter in member.trained]

    @property
    def needs_input(self) -> bool:
        """Whether the backward pass looks at the input."""
        return any(member.needs_input for member in self.members)

    def copies(self) -> Iterator[Copy]:
        """What the optimiser changes and the products hold in their own type."""
        for member, block in zip(self.members, self.blocks, strict=True):
            if member.a is not None and member.b is not None:
                ranks = slice(self.inputs + block.ranks.start, self.inputs + block.ranks.stop)
                yield self.factor[block.ranks], member.a, 1.0
                yield self.weight[block.rows, ranks], member.b, member.scaling
            if member.weight.requires_grad:
                yield self.weight[block.rows, : self.inputs], member.weight, 1.0
            if member.bias is not None and member.bias.requires_grad:
                yield self.bias[block.rows], member.bias, 1.0

    def tensors(self) -> list[Tensor]:
        """What it holds beside the model's own tensors."""
        return [self.weight, self.bias, self.factor]

    def draw(self, step: Pass, number: int, rows: int, first: int = 0) -> list[Tensor]:
        """The masks (rows, K) of a pass at the site of dropout `number`, their parts numbered from `first`."""
        drawn = (step.mask(self.dropout, number, (rows, self.inputs), first + part) for part in range(self.masks))
        return [mask for mask in drawn if mask is not None]

    def forward(self, x: Tensor, masks: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Outputs of all members side by side.

        Args:
            x: (T, K).
            masks: `self.masks` of them, (T, K) each; none when dropout is off.

        Returns:
            y (T, sum N_i), and a (T, sum r_i) or None, which the backward pass needs.
        """
        if not self.rank:
            return torch.addmm(self.bias, x, self.weight.t()), None
        joined = x.new_empty((x.shape[0], self.inputs + self.rank))
        joined[:, : self.inputs] = x
        a = joined[:, self.inputs :]
        for ranks, mask in self._spans(masks):
            a[:, ranks] = torch.mm(x if mask is None else x * mask, self.factor[ranks].t())
        return torch.addmm(self.bias, joined, self.weight.t()), a.contiguous()

    def backward(
        self, dy: Tensor, x: Tensor | None, a: Tensor | None, masks: Sequence[Tensor], *, need_dx: bool
    ) -> tuple[Tensor | None, list[Tensor]]:
        """Gradients of what `forward` was given.

        Args:
            dy: (T, sum N_i), the gradient of y.
            x, a, masks: as in `forward`; x may be None where `needs_input` is not.
            need_dx: whether anything before this site trains.

        Returns:
            dx (T, K) or None, and the gradients of `parameters` in their order and type.
        """
        joined = torch.mm(dy, self.weight) if need_dx else None
        dx = None if joined is None else joined[:, : self.inputs]
        d_factor: Tensor | None = None
        if self.rank:
            da = torch.mm(dy, self.weight[:, self.inputs :]) if joined is None else joined[:, self.inputs :]
            parts = []
            for ranks, mask in self._spans(masks):
                part = da[:, ranks].contiguous()
                if x is not None:
                    parts.append(torch.mm(part.t(), x if mask is None else x * mask))
                if dx is not None:
                    back = torch.mm(part, self.factor[ranks])
                    dx = dx + back if mask is None else torch.addcmul(dx, back, mask)
            d_factor = torch.cat(parts) if parts else None
        return dx, self._gradients(dy, x, a, d_factor)

    def _spans(self, masks: Sequence[Tensor]) -> list[tuple[slice, Tensor | None]]:
        """Ranks that share a mask, with it."""
        if len(masks) <= 1:
            return [(slice(None), masks[0] if masks else None)]
        spans = zip(self.blocks, masks, strict=True)
        return [(block.ranks, mask) for block, mask in spans if block.ranks.stop > block.ranks.start]

    def _gradients(self, dy: Tensor, x: Tensor | None, a: Tensor | None, d_factor: Tensor | None) -> list[Tensor]:
        # (a^T dy)^T and not dy^T a: the same numbers, up to three times as fast for so few columns
        d_blocks = None if a is None else torch.mm(a.t(), dy).t()
        gradients = []
        for member, block in zip(self.members, self.blocks, strict=True):
            part = dy[:, block.rows]
            if member.weight.requires_grad and x is not None:
                gradients.append(torch.mm(part.t(), x).to(member.weight.dtype))
            if member.bias is not None and member.bias.requires_grad:
                gradients.append(part.sum(0, dtype=member.bias.dtype))
            if member.a is not None and member.a.requires_grad and d_factor is not None:
                gradients.append(d_factor[block.ranks].to(member.a.dtype))
            if member.b is not None and member.b.requires_grad and d_blocks is not None:
                part_b = d_blocks[block.rows, block.ranks]
                gradients.append(part_b.to(member.b.dtype, memory_format=torch.contiguous_format).mul_(member.scaling))
        return gradients

    def _copy_frozen(self) -> None:
        with torch.no_grad():
            for member, block in zip(self.members, self.blocks, strict=True):
                own = self.weight[block.rows, : self.inputs]
                own.copy_(member.weight)
                if member.weight.dtype == own.dtype and not member.weight.requires_grad:
                    member.weight.data = own  # one copy is enough: the module looks into ours
                if member.bias is not None:
                    self.bias[block.rows].copy_(member.bias)
