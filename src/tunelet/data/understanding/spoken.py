"""Gives the queries of a text task a sound: each example is spoken by one of some voices, with noise, into a file.

The voice and manner of an example follow from (seed, text, voices). Files are FLAC (16 kHz, lossless), named by all
that they depend on, so that a second call finds them. An example that has a sound keeps it. Demonstrations stay text.
Not here: recognising what was said (`hear` only carries a recogniser's answers to the examples).

Example:
    >>> spoken = speak_task(find_task("meld"), "test", folder=Path("cache"))        # doctest: +SKIP
    >>> spoken.examples[0].audio, spoken.silent                                     # doctest: +SKIP
    (PosixPath('cache/said-4f1d....flac'), ())
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from tunelet.base.files import digest, write_atomic
from tunelet.base.streams import numpy_stream
from tunelet.data.audio import RATE
from tunelet.data.noise import with_noise
from tunelet.data.speaking import (
    TEST_VOICES,
    VERSION,
    Espeak,
    Manner,
    MannerSettings,
    drawn_manner,
    manner_facts,
)
from tunelet.data.spoken_clips import ClipsMade, Observer
from tunelet.data.spoken_form import spoken_form
from tunelet.data.understanding.load import load_split
from tunelet.data.understanding.task import UnderstandingExample, UnderstandingTask

_CHUNK = 64


@dataclass(frozen=True)
class SpokenSplit:
    """Examples with their sound.

    Attributes:
        examples: in their order; each has `audio`.
        silent: ids of those that are left out, because nothing in their text can be said.
    """

    examples: tuple[UnderstandingExample, ...]
    silent: tuple[str, ...]


class Listener(Protocol):
    """Writes down what it hears (`models.speech.encoder_folder.LoadedEncoder`)."""

    def transcribe(self, examples: Sequence[UnderstandingExample]) -> list[str]:
        """A text for each example's sound, perhaps empty."""
        ...


def speak_task(
    task: UnderstandingTask,
    split: str,
    *,
    folder: Path,
    voices: Sequence[str] = TEST_VOICES,
    seed: int = 1,
    limit: int | None = None,
    data_dir: Path | None = None,
    manner: MannerSettings | None = None,
    workers: int = 2,
    observer: Observer = lambda event: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> SpokenSplit:
    """The examples of a split with their sound; see `speak_examples`, and `load.load_split` for `limit`, `data_dir`.

    Raises:
        DataError: the split cannot be read, or a text cannot be spoken.
        InputError: espeak-ng is not installed, or does not know a voice.
    """
    examples = load_split(task, split, data_dir=data_dir, limit=limit)
    options = {"manner": manner, "workers": workers, "observer": observer, "interrupted": interrupted}
    return speak_examples(examples, folder=folder, voices=voices, seed=seed, **options)  # type: ignore[arg-type]


def speak_examples(
    examples: Sequence[UnderstandingExample],
    *,
    folder: Path,
    voices: Sequence[str] = TEST_VOICES,
    seed: int = 1,
    manner: MannerSettings | None = None,
    workers: int = 2,
    observer: Observer = lambda event: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> SpokenSplit:
    """The examples with their sound; what is in `folder` already is not spoken again.

    Args:
        folder: of the sound files.
        voices: of espeak-ng, one of which speaks each example.
        seed: of the draws.
        manner: ranges of rate, pitch and noise.
        workers: programs that speak at the same time.
        observer: told as the files come to be.
        interrupted: asked now and then; True raises KeyboardInterrupt, and what is there stays.

    Raises:
        DataError: a text cannot be spoken.
        InputError: espeak-ng is not installed, or does not know a voice.
        MissingExtraError: a text holds a number, and num2words is not installed.
    """
    said = [spoken_form(example.text) if example.audio is None else "" for example in examples]
    plan: dict[Path, tuple[str, Manner]] = {}
    paths: list[Path | None] = []
    for example, text in zip(examples, said, strict=True):
        path = example.audio
        if path is None and text:
            drawn = drawn_manner(text, voices, seed, manner)
            path = folder / f"said-{digest([VERSION, seed, text, manner_facts(drawn)])[:32]}.flac"
            plan[path] = (text, drawn)
        paths.append(path)
    missing = [path for path in plan if not path.is_file()]
    if missing:
        espeak = Espeak()
        espeak.check(voices)
        with ThreadPoolExecutor(max(1, workers)) as pool:
            for start in range(0, len(missing), _CHUNK):
                if interrupted():
                    raise KeyboardInterrupt
                chunk = missing[start : start + _CHUNK]
                for path, data in zip(chunk, pool.map(lambda p: _file(espeak, *plan[p], seed), chunk), strict=True):
                    write_atomic(path, data)
                done = start + len(chunk)
                observer(ClipsMade(len(plan) - len(missing) + done, len(plan), done))
    pairs = list(zip(examples, paths, strict=True))
    return SpokenSplit(
        tuple(example if example.audio else replace(example, audio=path) for example, path in pairs if path),
        tuple(example.id for example, path in pairs if path is None),
    )


def hear(examples: Sequence[UnderstandingExample], listener: Listener) -> tuple[UnderstandingExample, ...]:
    """The examples with `heard`, what a recogniser makes of their sound: for a cascade, asked as text."""
    texts = listener.transcribe(examples)
    return tuple(replace(example, heard=text) for example, text in zip(examples, texts, strict=True))


def _file(espeak: Espeak, text: str, manner: Manner, seed: int) -> bytes:
    import soundfile

    stream = numpy_stream(seed, "noise", text, manner.voice)
    noisy = with_noise(espeak.say(text, manner), manner.noise, manner.snr_db, stream)
    buffer = io.BytesIO()
    soundfile.write(buffer, noisy.clip(-1.0, 1.0), RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
