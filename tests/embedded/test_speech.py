"""The embedded speech keeps what its datasheet promises: counts, disjoint sentences and voices, format, size.

Not tested here: how well it is recognised.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections import Counter
from importlib import resources
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import soundfile

from tunelet.data.audio import read_audio

FOLDER = Path(str(resources.files("tunelet.embedded") / "speech"))
SIZES = {"train": 60, "dev": 36, "test": 72}
FIELDS = ["id", "audio", "text", "split", "topic", "speaker", "voice", "rate", "gap", "noise", "snr_db", "seconds"]
MOST_BYTES = 3_000_000
TOOL = Path(__file__).parents[2] / "tools" / "make_speech.py"


def rows() -> list[dict[str, Any]]:
    raw = (FOLDER / "index.jsonl").read_bytes().decode("ascii")
    assert raw.endswith("\n")
    return [json.loads(line) for line in raw.removesuffix("\n").split("\n")]


def texts() -> list[str]:
    return (FOLDER / "text.txt").read_bytes().decode("ascii").removesuffix("\n").split("\n")


def near(a: str, b: str) -> bool:
    """Two sentences share too much: words, the opening, or a run of six words."""
    first, second = a.split(), b.split()
    runs = [{tuple(words[i : i + 6]) for i in range(len(words) - 5)} for words in (first, second)]
    words = [set(first), set(second)]
    much = len(words[0] & words[1]) >= 0.6 * len(words[0] | words[1])
    return much or first[:5] == second[:5] or not runs[0].isdisjoint(runs[1])


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    if not TOOL.is_file():
        pytest.skip("the program that makes the speech is not part of the package")
    spec = importlib.util.spec_from_file_location("make_speech", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_speech"] = module  # its dataclass looks its module up
    pytest.importorskip("soxr")
    spec.loader.exec_module(module)
    return module


def test_counts_fields_and_ids() -> None:
    found = rows()
    assert Counter(row["split"] for row in found) == SIZES
    for split, size in SIZES.items():
        own = [row for row in found if row["split"] == split]
        assert [row["id"] for row in own] == [f"{split}-{number:03d}" for number in range(1, size + 1)]
        assert set(Counter(row["topic"] for row in own).values()) == {size // 12}
    assert all(list(row) == FIELDS for row in found)


def test_voices_of_the_splits_are_disjoint() -> None:
    voices = {split: {row["speaker"] for row in rows() if row["split"] == split} for split in SIZES}
    assert {split: len(found) for split, found in voices.items()} == {"train": 5, "dev": 3, "test": 5}
    for first, second in combinations(voices.values(), 2):
        assert first.isdisjoint(second)


def test_texts_are_lower_case_words() -> None:
    spoken = [row["text"] for row in rows()]
    for text in [*spoken, *texts()]:
        assert re.fullmatch(r"[a-z']+( [a-z']+)*", text), text
    assert all(6 <= len(text.split()) <= 14 for text in spoken)
    assert len(set(texts())) == len(texts()) == 528


def test_no_spoken_sentence_is_near_another_or_near_the_text() -> None:
    spoken, plain = [row["text"] for row in rows()], texts()
    assert [(a, b) for a, b in combinations(spoken, 2) if near(a, b)] == []
    assert [(a, b) for a in spoken for b in plain if near(a, b)] == []


def test_a_near_sentence_would_be_found() -> None:
    assert near("we had no snow at all this winter", "this winter we had no snow at all")
    assert near("the dog sleeps on the rug beside the fire", "the dog sleeps on the bed when it rains and snows")
    assert not near("the dog sleeps on the rug", "a cat is in the garden")


def test_every_file_is_there_and_small() -> None:
    found = rows()
    files = sorted((FOLDER / "audio").iterdir())
    assert sorted(str(path.relative_to(FOLDER)) for path in files) == sorted(row["audio"] for row in found)
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    for row in found:
        with soundfile.SoundFile(FOLDER / row["audio"]) as file:
            assert (file.samplerate, file.channels, file.format, file.subtype) == (16000, 1, "OGG", "OPUS")
            assert file.frames / 16000 == pytest.approx(row["seconds"], abs=0.01)


def test_the_files_are_read_without_a_finding() -> None:
    for row in rows()[::12]:
        sound = read_audio(FOLDER / row["audio"])
        assert sound.findings() == []
        assert 1.5 < sound.seconds < 6


def test_every_word_can_be_said_and_recognised() -> None:
    pocketsphinx = pytest.importorskip("pocketsphinx")
    path = Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))
    known = {line.split(maxsplit=1)[0] for line in path.read_text(encoding="utf-8").split("\n") if line}
    unknown = {word for text in [*(row["text"] for row in rows()), *texts()] for word in text.split()} - known
    assert unknown == set()


def test_the_program_that_made_it_knows_every_voice(tool: ModuleType) -> None:
    for row in rows():
        accent, _, variant = row["voice"].partition("+")
        assert variant == row["speaker"]
        assert tool.VOICES[variant].accent == accent


@pytest.mark.parametrize("kind", ["white", "pink"])
def test_its_noise_is_the_same_for_the_same_name(tool: ModuleType, kind: str) -> None:
    first = tool.noise(kind, 1000, "a")
    assert (first == tool.noise(kind, 1000, "a")).all()
    assert not (first == tool.noise(kind, 1000, "b")).any()
    assert float((first**2).mean()) == pytest.approx(1.0)
