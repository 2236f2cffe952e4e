"""Linear layers that several models share, each with low-rank updates of its own: one large product, small ones.

M models hold the same frozen W (N, K) and read the same texts, so their inputs lie below each other, x (M T, K), and

    y_g = x_g W^T + b + (m_g * x_g) A_g^T S_g^T          for model g, S_g the blocks s_i B_i as in `sites`

is one product with W for all rows, and one batched product (bmm) for each stretch of neighbouring models whose updates
are of one shape. A model without an update here costs nothing. Not here: what a member is (`members`), the models
(`group`).

Example:
    >>> site = GroupSite([members_of_one, members_of_other], weight, bias, shared_masks=True)       # doctest: +SKIP
    >>> y, a = site.forward(x, site.draw(step, number, rows=len(x)))                            # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from tunelet.tuning.fast.members import Member
from tunelet.tuning.fast.passes import Pass
from tunelet.tuning.fast.sites import Block, Copy, blocks_of


class Stretch:
    """The updates of neighbouring models whose members have the same ranks.

    Args:
        first: number of its first model.
        models: for each of its models the members of the site.
        like: a tensor of the type and device in which to hold factors.
        shared_masks: one dropout mask for all members, or one for each.

    Attributes:
        rank: R = sum r_i.
        blocks: rows and ranks of each member.
        factor: (m, R, K), the A_i below each other.
        update: (m, N, R), blocks s_i B_i.
    """

    def __init__(self, first: int, models: Sequence[Sequence[Member]], like: Tensor, *, shared_masks: bool) -> None:
        self.models = [list(members) for members in models]
        self.first, self.end = first, first + len(self.models)
        members = self.models[0]
        self.blocks: list[Block] = blocks_of(members)
        self.rank = sum(member.rank for member in members)
        rows, inputs = self.blocks[-1].rows.stop, members[0].weight.shape[1]
        self.factor = like.new_zeros((len(self.models), self.rank, inputs))
        self.update = like.new_zeros((len(self.models), rows, self.rank))
        self.masks = 0 if not any(map(_dropout, self.models)) else 1 if shared_masks else len(members)

    @property
    def needs_input(self) -> bool:
        """Whether a gradient is a product with the input."""
        return any(member.needs_input for members in self.models for member in members)

    def copies(self) -> Iterator[Copy]:
        """As `Site.copies`."""
        for number, members in enumerate(self.models):
            for member, block in zip(members, self.blocks, strict=True):
                if member.a is not None and member.b is not None:
                    yield self.factor[number, block.ranks], member.a, 1.0
                    yield self.update[number, block.rows, block.ranks], member.b, member.scaling

    def draw(self, step: Pass, number: int, rows: int, first: int) -> list[Tensor]:
        """Masks (m, rows, K), as many as `masks`; of a model without dropout all ones."""
        inputs = self.factor.shape[2]

        def of(model: int, part: int) -> Tensor:
            p = _dropout(self.models[model])
            if p == 0.0:
                return self.factor.new_ones((rows, inputs))
            return step.mask_of(self.first + model, p, number, (rows, inputs), first + part)

        own = range(len(self.models))
        return [torch.stack([of(model, part) for model in own]) for part in range(self.masks)]

    def spans(self, masks: Sequence[Tensor]) -> list[tuple[slice, Tensor | None]]:
        """Ranks that share a mask, with it."""
        if len(masks) <= 1:
            return [(slice(None), masks[0] if masks else None)]
        found = zip(self.blocks, masks, strict=True)
        return [(block.ranks, mask) for block, mask in found if block.ranks.stop > block.ranks.start]


class GroupSite:
    """A `Site` of several models; the same calls.

    Args:
        models: for each model its members, all with the same frozen weights.
        weight, bias: those weights side by side, (N, K) and (N,), in the type of the products; shared, never changed.
        shared_masks: one dropout mask for all members of a model, or one for each as in PEFT.
    """

    def __init__(self, models: Sequence[Sequence[Member]], weight: Tensor, bias: Tensor, *, shared_masks: bool) -> None:
        self.members = [member for members in models for member in members]
        self.weight, self.bias = weight, bias
        self.outputs, self.inputs = weight.shape
        self.shared_masks = shared_masks
        self.count = len(models)
        self.dropout = max(map(_dropout, models))
        self.stretches = []
        begin = 0
        for end in range(1, len(models) + 1):
            if end == len(models) or _ranks(models[end]) != _ranks(models[begin]):
                if sum(_ranks(models[begin])):
                    self.stretches.append(Stretch(begin, models[begin:end], weight, shared_masks=shared_masks))
                begin = end

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All trained parameters, model by model and member by member."""
        return [parameter for member in self.members for parameter in member.trained]

    @property
    def needs_input(self) -> bool:
        """Whether the backward pass looks at the input."""
        return any(stretch.needs_input for stretch in self.stretches)

    def copies(self) -> Iterator[Copy]:
        """What the optimisers change and the products hold in their own type."""
        for stretch in self.stretches:
            yield from stretch.copies()

    def tensors(self) -> list[Tensor]:
        """What it holds beside the models' own tensors."""
        return [tensor for stretch in self.stretches for tensor in (stretch.factor, stretch.update)]

    def draw(self, step: Pass, number: int, rows: int, first: int = 0) -> list[Tensor]:
        """Masks of a pass, stretch by stretch, (m rows / M, K) each; see `Site.draw`."""
        if not step.dropout:
            return []
        own = rows // self.count
        return [mask.flatten(0, 1) for stretch in self.stretches for mask in stretch.draw(step, number, own, first)]

    def forward(self, x: Tensor, masks: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Outputs of all members side by side, of all models below each other.

        Args:
            x: (M T, K).
            masks: what `draw` gave, or none.

        Returns:
            y (M T, N), and all a in a row, or None without any update.
        """
        y = torch.addmm(self.bias, x, self.weight.t())
        kept = []
        for stretch, own in self._with(masks, len(x)):
            inputs = self._rows(x, stretch)
            a = inputs.new_empty((*inputs.shape[:2], stretch.rank))
            for ranks, mask in stretch.spans(own):
                masked = inputs if mask is None else inputs * mask
                a[:, :, ranks] = torch.bmm(masked, stretch.factor[:, ranks].transpose(1, 2))
            self._rows(y, stretch).baddbmm_(a, stretch.update.transpose(1, 2))
            kept.append(a.flatten())
        return y, torch.cat(kept) if kept else None

    def backward(
        self, dy: Tensor, x: Tensor | None, a: Tensor | None, masks: Sequence[Tensor], *, need_dx: bool
    ) -> tuple[Tensor | None, list[Tensor]]:
        """Gradients of what `forward` was given; arguments and results as `Site.backward`."""
        dx = torch.mm(dy, self.weight) if need_dx else None
        gradients: dict[int, list[Tensor]] = {}
        start = 0
        for stretch, own in self._with(masks, len(dy)):
            d_rows = self._rows(dy, stretch)
            models, rows, _ = d_rows.shape
            size = models * rows * stretch.rank
            kept = None if a is None else a[start : start + size].view(models, rows, stretch.rank)
            start += size
            da = torch.bmm(d_rows, stretch.update)
            d_factor = da.new_empty(stretch.factor.shape) if x is not None and stretch.needs_input else None
            for ranks, mask in stretch.spans(own):
                part = da[:, :, ranks]
                if d_factor is not None and x is not None:
                    inputs = self._rows(x, stretch)
                    d_factor[:, ranks] = torch.bmm(part.transpose(1, 2), inputs if mask is None else inputs * mask)
                if dx is not None:
                    back = torch.bmm(part, stretch.factor[:, ranks])
                    below = self._rows(dx, stretch)
                    below.add_(back) if mask is None else below.addcmul_(back, mask)
            d_update = None if kept is None else torch.bmm(kept.transpose(1, 2), d_rows)
            for number, members in enumerate(stretch.models):
                gradients[stretch.first + number] = _gradients(stretch, number, members, d_factor, d_update)
        return dx, [gradient for model in range(self.count) for gradient in gradients.get(model, [])]

    def _rows(self, x: Tensor, stretch: Stretch) -> Tensor:
        """(M T, width) -> the rows of a stretch's models, (m, T, width), as a view."""
        return x.view(self.count, -1, x.shape[1])[stretch.first : stretch.end]

    def _with(self, masks: Sequence[Tensor], rows: int) -> Iterator[tuple[Stretch, list[Tensor]]]:
        """Each stretch with its own masks (m, T, K)."""
        left = list(masks)
        for stretch in self.stretches:
            own = [left.pop(0) for _ in range(stretch.masks if masks else 0)]
            yield stretch, [mask.view(-1, rows // self.count, mask.shape[1]) for mask in own]


def _gradients(
    stretch: Stretch, number: int, members: Sequence[Member], d_factor: Tensor | None, d_update: Tensor | None
) -> list[Tensor]:
    """Gradients of one model's trained parameters, in their order and type."""
    found = []
    for member, block in zip(members, stretch.blocks, strict=True):
        if member.a is not None and member.a.requires_grad and d_factor is not None:
            found.append(d_factor[number, block.ranks].to(member.a.dtype))
        if member.b is not None and member.b.requires_grad and d_update is not None:
            part = d_update[number, block.ranks, block.rows].t()
            found.append(part.to(member.b.dtype, memory_format=torch.contiguous_format).mul_(member.scaling))
    return found


def _ranks(members: Sequence[Member]) -> tuple[int, ...]:
    return tuple(member.rank for member in members)


def _dropout(members: Sequence[Member]) -> float:
    return max(member.dropout for member in members)
