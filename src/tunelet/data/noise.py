"""Noise for sound: white, or pink (its power falls with the frequency), at a ratio to the sound's own power.

Example:
    >>> quiet = np.sin(np.arange(16_000) / 9).astype(np.float32)
    >>> noisy = with_noise(quiet, "pink", 20.0, np.random.default_rng(1))
    >>> round(10 * np.log10(np.mean(quiet**2) / np.mean((noisy - quiet) ** 2)))
    20
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

NoiseKind = Literal["white", "pink"]
Samples = NDArray[np.float32]


def with_noise(samples: Samples, kind: NoiseKind, snr_db: float, stream: np.random.Generator) -> Samples:
    """`samples` with noise `snr_db` decibels below their mean power; silence stays silent.

    Args:
        samples: (T,) mono.
        kind: of the noise.
        snr_db: ratio of the powers.
        stream: draws it.
    """
    power = float(np.mean(np.square(samples, dtype=np.float64))) / 10 ** (snr_db / 10)
    return (samples + np.float32(power**0.5) * noise(kind, len(samples), stream)).astype(np.float32)


def noise(kind: NoiseKind, size: int, stream: np.random.Generator) -> Samples:
    """(size,) numbers of mean power 1."""
    white = stream.standard_normal(size, dtype=np.float32)
    if kind == "pink":
        spectrum = np.fft.rfft(white)
        spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
        white = np.fft.irfft(spectrum, size).astype(np.float32)
    return white / np.float32(max(float(np.sqrt(np.mean(np.square(white, dtype=np.float64)))), 1e-12))
