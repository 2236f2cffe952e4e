"""Many short recordings in a few files, read by number: spoken by espeak-ng, or decoded from sound files.

A shard holds some hundred clips as 16-bit samples one after the other (safetensors, with the sha256 of the samples). It
is named by what is in it, so the same texts in the same manner are never spoken twice, and a damaged or half-written
one is made again. Reading is through a memory map: a corpus may be larger than the memory. Noise is not in it; who
trains adds it. Not here: which texts and voices (`systems.speech_encoder_data`), single files (`data.audio`).

Example:
    >>> clips = speak_clips(utterances, Path("cache"), workers=2)           # doctest: +SKIP
    >>> len(clips), clips.samples(0).dtype, clips.voices[0]                 # doctest: +SKIP
    (24000, dtype('float32'), 'en-us+m3')
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tunelet.base.errors import DataError, InputError, Problem
from tunelet.base.files import digest, sha256_bytes, sha256_file, write_atomic
from tunelet.data.audio import RATE, read_audio
from tunelet.data.noise import Samples
from tunelet.data.speaking import VERSION, Espeak, Manner, manner_facts
from tunelet.data.spoken import SpokenExample

#: clips of a shard
SHARD = 256
#: of full scale, as 16 bits hold it
_FULL = 32767


@dataclass(frozen=True)
class Utterance:
    """A text in its spoken form, and how it is said."""

    text: str
    manner: Manner


@dataclass(frozen=True)
class ClipsMade:
    """So many clips are there; `made` of them were not before."""

    done: int
    total: int
    made: int


Observer = Callable[[ClipsMade], None]


@dataclass(frozen=True, eq=False)
class Clips:
    """Recordings with what is said in them.

    Attributes:
        texts: of each.
        voices: or speakers, of each.
        lengths: (N,) samples.
        sha256: over the content of all.
    """

    texts: tuple[str, ...]
    voices: tuple[str, ...]
    lengths: NDArray[np.int64]
    sha256: str
    _files: tuple[Path, ...] = field(repr=False)
    _places: NDArray[np.int64] = field(repr=False)  # (N, 2): file, first sample in it
    _open: dict[int, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def seconds(self) -> float:
        """Of all clips together."""
        return float(self.lengths.sum()) / RATE

    def samples(self, index: int) -> Samples:
        """(T,) samples of a clip at 16 kHz."""
        file, start = (int(number) for number in self._places[index])
        if file not in self._open:
            shard: Any = safe_open(str(self._files[file]), framework="np")
            self._open[file] = shard.get_slice("samples")
        raw = self._open[file][start : start + int(self.lengths[index])]
        return np.asarray(raw, dtype=np.float32) / np.float32(_FULL)

    def only(self, rows: Sequence[int]) -> Clips:
        """These clips, in this order."""
        texts, voices = (tuple(all_of[row] for row in rows) for all_of in (self.texts, self.voices))
        chosen = np.asarray(rows, dtype=np.int64)
        sha256 = digest([self.sha256, chosen.tolist()])
        return Clips(texts, voices, self.lengths[chosen], sha256, self._files, self._places[chosen])


def joined(parts: Sequence[Clips]) -> Clips:
    """The clips of all parts, one after the other."""
    files = tuple(file for part in parts for file in part._files)
    shifts = np.cumsum([0, *(len(part._files) for part in parts)])
    places = [part._places + np.array([shift, 0]) for part, shift in zip(parts, shifts, strict=False)]
    return Clips(
        tuple(text for part in parts for text in part.texts),
        tuple(voice for part in parts for voice in part.voices),
        np.concatenate([part.lengths for part in parts]),
        digest([part.sha256 for part in parts]),
        files,
        np.concatenate(places),
    )


def speak_clips(
    utterances: Sequence[Utterance],
    folder: Path,
    *,
    workers: int = 2,
    espeak: Espeak | None = None,
    observer: Observer = lambda event: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Clips:
    """Speak each utterance, what is in `folder` already excepted.

    Args:
        folder: of the shards.
        workers: programs that speak at the same time.
        espeak: the program; None: the installed one. It is only looked for where something is missing.
        observer: told after each shard.
        interrupted: asked after each shard; True raises KeyboardInterrupt, and what is there stays.

    Raises:
        InputError: there is nothing to speak, espeak-ng is not installed or does not know a voice.
        DataError: a text cannot be spoken.
    """
    if not utterances:
        raise InputError(Problem("there is no text to be spoken"))
    parts = [utterances[start : start + SHARD] for start in range(0, len(utterances), SHARD)]
    keys = [digest([VERSION, RATE, [[one.text, manner_facts(one.manner)] for one in part]]) for part in parts]
    checked: list[Espeak] = []

    def made(part: Sequence[Utterance]) -> Iterator[Samples]:
        if not checked:
            program = espeak or Espeak()
            program.check(one.manner.voice for one in utterances)
            checked.append(program)
        with ThreadPoolExecutor(max(1, workers)) as pool:
            yield from pool.map(lambda one: checked[0].say(one.text, one.manner), part)

    rows = [[(one.text, one.manner.voice) for one in part] for part in parts]
    return _clips(folder, "spoken", keys, rows, lambda number: made(parts[number]), observer, interrupted)


def read_clips(
    examples: Sequence[SpokenExample],
    texts: Sequence[str],
    folder: Path,
    *,
    observer: Observer = lambda event: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Clips:
    """Recordings from sound files, decoded once.

    Args:
        examples: where the sound is, and who speaks.
        texts: what is said in each, in its spoken form.
        folder, observer, interrupted: as for `speak_clips`.

    Raises:
        DataError: a sound cannot be read.
    """
    parts = [examples[start : start + SHARD] for start in range(0, len(examples), SHARD)]
    try:
        keys = [digest([VERSION, RATE, [sha256_file(one.audio) for one in part]]) for part in parts]
    except OSError as error:
        raise DataError(Problem(f"cannot be read: {error.strerror or error}", error.filename)) from None
    said = [(text, one.speaker or "unknown") for one, text in zip(examples, texts, strict=True)]
    rows = [said[start : start + SHARD] for start in range(0, len(said), SHARD)]

    def made(number: int) -> Iterator[Samples]:
        return (read_audio(one.audio).samples for one in parts[number])

    return _clips(folder, "recorded", keys, rows, made, observer, interrupted)


def _clips(
    folder: Path,
    kind: str,
    keys: Sequence[str],
    rows: Sequence[Sequence[tuple[str, str]]],
    made: Callable[[int], Iterable[Samples]],
    observer: Observer,
    interrupted: Callable[[], bool],
) -> Clips:
    files, places, lengths, hashes = [], [], [], []
    total, new = sum(map(len, rows)), 0
    for number, key in enumerate(keys):
        path = folder / f"{kind}-{key[:32]}.safetensors"
        found = _offsets(path, len(rows[number]))
        if found is None:
            found = _write(path, list(made(number)))
            new += len(rows[number])
        offsets, sha256 = found
        files.append(path)
        places += [(number, int(start)) for start in offsets[:-1]]
        lengths.append(np.diff(offsets))
        hashes.append(sha256)
        observer(ClipsMade(len(places), total, new))
        if interrupted():
            raise KeyboardInterrupt
    texts, voices = ([row[side] for part in rows for row in part] for side in (0, 1))
    sha256 = digest([texts, voices, hashes])
    return Clips(
        tuple(texts), tuple(voices), np.concatenate(lengths), sha256, tuple(files), np.array(places, dtype=np.int64)
    )


def _write(path: Path, clips: Sequence[Samples]) -> tuple[NDArray[np.int64], str]:
    samples = np.concatenate([np.round(np.clip(clip, -1.0, 1.0) * _FULL).astype(np.int16) for clip in clips])
    offsets = np.cumsum([0, *map(len, clips)]).astype(np.int64)
    sha256 = sha256_bytes(samples.tobytes())
    write_atomic(path, save({"samples": samples, "offsets": offsets}, metadata={"sha256": sha256}))
    return offsets, sha256


def _offsets(path: Path, clips: int) -> tuple[NDArray[np.int64], str] | None:
    """Where the clips of a shard begin, and the hash of its samples; None if the file is missing or damaged."""
    try:
        with open(path, "rb") as raw:
            length = int.from_bytes(raw.read(8), "little")
            header = json.loads(raw.read(min(length, path.stat().st_size)))
        said = str(header["__metadata__"]["sha256"])
        with safe_open(str(path), framework="np") as file:
            offsets: NDArray[np.int64] = file.get_tensor("offsets")
            whole = sha256_bytes(file.get_tensor("samples").tobytes()) == said
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
    return (offsets, said) if whole and len(offsets) == clips + 1 else None
