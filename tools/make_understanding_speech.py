"""Speaks the embedded tasks of understanding: reads their rows, writes the Ogg Opus files that they name, and an index.

Everything that is drawn (voice, rate, pause, noise) comes from a stream named after the task, the split and the row's
id. Voices of the splits are disjoint. This program needs espeak-ng on the machine and is not part of the package. Not
here: the voices and how they speak (`make_speech`), the sentences.

Example:
    $ python tools/make_understanding_speech.py            # files that are missing
    $ python tools/make_understanding_speech.py --all      # every file again
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from make_speech import SEED, VOICES, espeak_folder, make

from tunelet.base.files import write_atomic
from tunelet.base.streams import numpy_stream

FOLDER = Path(__file__).parent.parent / "src" / "tunelet" / "embedded" / "understanding"
SPEECH = FOLDER / "speech"
TASKS = ("front_desk_act", "visit_opinion", "request_topic")
#: as in the embedded speech, so that what is learnt from its train part has not heard these test voices either
SPEAKERS = {
    "train": ("v01", "v02", "v03", "v04", "v05"),
    "validation": ("v06", "v07", "v08"),
    "test": ("v09", "v10", "v11", "v12", "v13"),
}
RATES = (145, 155, 165, 175)
GAPS = (2, 3, 4)
NOISES = ("white", "pink")
SNR_DB = (20, 25, 30, 40)
#: about 15 kbit/s: 672 files have to stay below 4 MB
COMPRESSION = 0.97


def rows_of(task: str, split: str) -> list[dict[str, Any]]:
    """The rows of a split."""
    text = (FOLDER / task / f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.removesuffix("\n").split("\n")]


def plan(task: str, split: str) -> list[dict[str, Any]]:
    """How each row of a split is spoken. Voices take turns, so that all are heard equally often."""
    rows, voices = rows_of(task, split), SPEAKERS[split]
    turns = numpy_stream(SEED, "turns", task, split).permutation(len(rows))
    planned = []
    for row, turn in zip(rows, turns, strict=True):
        name = f"{task}-{row['id']}"
        draw = numpy_stream(SEED, "plan", name)
        speaker = voices[int(turn) % len(voices)]
        planned.append(
            {
                "id": name,
                "audio": row["audio"],
                "text": row["text"],
                "task": task,
                "split": split,
                "speaker": speaker,
                "voice": f"{VOICES[speaker].accent}+{speaker}",
                "rate": RATES[draw.integers(len(RATES))],
                "gap": GAPS[draw.integers(len(GAPS))],
                "noise": NOISES[draw.integers(len(NOISES))],
                "snr_db": SNR_DB[draw.integers(len(SNR_DB))],
            }
        )
    return planned


def main() -> int:
    """Speak what is missing, remove what no row names, and write the index."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="speak every sentence again")
    every = parser.parse_args().all
    index = SPEECH / "index.jsonl"
    known = {}
    if index.is_file() and not every:
        known = {row["id"]: row for row in map(json.loads, index.read_text(encoding="utf-8").splitlines())}
    rows = [row for task in TASKS for split in SPEAKERS for row in plan(task, split)]
    with tempfile.TemporaryDirectory() as folder:
        data = espeak_folder(Path(folder))
        for row in rows:
            seconds = known.get(row["id"], {}).get("seconds")
            spoken = (SPEECH / row["audio"]).is_file() and known.get(row["id"]) == {**row, "seconds": seconds}
            row["seconds"] = seconds if spoken else make(row, data, folder=SPEECH, compression=COMPRESSION)
    named = {SPEECH / row["audio"] for row in rows}
    for path in sorted((SPEECH / "audio").iterdir()):
        if path not in named:
            path.unlink()
    write_atomic(index, "".join(json.dumps(row) + "\n" for row in rows))
    size = sum(path.stat().st_size for path in (SPEECH / "audio").iterdir())
    print(f"{len(rows)} files, {sum(row['seconds'] for row in rows):.0f} s, {size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
