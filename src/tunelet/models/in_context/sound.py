"""The sound of an example as samples: the whole file, or what the task's table says of it. Not here: decoding.

Example:
    >>> read_sound(query).shape             # doctest: +SKIP
    (51200,)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tunelet.base.errors import DataError, Problem
from tunelet.data.audio import RATE, read_audio
from tunelet.data.understanding.task import UnderstandingExample

Samples = NDArray[np.float32]
#: Seconds by which a table may be wrong about the end of a file.
_TOLERANCE = 0.05


def read_sound(example: UnderstandingExample) -> Samples:
    """(T,) samples of 16 kHz mono sound.

    Raises:
        DataError: the example has no sound, it cannot be read, or its stretch lies outside of the file.
    """
    if example.audio is None:
        hint = "ask with text, or give the task file `audio` for this split"
        raise DataError(Problem("has no sound, and the prompt wants it", f"example {example.id!r}", hint=hint))
    samples = read_audio(example.audio).samples
    if example.seconds is None:
        return samples
    start, end = example.seconds
    length = len(samples) / RATE
    if not 0 <= start < end <= length + _TOLERANCE or round(start * RATE) >= len(samples):
        what = f"example {example.id!r} lies at {start:g} to {end:g} seconds, the file has {length:.2f}"
        raise DataError(Problem(what, example.audio, field="start, end"))
    return samples[round(start * RATE) : round(end * RATE)]


def padded(clips: Sequence[Samples], shortest: float = 0.0) -> list[Samples]:
    """Clips of at least so many seconds: shorter ones end in silence."""
    least = round(shortest * RATE)
    return [np.pad(clip, (0, max(0, least - len(clip)))) for clip in clips]


def waveforms(clips: Sequence[Samples]) -> tuple[Tensor, Tensor]:
    """(B, T) samples and (B,) int64 lengths, as speech encoders take them."""
    lengths = [len(clip) for clip in clips]
    found = torch.zeros(len(clips), max(lengths, default=0))
    for row, clip in enumerate(clips):
        found[row, : len(clip)] = torch.from_numpy(np.ascontiguousarray(clip, dtype=np.float32))
    return found, torch.tensor(lengths, dtype=torch.int64)
