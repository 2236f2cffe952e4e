"""Books to sentences, by examples and by what every sentence must be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelet.base.errors import DataError
from tunelet.data.novels import normalise, read_lines, sentence_file, sentences

BOOK = """\
CHAPTER I.

“Mr. Hall’s here,” she said—well, almost
twice. “He didn’t go!” (So it was.) "Who?" asked J. Smith.

In 1815 it rained. It rained & poured in the café; the
'old' well-known inn, no. 7, stood dry.

_Never_ mind. I know it was I. Then we left
"""


def test_a_page() -> None:
    assert list(sentences(BOOK.split("\n"))) == [
        "chapter i",
        "mister hall's here she said well almost twice",
        "he didn't go",
        "so it was",
        "who asked j smith",
        "never mind",
        "i know it was i",
        "then we left",
    ]


def test_numbers_can_be_kept() -> None:
    found = list(sentences(BOOK.split("\n"), numbers="keep"))
    assert "in 1815 it rained" in found
    assert "it rained and poured in the cafe the old well known inn no 7 stood dry" in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("DON'T STOP", "don't stop"),
        ("rock 'n' roll ’tis the boys’", "rock n roll tis the boys"),
        ("naïve Cæsar’s œuvre", "naive caesar's oeuvre"),
        ("Dr. and Mrs. Grey of St. Ives", "doctor and missus grey of saint ives"),
        ("--*** !", ""),
    ],
)
def test_one_text(text: str, said: str) -> None:
    assert normalise(text) == said


@settings(max_examples=50)
@given(st.text(max_size=60))
def test_what_comes_out_is_plain_and_stays_as_it_is(text: str) -> None:
    said = normalise(text)
    assert re.fullmatch(r"([a-z0-9][a-z0-9']*( [a-z0-9][a-z0-9']*)*)?", said)
    assert normalise(said) == said or re.search(r"\b(mr|mrs|messrs|dr|st)\b", said)


def test_a_file_is_made_once_and_named_by_what_it_holds(tmp_path: Path) -> None:
    book, other = tmp_path / "a.txt", tmp_path / "b.txt"
    book.write_text(BOOK, encoding="utf-8")
    other.write_text("Once more.\n", encoding="utf-8")
    first = sentence_file([book, other], tmp_path / "cache")
    assert list(read_lines(first))[-2:] == ["then we left", "once more"]
    time = first.stat().st_mtime_ns
    assert sentence_file([book, other], tmp_path / "cache").stat().st_mtime_ns == time
    names = {
        sentence_file([book], tmp_path / "cache"),
        sentence_file([book, other], tmp_path / "cache", numbers="keep"),
        sentence_file([other, book], tmp_path / "cache"),
        first,
    }
    assert len(names) == 4


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("a\ncaf\xe9".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.txt:2: not UTF-8"):
        sentence_file([tmp_path / "latin.txt"], tmp_path)
    with pytest.raises(DataError, match=r"no\.txt: no such file\n.*nor\.txt"):
        sentence_file([tmp_path / "no.txt", tmp_path / "nor.txt"], tmp_path)
    with pytest.raises(DataError, match="no text"):
        sentence_file([], tmp_path)
