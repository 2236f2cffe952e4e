"""The parts of one post-norm encoder layer, and what a forward pass has in common over its layers.

Not here: what is computed with them (`layer_function`), finding them in a model (`engine`).

Example:
    >>> step = Pass(batch=16, length=24, bias=None, masks={})       # doctest: +SKIP
    >>> layer.mask_of_scores(step, queries=24) is None              # doctest: +SKIP
    True
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from tunelet.tuning.fast.attention import MaskOf
from tunelet.tuning.fast.masks import Masks
from tunelet.tuning.fast.sites import Copy, Site

#: sites of dropout in a layer: the updates' inputs at the four products, the two residuals, the scores
QKV_INPUT, OUT_INPUT, RESIDUAL_1, UP_INPUT, DOWN_INPUT, SCORES, RESIDUAL_2 = range(7)
_SITES = 16


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
class Pass:
    """What one forward pass has in common over its layers.

    Attributes:
        batch, length: B and L; activations are (B L, width).
        bias: (B heads, 1, L) for the scores, or None without padding.
        masks: dropout masks by probability; empty where dropout is off.
    """

    batch: int
    length: int
    bias: Tensor | None
    masks: Mapping[float, Masks]

    def mask(self, p: float, site: int, shape: tuple[int, ...], part: int = 0) -> Tensor | None:
        """The mask of one part of a site of dropout, or None where there is none."""
        if not self.masks or p == 0.0:
            return None
        return self.masks[p].slice(site, prod(shape), part).view(shape)


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
    query: Site
    key_value: Site | None
    out: Site
    up: Site
    down: Site
    norm_attention: Norm
    norm_output: Norm
    heads: int
    attention_dropout: float
    hidden_dropout: tuple[float, float]

    @property
    def sites(self) -> list[Site]:
        """All products, in the order of their parameters."""
        return [site for site in (self.query, self.key_value, self.out, self.up, self.down) if site is not None]

    @property
    def parts(self) -> list[Site | Norm]:
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

    def masks(self, site: Site, place: int, step: Pass, rows: int, first: int = 0) -> list[Tensor]:
        """Masks of the updates' input at a product, numbered from `first`."""
        drawn = (
            step.mask(site.dropout, self.number(place), (rows, site.inputs), first + part) for part in range(site.masks)
        )
        return [mask for mask in drawn if mask is not None]

    def masks_of_keys(self, step: Pass, rows: int) -> list[Tensor]:
        """Masks of keys and values where queries are a product of their own: the queries' mask if masks are shared."""
        if self.key_value is None:
            return []
        return self.masks(self.key_value, QKV_INPUT, step, rows, 0 if self.key_value.shared_masks else 1)

    def mask_of_residual(self, second: bool, step: Pass, shape: tuple[int, ...]) -> Tensor | None:
        """Mask of what is added to the residual."""
        return step.mask(self.hidden_dropout[second], self.number(RESIDUAL_2 if second else RESIDUAL_1), shape)

    def mask_of_scores(self, step: Pass, queries: int) -> MaskOf | None:
        """Masks of the attention weights, piece by piece; pieces differ by the number of their first group."""
        p = self.attention_dropout
        if not step.masks or p == 0.0:
            return None
        masks, number, length = step.masks[p], self.number(SCORES), step.length

        def mask_of(start: int, end: int) -> Tensor:
            shape = (end - start, queries, length)
            return masks.slice(number, prod(shape), start).view(shape)

        return mask_of
