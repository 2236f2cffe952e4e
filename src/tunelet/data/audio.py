"""Sound files to samples: WAV, FLAC or Ogg (Opus, Vorbis) of any rate and number of channels, as 16 kHz mono.

Channels are averaged, then soxr resamples. A file that is broken off, empty, no sound, or longer than allowed is an
error that names it; clipped sound is a finding. Not here: features, playing, recording.

Example:
    >>> sound = read_audio(Path("kitchen.opus"))                # doctest: +SKIP
    >>> sound.rate, sound.seconds, sound.findings()             # doctest: +SKIP
    (16000, 3.2, [])
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunelet.base.errors import DataError, Problem
from tunelet.base.files import sha256_bytes
from tunelet.data.findings import Finding

#: Samples per second of everything that is read.
RATE = 16_000
#: Seconds above which a file is refused, unless another limit is given.
LIMIT = 1800.0
#: Endings of files that are taken for sound.
SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus")
#: Share of samples at full scale from which clipping is told.
CLIPPED = 0.001
#: A data chunk said to be so long comes from a program that did not know the length when it began to write.
_UNKNOWN_LENGTH = 0x7FFF_0000


@dataclass(frozen=True, eq=False)
class Audio:
    """Mono sound.

    Attributes:
        samples: (frames,) float32 in [-1, 1].
        rate: frames per second.
        name: of the file, for messages.
        sha256: hex, over the bytes of the file.
        source_rate: frames per second in the file.
        channels: in the file.
        clipped: samples of the file, over all channels, that stand at full scale with their neighbour.
        source_samples: samples of the file, over all channels.
    """

    samples: NDArray[np.float32] = field(repr=False)
    rate: int
    name: str
    sha256: str
    source_rate: int
    channels: int
    clipped: int = 0
    source_samples: int = 0

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return len(self.samples) / self.rate

    def pcm16(self) -> bytes:
        """The samples as 16-bit integers, little endian."""
        return np.round(self.samples * 32767).astype("<i2").tobytes()

    def findings(self) -> list[Finding]:
        """What a person should hear about the recording."""
        found = []
        if self.clipped > CLIPPED * self.source_samples:
            share = 100 * self.clipped / self.source_samples
            found.append(
                Finding("warning", f"{self.name}: {share:.1f} % of the samples are clipped; it was recorded too loud")
            )
        if not np.any(self.samples):
            found.append(Finding("warning", f"{self.name}: nothing but silence"))
        return found


def read_audio(path: Path, *, max_seconds: float = LIMIT) -> Audio:
    """Read a sound file.

    Args:
        path: its name does not matter, its content says what it is.
        max_seconds: longer files are refused before they are decoded.

    Raises:
        DataError: the file cannot be read, is no sound, breaks off, is empty, too long, or holds numbers that are not
            finite.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(Problem(f"cannot be read: {error.strerror or error}", path)) from None
    return decode_audio(data, str(path), max_seconds=max_seconds)


def decode_audio(data: bytes, name: str, *, max_seconds: float = LIMIT) -> Audio:
    """The sound in the bytes of a file; see `read_audio`."""
    import soundfile
    import soxr

    _refuse_broken_off(data, name)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate, channels, expected = int(file.samplerate), int(file.channels), int(file.frames)
            if expected > max_seconds * rate:
                raise DataError(
                    Problem(
                        f"{expected / rate:.1f} seconds of sound, expected at most {max_seconds:g}",
                        name,
                        hint="cut it into utterances",
                    )
                )
            frames: NDArray[np.float32] = file.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        hint = f"expected one of {', '.join(SUFFIXES)} with sound in it"
        raise DataError(Problem(f"not a sound file that can be read: {_reason(error)}", name, hint=hint)) from None
    if not len(frames):
        raise DataError(Problem("holds no sound: 0 samples", name, hint="was the recording ever started?"))
    if len(frames) < expected:
        raise DataError(_broken_off(name, f"{len(frames)} of {expected} samples are there"))
    wrong = int(np.count_nonzero(~np.isfinite(frames)))
    if wrong:
        raise DataError(Problem(f"{wrong} samples are not finite numbers (NaN or infinite)", name))
    mono = frames.mean(axis=1)
    if rate != RATE:
        mono = soxr.resample(mono, rate, RATE)
    if not len(mono):
        raise DataError(Problem(f"holds too little sound: {len(frames)} samples", name))
    samples = np.clip(mono, -1.0, 1.0).astype(np.float32)
    return Audio(samples, RATE, name, sha256_bytes(data), rate, channels, _clipped(frames), frames.size)


def _reason(error: Any) -> str:
    text = str(getattr(error, "error_string", error)).strip().rstrip(".")
    return text[:1].lower() + text[1:] if text else "unknown format"


def _clipped(frames: NDArray[np.float32]) -> int:
    """Samples at full scale beside another one with the same sign: a single peak may touch it."""
    limit = np.float32(32766 / 32768)
    count = 0
    for full in (frames >= limit, frames <= -limit):
        pairs = full[1:] & full[:-1]
        beside = np.zeros_like(full)
        beside[1:] |= pairs
        beside[:-1] |= pairs
        count += int(np.count_nonzero(beside))
    return count


def _refuse_broken_off(data: bytes, name: str) -> None:
    """Raise where the container says that there should be more than there is: libsndfile reads such files silently."""
    if not data:
        raise DataError(Problem("the file is empty (0 bytes)", name, hint="copy or record it again"))
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        place = 12
        while place + 8 <= len(data):
            size = int.from_bytes(data[place + 4 : place + 8], "little")
            there = len(data) - place - 8
            if data[place : place + 4] == b"data":
                if there < size < _UNKNOWN_LENGTH:
                    raise DataError(_broken_off(name, f"{there} of {size} bytes of sound are there"))
                return
            place += 8 + size + size % 2
        raise DataError(_broken_off(name, "there is no sound after its header"))
    if data[:4] == b"OggS":
        last = data.rfind(b"OggS")
        page = data[last:]
        whole = len(page) >= 27 and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
        if not whole or not page[5] & 4:  # bit 2 of a page's flags: the last of its stream
            raise DataError(_broken_off(name, "the last page of the Ogg stream is missing"))


def _broken_off(name: str, what: str) -> Problem:
    return Problem(f"the sound breaks off: {what}", name, hint="copy it again, or record it again")
