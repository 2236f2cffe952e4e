"""Text to sound through espeak-ng, a free synthesiser: many voices, each utterance in a manner of its own.

espeak-ng is a program, not a package. It is started once for each utterance, so that what it draws (breath, flutter)
does not depend on what it said before: the same text in the same manner gives the same samples. The voices are parted
by name: none of those that one trains on is heard in validation or test. They are one synthesiser with other settings,
not people. Not here: many texts (`spoken_clips`), how a text is said (`spoken_form`), real speech (`spoken`).

Example:
    >>> manner = drawn_manner("good morning", TEST_VOICES, seed=1)
    >>> manner.voice in TEST_VOICES
    True
    >>> Espeak().say("good morning", manner).dtype              # doctest: +SKIP
    dtype('float32')
"""

from __future__ import annotations

import functools
import io
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tunelet.base.errors import DataError, InputError, Problem
from tunelet.base.registry import suggest
from tunelet.base.settings import Field, Settings
from tunelet.base.streams import numpy_stream
from tunelet.data.audio import RATE
from tunelet.data.noise import NoiseKind, Samples

PROGRAM = "espeak-ng"
#: To be raised when the same manner would sound otherwise.
VERSION = 1
#: Accent and variant of espeak-ng. Variants that resemble each other (adam, edward; belinda, linda) are on one side;
#: aunty (as f4), Storm (as victor), Tweaky (as john), steph2 and steph3 are on none. British voices are of ``en``,
#: for espeak-ng 1.51 adds no variant to ``en-gb`` and does not say so.
TRAIN_VOICES = (
    "en-us", "en-us+Alex", "en-us+Andy", "en-us+Annie", "en-us+AnxiousAndy", "en-us+Denis", "en-us+Gene", "en-us+Hugo",
    "en-us+Jacky", "en-us+Marco", "en-us+Mario", "en-us+Mike", "en-us+Nguyen", "en-us+adam", "en-us+anika",
    "en-us+antonio", "en-us+belinda", "en-us+benjamin", "en-us+boris", "en-us+Michael", "en-us+ed", "en-us+edward",
    "en-us+f1", "en-us+f2", "en-us+f5", "en-us+grandma", "en-us+grandpa", "en-us+gustave", "en-us+iven", "en-us+klatt",
    "en-us+klatt3", "en-us+klatt4", "en-us+linda", "en-us+m1", "en-us+m3", "en-us+m4", "en-us+m6", "en-us+m7",
    "en-us+m8", "en-us+marcelo", "en-us+max", "en-us+norbert", "en-us+pablo", "en-us+quincy", "en-us+rob",
    "en-us+sandro", "en-us+shelby", "en-us+travis", "en-us+zac", "en-us-nyc+f2", "en-us-nyc+m3", "en-us-nyc+shelby",
    "en-gb", "en+Annie", "en+Gene", "en+michel", "en+anika", "en+ed", "en+linda", "en+m1",
    "en+zac", "en-gb-x-rp+f1", "en-gb-x-rp+m4", "en-gb-x-gbclan+f5", "en-gb-x-gbcwmd+m8", "en-gb-scotland+m7",
    "en-gb-scotland+grandma", "en-029+robert",
)  # fmt: skip
VALIDATION_VOICES = ("en-us+f3", "en-us+m2", "en-us+Lee", "en+john")
TEST_VOICES = ("en-us+f4", "en-us+m5", "en-us+david", "en-us+Alicia", "en-us+paul", "en-us+victor", "en+steph",
               "en+Andrea")  # fmt: skip

#: loudest sample, and seconds of silence that are kept around the words
_PEAK, _EDGE = 0.7, 0.12
#: below this share of the peak a sample counts as silence
_SILENT = 0.01
_SPEAKABLE = re.compile(r"[a-z'][a-z' ]*")


class MannerSettings(Settings):
    """Ranges from which the manner of each utterance is drawn."""

    rate: tuple[int, int] = Field((140, 190), description="words a minute")
    pitch: tuple[int, int] = Field((35, 65), description="pitch of espeak-ng, 0 to 99; 50 is the voice's own")
    gap: tuple[int, int] = Field((0, 3), description="pause between words, in 10 ms")
    snr_db: tuple[float, float] = Field((15.0, 40.0), description="power of the speech to that of the noise, decibels")


@dataclass(frozen=True, slots=True)
class Manner:
    """How one utterance is said.

    Attributes:
        voice: such as ``en-us+m3``.
        rate: words a minute.
        pitch: 0 to 99.
        gap: between words, in 10 ms.
        snr_db: of the noise, where noise is added.
        noise: its kind.
    """

    voice: str
    rate: int = 165
    pitch: int = 50
    gap: int = 0
    snr_db: float = 40.0
    noise: NoiseKind = "white"


def drawn_manner(text: str, voices: Sequence[str], seed: int, settings: MannerSettings | None = None) -> Manner:
    """The manner of a text: a function of (seed, text, voices) and the ranges, whatever else is said."""
    ranges = settings or MannerSettings()
    stream = numpy_stream(seed, "manner", text, *voices)
    voice = voices[int(stream.integers(len(voices)))]
    rate, pitch, gap = (int(stream.integers(low, high + 1)) for low, high in (ranges.rate, ranges.pitch, ranges.gap))
    kind: NoiseKind = "pink" if stream.random() < 0.5 else "white"
    return Manner(voice, rate, pitch, gap, round(float(stream.uniform(*ranges.snr_db)), 1), kind)


class Espeak:
    """The program, looked for when this is made.

    Args:
        program: its name or path.

    Attributes:
        version: as it tells it.

    Raises:
        InputError: it is not installed, or does not answer.
    """

    def __init__(self, program: str = PROGRAM) -> None:
        found = shutil.which(program)
        if found is None:
            hint = "install it: apt install espeak-ng, brew install espeak-ng, or https://github.com/espeak-ng"
            raise InputError(Problem(f"speaking text needs the program {program!r}, which is not installed", hint=hint))
        self._program = found
        self.version = self._ask("--version").split("Data at")[0].strip()

    @functools.cached_property
    def voices(self) -> frozenset[str]:
        """Accents that it knows, and variants with a leading plus."""
        accents = {row.split()[1] for row in self._ask("--voices=en").splitlines()[1:]}
        files = (row.partition("!v/")[2].strip() for row in self._ask("--voices=variant").splitlines()[1:])
        return frozenset({*accents, "en", *(f"+{name}" for name in files if name)})

    def check(self, voices: Iterable[str]) -> None:
        """Refuse voices that it does not have, or says like another: it would tell nothing and leave a variant out.

        Raises:
            InputError: all unknown ones, and all whose variant changes nothing.
        """
        problems = []
        plain = functools.cache(self._sound)
        for voice in dict.fromkeys(voices):
            accent, plus, variant = voice.partition("+")
            for part in (accent, f"+{variant}") if plus else (accent,):
                if part not in self.voices:
                    near = suggest(part, self.voices)
                    hint = f"did you mean {near!r}?" if near else "see `espeak-ng --voices=en` and `--voices=variant`"
                    problems.append(Problem(f"espeak-ng has no voice {voice!r}: {part!r} is unknown", hint=hint))
                    break
            else:
                if plus and self._sound(voice) == plain(accent):
                    what = f"espeak-ng says {voice!r} as it says {accent!r}"
                    hint = "its accent takes no variants; 'en' takes them in the place of 'en-gb'"
                    problems.append(Problem(what, hint=hint))
        if problems:
            raise InputError(problems)

    def say(self, text: str, manner: Manner) -> Samples:
        """(T,) samples at 16 kHz with little silence around them, their peak at 0.7; without noise.

        Raises:
            DataError: the text is not in its spoken form (`spoken_form`), or nothing is to be heard.
        """
        import soundfile
        import soxr

        if not _SPEAKABLE.fullmatch(text):
            hint = "bring it into its spoken form: a to z, apostrophe, single blanks"
            raise DataError(Problem(f"cannot be spoken: {text[:60]!r}" if text else "an empty text", hint=hint))
        options = ["-v", manner.voice, "-s", str(manner.rate), "-p", str(manner.pitch), "-g", str(manner.gap)]
        done = self._spoken(options, text)
        try:
            samples, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
        except soundfile.LibsndfileError:
            samples, rate = np.zeros(0, dtype=np.float32), RATE
        loud = np.flatnonzero(np.abs(samples) > _SILENT * np.abs(samples).max(initial=0.0))
        if done.returncode or not len(loud):
            said = done.stderr.decode("utf-8", "replace").strip() or "it gave no sound"
            raise DataError(Problem(f"espeak-ng failed on {text[:60]!r} in the voice {manner.voice}: {said[:200]}"))
        edge = round(_EDGE * RATE)
        heard = soxr.resample(samples[loud[0] : loud[-1] + 1], rate, RATE)
        heard = np.pad(heard, edge)
        return np.asarray(heard * (_PEAK / np.abs(heard).max()), dtype=np.float32)

    def _sound(self, voice: str) -> bytes:
        """A word in a voice, as the program writes it."""
        return self._spoken(["-v", voice], "morning").stdout

    def _spoken(self, options: Sequence[str], text: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([self._program, *options, "--stdout", text], capture_output=True)

    def _ask(self, option: str) -> str:
        done = subprocess.run([self._program, option], capture_output=True, text=True, errors="replace")
        if done.returncode:
            raise InputError(Problem(f"{self._program} {option} failed: {done.stderr.strip()[:200]}"))
        return done.stdout


def installed(program: str = PROGRAM) -> bool:
    """Whether the program can be found."""
    return shutil.which(program) is not None


def manner_facts(manner: Manner) -> dict[str, Any]:
    """The manner as JSON values, to name a file by."""
    return asdict(manner)
