"""Dropout masks that are neither drawn nor kept: slices of a pool of random numbers, found again by their place.

Drawing a Bernoulli number for every activation took more than a third of a training step on a CPU, and keeping the
masks for the backward pass is what makes LoRA need more memory than full fine-tuning. Here a pool of scaled masks is
drawn once in a while; a site of dropout multiplies with a slice of it. The slice's place is a hash of the forward
pass's own random number and the site's number, so the backward pass takes the same slice again: nothing is stored.

A slice depends on the pool's seed, the pass, the site and its own length, and on nothing that happened before: a run
that goes on from a checkpoint takes the same ones. Slices of one pass may overlap, each at a place of its own. The pool
is drawn anew on average every `RENEW` passes; a pass that is still to run backward keeps the numbers it began with.
A pass draws its number from torch's generator, whose state every checkpoint holds: the fast path does so itself, and
`PassDropout` does for models of our own. Not here: deciding which activations are dropped.

Example:
    >>> masks = MaskPool(0.5, torch.float32, torch.device("cpu"), seed=1, size=4096).begin(7)
    >>> torch.equal(masks.slice(site=0, count=64), masks.slice(site=0, count=64))
    True
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tunelet.base.streams import derive_seed

#: passes between two drawings of the pool, on average
RENEW = 64
#: slices begin at multiples of this many elements, so that they are aligned for vector instructions
STRIDE = 32
#: numbers in a pool; half of it is the longest slice that is not put together from several
SIZE = 1 << 22
_MASK64 = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Masks:
    """The masks of one forward pass and its backward pass.

    Attributes:
        numbers: the pool, each 0 or the scale of a kept activation.
        pass_number: of this pass.
    """

    numbers: Tensor
    pass_number: int

    def slice(self, site: int, count: int, part: int = 0) -> Tensor:
        """The masks (count,) of one part of a site of dropout."""
        longest = len(self.numbers) // 2
        if count > longest:
            return torch.cat(
                [
                    self._slice(site, min(longest, count - start), part, chunk + 1)
                    for chunk, start in enumerate(range(0, count, longest))
                ]
            )
        return self._slice(site, count, part, 0)

    def _slice(self, site: int, count: int, part: int, chunk: int) -> Tensor:
        places = (len(self.numbers) - count) // STRIDE + 1
        of_site = _mixed(self.pass_number ^ (site * _GOLDEN & _MASK64))
        start = _mixed(of_site ^ (part << 20) ^ chunk) % places * STRIDE
        return self.numbers[start : start + count]


class MaskPool:
    """Scaled dropout masks of one probability.

    A kept activation is multiplied with 1 / (1 - p), rounded to `dtype`; the probability is moved by that rounding (0.1
    becomes 0.0986 in bf16), so that the mean of an activation stays what it was.

    Args:
        p: probability of an activation to be dropped, in (0, 1).
        dtype: of the activations.
        device: where they are.
        seed: of the first pool.
        size: numbers in the pool.

    Attributes:
        seed: of the pool in use; with the passes' numbers all that masks depend on.
        numbers: the pool, once a pass has begun.
    """

    def __init__(self, p: float, dtype: torch.dtype, device: torch.device, seed: int, *, size: int = SIZE) -> None:
        self.p = p
        self.dtype = dtype
        self.device = device
        self.seed = seed
        self.size = size
        self.numbers: Tensor | None = None

    def begin(self, pass_number: int) -> Masks:
        """The masks of a pass; the pool is renewed if this pass is one of those that do."""
        if pass_number % RENEW == 0:
            self.restart(pass_number)
        if self.numbers is None:
            self.numbers = self._drawn()
        return Masks(self.numbers, pass_number)

    def restart(self, seed: int) -> None:
        """Go on with the pool of `seed`."""
        self.seed = seed
        self.numbers = None

    @torch.inference_mode(False)
    @torch.no_grad()
    def _drawn(self) -> Tensor:
        scale = float(torch.tensor(1.0 / (1.0 - self.p)).to(self.dtype))
        generator = torch.Generator(self.device).manual_seed(derive_seed(self.seed, "masks", self.size))
        keep = torch.empty(self.size, device=self.device).bernoulli_(1.0 / scale, generator=generator)
        return keep.mul_(scale).to(self.dtype)


def drop(x: Tensor, masks: Masks, site: int) -> Tensor:
    """Dropout as one differentiable step that keeps nothing."""
    dropped: Tensor = _Drop.apply(x, masks, site)  # type: ignore[no-untyped-call]
    return dropped


class PassDropout:
    """Dropout of one forward pass of a model, its sites numbered in the order of the calls.

    On a CPU it multiplies with slices of a pool that is drawn once in a process, always the same one; the pass's number
    comes from torch's generator. Elsewhere drawing is cheap, and it is torch's own dropout.

    Args:
        p: probability of an activation to be dropped, in [0, 1).
        training: without it nothing is dropped or drawn.
        device: of the activations.

    Attributes:
        p: the probability, 0 where nothing is dropped.
        pooled: masks come from the pool.
    """

    def __init__(self, p: float, training: bool, device: torch.device) -> None:
        self.p = p if training else 0.0
        self.pooled = bool(self.p) and device.type == "cpu"
        self._number = int(torch.randint(1 << 62, ())) if self.pooled else 0
        self._site = 0

    def __call__(self, x: Tensor) -> Tensor:
        """`x` with activations dropped and the others scaled."""
        if not self.pooled:
            return nn.functional.dropout(x, self.p) if self.p else x
        self._site += 1
        return drop(x, Masks(_standing_pool(self.p, x.dtype), self._number), self._site)


@functools.cache
def _standing_pool(p: float, dtype: torch.dtype) -> Tensor:
    return MaskPool(p, dtype, torch.device("cpu"), seed=0)._drawn()


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, masks: Masks, site: int) -> Tensor:
        ctx.masks, ctx.site = masks, site
        return x * masks.slice(site, x.numel()).view(x.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        return gradient * ctx.masks.slice(ctx.site, gradient.numel()).view(gradient.shape), None, None


def _mixed(value: int) -> int:
    """splitmix64's finaliser (Steele, Lea and Flood 2014): neighbouring numbers give unrelated ones."""
    value = (value + _GOLDEN) & _MASK64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK64
    return value ^ (value >> 31)
