"""The parts of one post-norm encoder layer.

Not here: what is computed with them (`layer_function`), finding them in a model (`engine`).

Example:
    >>> step = Pass(batch=16, length=24, bias=None, masks=({},))    # doctest: +SKIP
    >>> layer.mask_of_scores(step, queries=24) is None              # doctest: +SKIP
    True
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tunelet.tuning.fast.attention import MaskOf
from tunelet.tuning.fast.group_sites import GroupSite
from tunelet.tuning.fast.passes import Pass
from tunelet.tuning.fast.segments import Part
from tunelet.tuning.fast.sites import Copy, Site

#: sites of dropout in a layer: the updates' inputs at the four products, the two residuals, the scores
QKV_INPUT, OUT_INPUT, RESIDUAL_1, UP_INPUT, DOWN_INPUT, SCORES, RESIDUAL_2 = range(7)
_SITES = 16


#: products of one model, or of several that share the base
AnySite = Site | GroupSite


class Norm:
    """A layer norm: y = (x - mean) rstd weight + bias (Ba et al. 2016), with copies of weight and bias in `dtype`."""

    def __init__(self, module: nn.LayerNorm, dtype: torch.dtype) -> None:
        self.module = module
        self.shape = list(module.normalized_shape)
        self.weight = module.weight.detach().to(dtype, copy=True)
        self.bias = module.bias.detach().to(dtype, copy=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Output, mean and reciprocal deviation of each row of x (T, N)."""
        return torch.native_layer_norm(x, self.shape, self.weight, self.bias, self.module.eps)

    def backward(self, dy: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Gradient of x, and those of `parameters`."""
        trains = [self.module.weight.requires_grad, self.module.bias.requires_grad]
        dx, *own = torch.ops.aten.native_layer_norm_backward(
            dy, x, self.shape, mean, rstd, self.weight, self.bias, [True, *trains]
        )
        kind = self.module.weight.dtype
        return dx, [gradient.to(kind) for gradient, wanted in zip(own, trains, strict=True) if wanted]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Those of weight and bias that train."""
        return [p for p in (self.module.weight, self.module.bias) if p.requires_grad]

    def copies(self) -> Iterator[Copy]:
        """What the optimiser changes, as `Site.copies`."""
        for place, parameter in ((self.weight, self.module.weight), (self.bias, self.module.bias)):
            if parameter.requires_grad:
                yield place, parameter, 1.0

    def tensors(self) -> list[Tensor]:
        """What it holds beside the model's own tensors."""
        return [self.weight, self.bias]


@dataclass(frozen=True)
class Layer:
    """The parts of one layer.

    Attributes:
        index: its number, from 0; sites of dropout are numbered by it.
        query, key_value: for a layer that gives the first token only; else `query` holds all three.
        out, up, down: the products after attention, into and out of the feed-forward part.
        norm_attention, norm_output: the two norms.
        heads: attention heads.
        attention_dropout: probability on the attention weights.
        hidden_dropout: probabilities on the two residuals.
    """

    index: int
    query: AnySite
    key_value: AnySite | None
    out: AnySite
    up: AnySite
    down: AnySite
    norm_attention: Norm
    norm_output: Norm
    heads: int
    attention_dropout: float
    hidden_dropout: tuple[float, float]

    @property
    def sites(self) -> list[AnySite]:
        """All products, in the order of their parameters."""
        return [site for site in (self.query, self.key_value, self.out, self.up, self.down) if site is not None]

    @property
    def parts(self) -> list[AnySite | Norm]:
        """Products and norms."""
        return [*self.sites, self.norm_attention, self.norm_output]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All that trains, in the order in which the backward pass returns gradients."""
        return [parameter for part in self.parts for parameter in part.parameters]

    @property
    def needs_input(self) -> bool:
        """Whether a gradient in it is a product with its input."""
        return self.query.needs_input or (self.key_value is not None and self.key_value.needs_input)

    def number(self, site: int) -> int:
        """Number of a site of dropout in the whole model."""
        return self.index * _SITES + site

    def masks(self, site: AnySite, place: int, step: Pass, rows: int, first: int = 0) -> list[Tensor]:
        """Masks of the updates' input at a product, numbered from `first`."""
        return site.draw(step, self.number(place), rows, first)

    def masks_of_keys(self, step: Pass, rows: int) -> list[Tensor]:
        """Masks of keys and values where queries are a product of their own: the queries' mask if masks are shared."""
        if self.key_value is None:
            return []
        return self.masks(self.key_value, QKV_INPUT, step, rows, 0 if self.key_value.shared_masks else 1)

    def mask_of_residual(self, second: bool, step: Pass, shape: tuple[int, ...]) -> Tensor | None:
        """Mask of what is added to the residual."""
        return step.mask(self.hidden_dropout[second], self.number(RESIDUAL_2 if second else RESIDUAL_1), shape)

    def mask_of_part(self, step: Pass, part: Part, number: int) -> MaskOf | None:
        """Masks of the attention weights of a part of the segments."""
        return step.mask_of_part(self.attention_dropout, self.number(SCORES), self.heads, part, number)

    def mask_of_scores(self, step: Pass, queries: int) -> MaskOf | None:
        """Masks of the attention weights, piece by piece; pieces differ by the number of their first group."""
        return step.mask_of_scores(self.attention_dropout, self.number(SCORES), queries, self.heads)
