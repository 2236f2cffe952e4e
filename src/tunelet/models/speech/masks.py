"""Masks over log mel energies while training (SpecAugment, Park et al. 2019): stretches of time, bands of bins.

What is masked becomes 0, the mean of a clip's energies. Draws are numpy's, so that they can be a function of the clips;
the number of bins is only known here. Not here: noise (`data.noise`).

Example:
    >>> bands = torch.tensor([[[2, 5]]])                    # two bins wide; the second number draws where
    >>> masked(torch.ones(1, 3, 8), torch.tensor([[[1, 2]]]), bands)[0].sum(1).tolist()
    [6.0, 0.0, 6.0]
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def stretches(widths: NDArray[np.int64], room: NDArray[np.int64], stream: np.random.Generator) -> Tensor:
    """(B, n, 2) first frame and end of stretches of 0 to `widths` (B, n) frames, anywhere in `room` (B, 1)."""
    wide = stream.integers(0, widths + 1) if widths.size else widths
    start = (stream.random(wide.shape) * np.maximum(1, room - wide)).astype(np.int64)
    return torch.from_numpy(np.stack([start, start + wide], -1))


def bands(clips: int, count: int, width: int, stream: np.random.Generator) -> Tensor:
    """(B, n, 2) width of bands of 0 to `width` bins, and a large number that draws their place."""
    wide = stream.integers(0, width + 1, (clips, count))
    return torch.from_numpy(np.stack([wide, stream.integers(0, 1 << 30, (clips, count))], -1))


def masked(energies: Tensor, times: Tensor, mels: Tensor) -> Tensor:
    """Log mel energies (B, F, bins) with `stretches` and `bands` at 0."""
    bins = energies.shape[2]
    starts = mels[..., 1] % (bins - mels[..., 0]).clamp(min=1)
    spans = torch.stack([starts, starts + mels[..., 0]], -1)
    covered = _inside(times, energies.shape[1])[:, :, None] | _inside(spans, bins)[:, None, :]
    return energies.masked_fill(covered, 0.0)


def _inside(spans: Tensor, size: int) -> Tensor:
    """(B, size) True where a span covers a place."""
    place = torch.arange(size, device=spans.device)
    return ((place >= spans[..., :1]) & (place < spans[..., 1:])).any(1)
