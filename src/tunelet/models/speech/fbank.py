"""Log mel energies by Kaldi's conventions (`compute-fbank-feats`), for batches, without torchaudio.

Frames of 25 ms every 10 ms, only whole ones; of each its mean is taken off, then pre-emphasis 0.97 and the Povey window
(Hann to the power 0.85); the power spectrum of 512 points goes through triangles that are even in mel = 1127 ln(1 +
f / 700), from 20 Hz to half the rate, Nyquist's bin left out; logarithm with a floor of 1.19e-7. No dither. Not here:
scaling and norms, which belong to who uses it.

Example:
    >>> KaldiFbank(80)(torch.zeros(2, 16_000)).shape
    torch.Size([2, 98, 80])
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tunelet.models.speech.protocol import RATE

#: Samples of a frame, and from one to the next.
FRAME, HOP = RATE * 25 // 1000, RATE * 10 // 1000
_FFT = 512
_EMPHASIS, _FLOOR = 0.97, 1.1920928955078125e-07
#: Hertz where the lowest triangle begins.
LOWEST = 20.0


class KaldiFbank(nn.Module):
    """(B, T) samples to (B, F, bins) log mel energies, F = 1 + (T - 400) // 160. Its constants are no part of a state.

    Args:
        bins: triangles.
    """

    window: Tensor
    triangles: Tensor

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(FRAME, periodic=False).pow(0.85), persistent=False)
        self.register_buffer("triangles", _triangles(bins), persistent=False)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Log mel energies; T must be 400 at least."""
        frames = waveforms.float().unfold(1, FRAME, HOP)  # (B, F, 400)
        frames = frames - frames.mean(dim=-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        shaped = (frames - _EMPHASIS * before) * self.window
        spectrum = torch.fft.rfft(functional.pad(shaped, (0, _FFT - FRAME)))[..., :-1]
        power = spectrum.real.square() + spectrum.imag.square()  # no root on the way, as in abs().square()
        energies: Tensor = (power @ self.triangles).clamp(min=_FLOOR).log()
        return energies


def frames_of(samples: Tensor) -> Tensor:
    """Whole frames of clips with so many samples; 0 for those shorter than a frame."""
    return (torch.div(samples - FRAME, HOP, rounding_mode="floor") + 1).clamp(min=0)


def mel(hertz: Tensor) -> Tensor:
    """Kaldi's mel scale."""
    return 1127.0 * torch.log1p(hertz / 700.0)


def _triangles(bins: int) -> Tensor:
    """(256, bins) weights of the spectrum's bins in each triangle."""
    low = 1127.0 * math.log1p(LOWEST / 700.0)
    high = 1127.0 * math.log1p(RATE / 2 / 700.0)
    corners = low + (high - low) / (bins + 1) * torch.arange(bins + 2, dtype=torch.float64)
    place = mel(torch.arange(_FFT // 2, dtype=torch.float64) * RATE / _FFT)[:, None]
    rising = (place - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - place) / (corners[2:] - corners[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()
