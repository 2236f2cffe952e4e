"""What one forward pass has in common over its layers: the shape of the batch, its padding and its dropout masks.

A pass may be that of several models at once, which share the base and read the same texts (`group`): then the rows of
the first model's texts come first, and each model takes the masks that it would take alone.

Example:
    >>> Pass(batch=16, length=24, bias=None, masks=({},)).mask(0.1, site=3, shape=(384, 64)) is None
    True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from tunelet.models.mask_pool import Masks
from tunelet.tuning.fast.attention import MaskOf, piece_of
from tunelet.tuning.fast.segments import Part, Segments


@dataclass(frozen=True)
class Pass:
    """One forward pass of M models (M is 1 but in a group).

    Attributes:
        batch, length: B and L of all models together; activations are (B L, width), and B is a multiple of M.
        bias: (B heads, 1, L) for the scores, or None without padding.
        masks: for each model its dropout masks by probability; empty ones where dropout is off.
        segments: of masks that say for each token what it sees, where rows fall apart; then `bias` is None, and M is 1.
    """

    batch: int
    length: int
    bias: Tensor | None
    masks: tuple[Mapping[float, Masks], ...]
    segments: Segments | None = None

    @property
    def dropout(self) -> bool:
        """Whether dropout is on; for all models or for none."""
        return bool(self.masks[0])

    def mask(self, p: float, site: int, shape: tuple[int, ...], part: int = 0) -> Tensor | None:
        """The mask of one part of a site of dropout, all models' rows below each other; None where there is none."""
        if not self.dropout or p == 0.0:
            return None
        rows = shape[0] // len(self.masks)
        found = [self.mask_of(model, p, site, (rows, *shape[1:]), part) for model in range(len(self.masks))]
        return found[0] if len(found) == 1 else torch.cat(found)

    def mask_of(self, model: int, p: float, site: int, shape: tuple[int, ...], part: int = 0) -> Tensor:
        """The mask of one model's own rows; dropout has to be on."""
        return self.masks[model][p].slice(site, prod(shape), part).view(shape)

    def mask_of_part(self, p: float, site: int, heads: int, part: Part, number: int) -> MaskOf | None:
        """Masks of the attention weights of one part of the segments; each part has its own."""
        alone = replace(self, batch=len(part.places), length=part.keys)
        return alone.mask_of_scores(p, site, part.places.shape[1], heads, (number + 1) << 24)

    def mask_of_scores(self, p: float, site: int, queries: int, heads: int, offset: int = 0) -> MaskOf | None:
        """Masks of the attention weights, piece by piece; pieces differ by the number of their first group.

        The groups of all models are numbered through, from `offset`. A model's own pieces begin anew with it, so that
        they are those that it has alone.
        """
        if not self.dropout or p == 0.0:
            return None
        own, piece = self.batch // len(self.masks) * heads, piece_of(queries, self.length)

        def mask_of(start: int, end: int) -> Tensor:
            parts = []
            while start < end:
                model, first = divmod(start, own)
                begin = first // piece * piece
                stop = min(begin + piece, own)
                whole = self.mask_of(model, p, site, (stop - begin, queries, self.length), offset + begin)
                parts.append(whole[first - begin : end - model * own - begin])
                start = model * own + stop
            return parts[0] if len(parts) == 1 else torch.cat(parts)

        return mask_of
