"""What frozen speech encoders gave, on disk: each sound goes through each encoder once.

A file holds the frames of one sound and one encoder, and is named by the hash of the samples and the fingerprint of the
encoder, so a stale one is never read. Files are safetensors, written atomically, with the sha256 of their numbers; a
damaged one is noticed and made again. Not here: norms and connectors, which train (`encoders.JoinedEncoders.join`).

Example:
    >>> cache = FeaturesCache(Path("cache"), model.encoders)                        # doctest: +SKIP
    >>> heard, counts = cache.encode([sound.samples for sound in batch])            # doctest: +SKIP
    >>> counts                                                                      # doctest: +SKIP
    CacheCounts(found=7, made=1, damaged=0)
    >>> model(SpeechTextBatch(prompts, features=heard)).loss                        # doctest: +SKIP
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from tunelet.base.errors import InputError, Problem
from tunelet.base.files import digest, sha256_bytes, write_atomic
from tunelet.models.speech.encoders import JoinedEncoders
from tunelet.models.speech.protocol import SpeechFeatures

# To be raised when the content of a file changes its meaning.
_VERSION = 1
_DTYPES = {"float32": torch.float32, "float16": torch.float16}


@dataclass(frozen=True)
class CacheCounts:
    """Of the sounds of a batch: found on disk, made, and made because a file was damaged (these are among the made)."""

    found: int
    made: int
    damaged: int


class FeaturesCache:
    """A folder of frames.

    Args:
        folder: made when something is first written.
        encoders: frozen; changing their weights afterwards is not noticed.
        dtype: on disk. "float16" takes half the place (7.7 MB are 3.8 MB for 30 s of Whisper large), and is not exact.

    Raises:
        InputError: an encoder trains, so what it gives cannot be kept.
    """

    def __init__(
        self, folder: Path, encoders: JoinedEncoders, *, dtype: Literal["float32", "float16"] = "float32"
    ) -> None:
        if encoders.train_encoders:
            hint = "freeze the encoders, or train without a cache"
            raise InputError(Problem("a speech encoder trains: its outputs change and cannot be kept", hint=hint))
        self.folder, self._encoders, self._dtype = folder, encoders, _DTYPES[dtype]
        self._keys = [digest([_VERSION, dtype, mark]) for mark in encoders.encoder_fingerprints()]

    def paths(self, samples: NDArray[np.float32]) -> tuple[Path, ...]:
        """The files of a sound, one for each encoder, whether they exist or not."""
        sound = sha256_bytes(np.ascontiguousarray(samples, dtype="<f4").tobytes())
        return tuple(self.folder / f"features-{digest([key, sound])[:32]}.safetensors" for key in self._keys)

    def encode(self, clips: Sequence[NDArray[np.float32]]) -> tuple[tuple[SpeechFeatures, ...], CacheCounts]:
        """What the encoders give for clips (T_i,), as `JoinedEncoders.encode` does, and where it came from.

        Raises:
            DataError: a sound that is not on disk cannot be heard.
        """
        paths = [self.paths(clip) for clip in clips]
        kept = [[read_frames(path) for path in row] for row in paths]
        missing = [row for row, frames in enumerate(kept) if any(part is None for part in frames)]
        damaged = sum(any(p.is_file() and f is None for p, f in zip(paths[r], kept[r], strict=True)) for r in missing)
        if missing:
            for row, parts in zip(missing, self._made([clips[row] for row in missing]), strict=True):
                # a sound gives the same whether it was read or made: both went through the type on disk
                for place, (path, part) in enumerate(zip(paths[row], parts, strict=True)):
                    kept[row][place] = part.to(self._dtype)
                    write_frames(path, part.to(self._dtype))
        heard = []
        for place, encoder in enumerate(self._encoders.encoders):
            rows = [part.float() for part in (frames[place] for frames in kept) if part is not None]
            lengths = torch.tensor([len(part) for part in rows])
            padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            rate = float(getattr(encoder, "frames_per_second", 0.0))
            heard.append(SpeechFeatures(padded.to(self._device), lengths.to(self._device), rate))
        return tuple(heard), CacheCounts(len(clips) - len(missing), len(missing), damaged)

    @property
    def _device(self) -> torch.device:
        return next(self._encoders.parameters()).device

    def _made(self, clips: Sequence[NDArray[np.float32]]) -> list[list[Tensor]]:
        lengths = torch.tensor([len(clip) for clip in clips])
        waveforms = torch.zeros(len(clips), int(lengths.max()))
        for row, clip in enumerate(clips):
            waveforms[row, : len(clip)] = torch.from_numpy(np.ascontiguousarray(clip, dtype=np.float32))
        self._encoders.train(self._encoders.training)  # frozen encoders are in evaluation mode now
        with torch.no_grad():
            heard = self._encoders.encode(waveforms.to(self._device), lengths.to(self._device))
        return [[part.features[row, : int(part.lengths[row])].cpu() for part in heard] for row in range(len(clips))]


def read_frames(path: Path) -> Tensor | None:
    """The frames; None if there is no such file, or it is damaged."""
    try:
        data = path.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        frames = load(data)["frames"]
        said = header["__metadata__"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
    return frames if said == _sha256(frames) and frames.ndim == 2 and len(frames) else None


def write_frames(path: Path, frames: Tensor) -> None:
    """Keep frames; where the folder cannot be written the work goes on without."""
    try:
        write_atomic(path, save({"frames": frames.contiguous()}, metadata={"sha256": _sha256(frames)}))
    except OSError:
        return


def _sha256(frames: Tensor) -> str:
    return sha256_bytes(frames.contiguous().numpy().tobytes())
