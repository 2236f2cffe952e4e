"""Dropout masks that are neither drawn nor kept: slices of a pool of random numbers, found again by their place.

Drawing a Bernoulli number for every activation took more than a third of a training step on a CPU, and keeping the
masks for the backward pass is what makes LoRA need more memory than full fine-tuning. Here a pool of scaled masks is
drawn once in a while; a site of dropout multiplies with a slice of it. The slice's place is a hash of the forward
pass's own random number and the site's number, so the backward pass takes the same slice again: nothing is stored.

The slices of one pass may overlap, each at a place of its own. The pool is drawn anew on average every `RENEW` passes.
Not here: counting passes; a pass draws its number from torch's generator, whose state every checkpoint holds.

Example:
    >>> pool = MaskPool(0.5, torch.float32, torch.device("cpu"), seed=1, size=4096)
    >>> first = pool.slice(pass_number=7, site=0, count=64)
    >>> torch.equal(first, pool.slice(pass_number=7, site=0, count=64))
    True
"""

from __future__ import annotations

import torch
from torch import Tensor

from tunelet.base.streams import derive_seed

#: passes between two drawings of the pool, on average
RENEW = 64
#: slices begin at multiples of this many elements, so that they are aligned for vector instructions
STRIDE = 32
_MASK64 = (1 << 64) - 1


class MaskPool:
    """Scaled dropout masks of one probability.

    A kept activation is multiplied with 1 / (1 - p), rounded to `dtype`; the probability is moved by that rounding (0.1
    becomes 0.0986 in bf16), so that the mean of an activation stays what it was.

    Args:
        p: probability of an activation to be dropped, in (0, 1).
        dtype: of the activations.
        device: where they are.
        seed: of the first pool.
        size: numbers in the pool; it grows when a larger slice is asked for.
    """

    def __init__(self, p: float, dtype: torch.dtype, device: torch.device, seed: int, *, size: int = 1 << 22) -> None:
        self.p = p
        self.dtype = dtype
        self.device = device
        self.seed = seed
        self.size = size
        self.numbers: Tensor | None = None

    def begin(self, pass_number: int) -> None:
        """Renew the pool if this pass is one of those that do."""
        if pass_number % RENEW == 0:
            self.restart(pass_number)

    def restart(self, seed: int) -> None:
        """Go on with the pool of `seed`."""
        self.seed = seed
        self.numbers = None

    def slice(self, pass_number: int, site: int, count: int) -> Tensor:
        """The masks of one site in one pass: (count,), each 0 or the scale of a kept activation."""
        if count * 2 > self.size:
            self.size = 1 << (count * 2 - 1).bit_length()
            self.numbers = None
        if self.numbers is None:
            self.numbers = self._drawn()
        places = (self.size - count) // STRIDE + 1
        start = _mixed(pass_number ^ (site * 0x9E3779B97F4A7C15 & _MASK64)) % places * STRIDE
        return self.numbers[start : start + count]

    def _drawn(self) -> Tensor:
        scale = float(torch.tensor(1.0 / (1.0 - self.p)).to(self.dtype))
        generator = torch.Generator(self.device).manual_seed(derive_seed(self.seed, "masks", self.size))
        keep = torch.empty(self.size, device=self.device).bernoulli_(1.0 / scale, generator=generator)
        return keep.mul_(scale).to(self.dtype)


def _mixed(value: int) -> int:
    """splitmix64's finaliser (Steele, Lea and Flood 2014): neighbouring numbers give unrelated ones."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK64
    return value ^ (value >> 31)
