"""Many files: in order, from the cache, in workers, resumed after an interrupt, and with all broken files told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tunelet.base.errors import DataError, InputError
from tunelet.data.audio import Audio
from tunelet.data.nbest import Hypothesis, NBest
from tunelet.data.recognisers import batch, pool
from tunelet.data.recognisers.batch import ListCache, Recognised, recognise
from tunelet.data.recognisers.settings import SphinxSettings
from tunelet.data.spoken import SpokenExample


class Counting:
    """Hears how long a sound is, and remembers what it was asked."""

    identity = "counting"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def nbest(self, audio: Audio) -> tuple[Hypothesis, ...]:
        self.asked.append(Path(audio.name).stem)
        return (Hypothesis(f"{len(audio.samples)}", -1.0), Hypothesis("other", -0.5))


def sounds(folder: Path, *lengths: int) -> list[SpokenExample]:
    """Files of so many samples; the same length is the same sound."""
    found = []
    for number, length in enumerate(lengths):
        path = folder / f"f{number}.wav"
        soundfile.write(path, np.full(length, 0.1), 16000)
        found.append(SpokenExample(f"u{number}", path, f"ref {number}", "s"))
    return found


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    one = Counting()
    monkeypatch.setattr(batch, "build", lambda settings: one)
    monkeypatch.setattr(batch, "identity", lambda settings: f"counting-{settings.n}")
    return one


def run(examples: Sequence[SpokenExample], cache: Path | None, n: int = 33) -> list[NBest]:
    return list(recognise(examples, SphinxSettings(n=n), cache=cache))


def test_lists_come_in_order_with_reference_and_speaker(tmp_path: Path, counting: Counting) -> None:
    lists = run(sounds(tmp_path, 30, 10, 20), None)
    assert lists[1] == NBest("u1", (Hypothesis("10", -1.0), Hypothesis("other", -0.5)), "ref 1", "s")
    assert [one.texts[0] for one in lists] == ["30", "10", "20"]


def test_the_same_sound_is_recognised_once(tmp_path: Path, counting: Counting) -> None:
    lists = run(sounds(tmp_path, 30, 10, 30, 30), None)
    assert counting.asked == ["f0", "f1"]
    assert [one.id for one in lists] == ["u0", "u1", "u2", "u3"]
    assert lists[0].texts == lists[2].texts == lists[3].texts


def test_a_second_pass_asks_nothing(tmp_path: Path, counting: Counting) -> None:
    examples = sounds(tmp_path, 30, 10)
    first = run(examples, tmp_path / "cache")
    events: list[Recognised] = []
    again = list(recognise(examples, SphinxSettings(), cache=tmp_path / "cache", observer=events.append))
    assert again == first
    assert counting.asked == ["f0", "f1"]
    assert [event.cached for event in events] == [True, True]


def test_other_settings_or_another_sound_are_not_taken_from_the_cache(tmp_path: Path, counting: Counting) -> None:
    examples = sounds(tmp_path, 30)
    run(examples, tmp_path / "cache")
    run(examples, tmp_path / "cache", n=5)
    soundfile.write(examples[0].audio, np.full(40, 0.1), 16000)
    assert run(examples, tmp_path / "cache")[0].texts[0] == "40"
    assert len(counting.asked) == 3


def test_an_interrupted_pass_goes_on_where_it_stopped(tmp_path: Path, counting: Counting) -> None:
    examples = sounds(tmp_path, 30, 10, 20)
    with pytest.raises(KeyboardInterrupt):
        list(
            recognise(
                examples,
                SphinxSettings(),
                cache=tmp_path / "cache",
                interrupted=lambda: len(counting.asked) == 2,
            )
        )
    assert counting.asked == ["f0", "f1"]
    lists = run(examples, tmp_path / "cache")
    assert counting.asked == ["f0", "f1", "f2"]
    assert lists == run(examples, None)


@pytest.mark.parametrize("content", ["", "{}", '{"nbest": []}', '{"nbest": [{"text": "a", "score": "high"}]}', "[1]"])
def test_a_damaged_cache_file_is_made_again(tmp_path: Path, counting: Counting, content: str) -> None:
    examples = sounds(tmp_path, 30)
    expected = run(examples, tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    file.write_text(content)
    assert run(examples, tmp_path / "cache") == expected
    assert len(counting.asked) == 2
    assert json.loads(file.read_text())["nbest"][0]["text"] == "30"


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = ListCache(tmp_path / "file" / "cache", "x")
    cache.write("a", [Hypothesis("b")])
    assert cache.folder is None
    assert cache.read("a") is None


def test_progress_counts_each_utterance_once(tmp_path: Path, counting: Counting) -> None:
    events: list[Recognised] = []
    list(recognise(sounds(tmp_path, 30, 10, 30), SphinxSettings(), observer=events.append))
    assert sorted(event.id for event in events) == ["u0", "u1", "u2"]
    assert [event.done for event in events] == [1, 2, 3]
    assert {event.total for event in events} == {3}


def test_all_broken_files_are_told_and_the_others_kept(tmp_path: Path, counting: Counting) -> None:
    examples = sounds(tmp_path, 30, 10, 20)
    examples[0].audio.write_bytes(b"")
    examples[2].audio.write_bytes(examples[2].audio.read_bytes()[:-10])
    found: list[str] = []
    with pytest.raises(DataError) as caught:
        for one in recognise(examples, SphinxSettings(), cache=tmp_path / "cache"):
            found.append(one.id)
    assert found == ["u1"]
    assert [Path(str(problem.file)).name for problem in caught.value.problems] == ["f0.wav", "f2.wav"]
    assert len(list((tmp_path / "cache").iterdir())) == 1
    examples[0].audio.unlink()
    with pytest.raises(DataError, match=r"f0\.wav: cannot be read: No such file"):
        run(examples[:1], None)


FAKE = """
import json, os, sys
settings = json.loads(sys.argv[1])
if settings["n"] == 7:
    print(json.dumps({"fatal": True, "problems": [{"message": "no model"}]}), flush=True)
for line in sys.stdin:
    path = json.loads(line)
    if "f1" in path and settings["n"] == 3:
        os.kill(os.getpid(), 11)
    print(json.dumps({"nbest": [[os.path.basename(path), -1.0]]}), flush=True)
"""


@pytest.fixture
def fake_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that answer with the file's name, die on f1 (n = 3), or cannot start (n = 7)."""
    script = tmp_path / "fake_worker.py"
    script.write_text(FAKE)

    def crew(self: pool._Crew, settings: SphinxSettings, threads: int) -> None:
        original(self, settings, threads)
        self._command = [self._command[0], str(script), settings.model_dump_json()]

    original = pool._Crew.__init__
    monkeypatch.setattr(pool._Crew, "__init__", crew)
    monkeypatch.setattr(batch, "identity", lambda settings: "fake")


@pytest.mark.usefixtures("fake_worker")
def test_workers_give_the_same_order(tmp_path: Path) -> None:
    examples = sounds(tmp_path, 30, 10, 20, 40, 50)
    lists = list(recognise(examples, SphinxSettings(), workers=3))
    assert [one.texts[0] for one in lists] == [f"f{i}.wav" for i in range(5)]


@pytest.mark.usefixtures("fake_worker")
def test_a_worker_that_dies_takes_one_file_with_it(tmp_path: Path) -> None:
    examples = sounds(tmp_path, 30, 10, 20, 40)
    found: list[str] = []
    with pytest.raises(DataError, match=r"f1\.wav: the recogniser's process ended by SIGSEGV on this file") as caught:
        for one in recognise(examples, SphinxSettings(n=3), workers=2):
            found.append(one.id)
    assert len(caught.value.problems) == 1
    assert found == ["u0", "u2", "u3"]


@pytest.mark.usefixtures("fake_worker")
def test_a_recogniser_that_cannot_be_built_is_told_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^no model$"):
        list(recognise(sounds(tmp_path, 30, 10, 20), SphinxSettings(n=7), workers=2))


@pytest.mark.usefixtures("fake_worker")
def test_no_worker_is_left_when_nobody_listens_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    popen = pool.subprocess.Popen

    def remember(*arguments: object, **options: object) -> object:
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(pool.subprocess, "Popen", remember)
    lists = recognise(sounds(tmp_path, *range(10, 40)), SphinxSettings(), workers=2)
    next(lists)
    lists.close()
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)
