"""A synthesiser for tests: each letter is a tone, each voice another pitch; no program is started."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tunelet.base.errors import DataError, InputError, Problem
from tunelet.data.noise import Samples
from tunelet.data.speaking import Manner

#: seconds of a letter
LETTER = 0.12
VOICES = ("low", "middle", "high", "other")


class Tones:
    """In the place of `data.speaking.Espeak`; `said` counts what was spoken."""

    version = "tones"
    said = 0

    def __init__(self, program: str = "") -> None:
        pass

    def check(self, voices: Iterable[str]) -> None:
        """Refuse what is not in `VOICES`."""
        unknown = sorted({*voices} - {*VOICES})
        if unknown:
            raise InputError(Problem(f"no voice {unknown[0]!r}"))

    def say(self, text: str, manner: Manner) -> Samples:
        """A tone for each letter."""
        if not text:
            raise DataError(Problem("an empty text"))
        type(self).said += 1
        time = np.arange(round(LETTER * 16_000)) / 16_000
        shift = 1.0 + 0.02 * VOICES.index(manner.voice)
        tones = [np.sin(2 * np.pi * (200 + 97 * (ord(letter) - 96)) * shift * time) for letter in text]
        return (0.5 * np.concatenate(tones)).astype(np.float32)
