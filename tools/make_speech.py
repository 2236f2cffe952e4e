"""Speaks the embedded sentences: reads ``src/tunelet/embedded/speech/index.jsonl`` and writes its Ogg Opus files.

The index is the plan: what is said, by which voice, how fast, with which noise. This program needs espeak-ng on the
machine and is not part of the package. Not here: reading the files (`tunelet.data.spoken`).

Example:
    $ python tools/make_speech.py            # files that are missing
    $ python tools/make_speech.py --all      # every file again
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from tunelet.base.files import write_atomic
from tunelet.base.streams import numpy_stream

FOLDER = Path(__file__).parent.parent / "src" / "tunelet" / "embedded" / "speech"
ESPEAK_DATA = Path("/usr/lib/x86_64-linux-gnu/espeak-ng-data")
RATE = 16_000
SEED = 20_26
#: loudest sample of a file
PEAK = 0.7
#: silence that is kept before and after the words, in seconds
EDGE = 0.12
#: below this share of the peak a sample counts as silence
SILENT = 0.01


@dataclass(frozen=True)
class Voice:
    """A voice of espeak-ng: an accent and a variant of our own. What the numbers mean stands in espeak-ng's manual.

    Attributes:
        accent: language of espeak-ng.
        pitch: lowest and highest, in Hz.
        formants: frequency of the formants, in percent of the plain voice.
        width: of the formant peaks, in percent.
        breath: loudness of the breath.
        voicing: loudness of the vocal cords, in percent.
        consonants: loudness of unvoiced and voiced consonants, in percent.
    """

    accent: str
    pitch: tuple[int, int]
    formants: int
    width: int
    breath: int
    voicing: int
    consonants: int

    def variant(self, name: str) -> str:
        """The text of the variant's file."""
        lines = ["language variant", f"name {name}", f"pitch {self.pitch[0]} {self.pitch[1]}", "roughness 0"]
        for number in range(9):
            share = self.formants if number else 100 + (self.formants - 100) // 2
            lines.append(f"formant {number} {share} {100 if number < 3 else 85} {self.width}")
        near = self.breath + 2
        lines.append(f"breath 0 {self.breath} {near} {near} {near} {near} 0 {near + 2}")
        lines.append("breathw 150 150 200 200 400 400")
        lines.append(f"voicing {self.voicing}")
        lines.append(f"consonants {self.consonants} {self.consonants}")
        lines.append("stressAdd 0 0 -10 -10 0 0 10 40")
        return "\n".join(lines) + "\n"


VOICES = {
    "v01": Voice("en-us", (130, 188), 104, 190, 8, 80, 350),
    "v02": Voice("en-us", (90, 130), 97, 170, 3, 60, 300),
    "v03": Voice("en-us", (190, 275), 102, 130, 8, 100, 150),
    "v04": Voice("en-us", (90, 108), 100, 190, 8, 80, 300),
    "v05": Voice("en-us-nyc", (160, 192), 104, 190, 8, 80, 350),
    "v06": Voice("en-us", (90, 108), 97, 190, 8, 40, 150),
    "v07": Voice("en-us", (180, 250), 103, 170, 6, 90, 250),
    "v08": Voice("en-us", (160, 232), 97, 190, 5, 80, 350),
    "v09": Voice("en-us", (110, 132), 102, 170, 8, 40, 200),
    "v10": Voice("en-us", (75, 90), 97, 150, 3, 40, 200),
    "v11": Voice("en-us", (190, 228), 102, 150, 8, 80, 350),
    "v12": Voice("en-us", (160, 192), 105, 190, 4, 60, 250),
    "v13": Voice("en-us", (140, 200), 103, 180, 6, 75, 250),
}


def espeak_folder(folder: Path) -> Path:
    """A copy of espeak-ng's data, by links, with our voices in it."""
    data, voices = folder / "espeak-ng-data", folder / "espeak-ng-data" / "voices"
    (voices / "!v").mkdir(parents=True)
    for entry in ESPEAK_DATA.iterdir():
        if entry.name != "voices":
            (data / entry.name).symlink_to(entry)
    for entry in (ESPEAK_DATA / "voices").iterdir():
        if entry.name != "!v":
            (voices / entry.name).symlink_to(entry)
    for name, voice in VOICES.items():
        (voices / "!v" / name).write_text(voice.variant(name), encoding="ascii")
    return folder


def spoken(row: dict[str, Any], data: Path) -> NDArray[np.float64]:
    """What espeak-ng says for a row of the index, at 16 kHz, with little silence around it."""
    command = ["espeak-ng", f"--path={data}", "-v", row["voice"], "-s", str(row["rate"]), "-g", str(row["gap"])]
    done = subprocess.run([*command, "--stdout", row["text"]], capture_output=True, check=True)
    samples, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float64")
    samples = soxr.resample(samples, rate, RATE)
    loud = np.flatnonzero(np.abs(samples) > SILENT * np.abs(samples).max())
    edge = np.zeros(int(EDGE * RATE))
    return np.concatenate([edge, samples[loud[0] : loud[-1] + 1], edge])


def noise(kind: str, size: int, name: str) -> NDArray[np.float64]:
    """Noise of unit power: ``white``, or ``pink`` (power falls with the frequency), the same for the same name."""
    white = numpy_stream(SEED, "noise", name).standard_normal(size)
    if kind == "pink":
        spectrum = np.fft.rfft(white)
        spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
        white = np.fft.irfft(spectrum, size)
    return white / np.sqrt(np.mean(white**2))


def make(row: dict[str, Any], data: Path, *, folder: Path = FOLDER, compression: float = 0.9) -> float:
    """Write the file of a row below `folder`; returns its seconds."""
    clean = spoken(row, data)
    power = np.mean(clean**2) / 10 ** (row["snr_db"] / 10)
    mixed = clean + np.sqrt(power) * noise(row["noise"], len(clean), row["id"])
    mixed *= PEAK / np.abs(mixed).max()
    buffer = io.BytesIO()
    soundfile.write(buffer, mixed, RATE, format="OGG", subtype="OPUS", compression_level=compression)
    write_atomic(folder / row["audio"], buffer.getvalue())
    return round(len(mixed) / RATE, 3)


def main() -> int:
    """Speak what is missing, and note the length of each file in the index."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="speak every sentence again")
    every = parser.parse_args().all
    index = FOLDER / "index.jsonl"
    rows = [json.loads(line) for line in index.read_text(encoding="utf-8").removesuffix("\n").split("\n")]
    with tempfile.TemporaryDirectory() as folder:
        data = espeak_folder(Path(folder))
        for row in rows:
            if every or not (FOLDER / row["audio"]).is_file():
                row["seconds"] = make(row, data)
    write_atomic(index, "".join(json.dumps(row) + "\n" for row in rows))
    size = sum(path.stat().st_size for path in (FOLDER / "audio").iterdir())
    print(f"{len(rows)} files, {sum(row['seconds'] for row in rows):.0f} s, {size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
