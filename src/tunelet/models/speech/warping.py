"""Other vocal tracts while training: log mel energies with their frequencies stretched (Jaitly and Hinton 2013,
"Vocal Tract Length Perturbation improves speech recognition", eq. 1).

What stands at f hertz comes from g(f): a f up to a limit near 4,800 Hz, and from there a straight line to half the
sampling rate, which stays. Not here: the draw of a.

Example:
    >>> energies = torch.arange(8.0).expand(1, 3, 8)
    >>> bool((warped(energies, torch.tensor([1.1]))[0, 0, 1:5] > energies[0, 0, 1:5]).all())
    True
"""

from __future__ import annotations

import torch
from torch import Tensor

from tunelet.models.speech.fbank import LOWEST, mel
from tunelet.models.speech.protocol import RATE

_LIMIT, _HALF = 4800.0, RATE / 2


def warped(energies: Tensor, factors: Tensor) -> Tensor:
    """Log mel energies (B, F, bins) with the frequencies of each clip stretched by its factor a, (B,)."""
    bins = energies.shape[2]
    low, high = mel(torch.tensor([LOWEST, _HALF], dtype=torch.float64)).tolist()
    width = (high - low) / (bins + 1)
    centres = low + width * torch.arange(1, bins + 1, dtype=torch.float64)
    hertz = 700.0 * torch.expm1(centres / 1127.0)
    a = factors.to("cpu", torch.float64)[:, None]
    limit = _LIMIT * a.clamp(max=1.0)
    above = _HALF - (_HALF - limit) / (_HALF - limit / a) * (_HALF - hertz)
    source = torch.where(hertz <= limit / a, a * hertz, above)
    place = ((mel(source) - low) / width - 1.0).clamp(0, bins - 1).to(energies.device)
    left = place.floor().long().clamp(max=max(0, bins - 2))
    right = (left + 1).clamp(max=bins - 1)
    share = (place - left).to(energies.dtype)[:, None]
    shape = (-1, energies.shape[1], -1)
    here, there = (energies.gather(2, index[:, None].expand(shape)) for index in (left, right))
    found: Tensor = here + share * (there - here)
    return found
