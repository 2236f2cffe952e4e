"""Random streams named by purpose and derived from one seed.

A run has one seed. Everything that draws (head initialisation, order of the examples, dropout, a bootstrap) has a
stream of its own, so adding an evaluation or a plot changes no other draw. Not here: global generators.

Example:
    >>> derive_seed(1, "order", 0) == derive_seed(1, "order", 0)
    True
    >>> derive_seed(1, "order", 0) == derive_seed(1, "order", 1)
    False
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A seed of 63 bits for one purpose: the head of sha256 over the seed and the names."""
    text = "\x1f".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_stream(seed: int, *purpose: str | int) -> np.random.Generator:
    """A numpy generator for one purpose."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, *purpose)))


def torch_stream(seed: int, *purpose: str | int) -> torch.Generator:
    """A torch generator on the CPU for one purpose."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, *purpose))
