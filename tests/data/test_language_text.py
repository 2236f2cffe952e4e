"""Sentences to rows of tokens: nothing lost, nothing too long, the same from the cache; and what masking hides."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toy_language import WORDS, tokenizer
from tunelet.base.errors import DataError
from tunelet.base.streams import numpy_stream
from tunelet.data.language_text import TokenisedText, packed, tokenise_sentences
from tunelet.data.masking import mask_tokens

SENTENCES = ["the cat sat on the mat", "a dog", "", "unhappyly the dog ran on", "reading"]


def rows_of(text: TokenisedText) -> list[list[int]]:
    return [text.row(i).tolist() for i in range(len(text))]


def written(folder: Path, lines: list[str]) -> Path:
    path = folder / "sentences.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_a_sentence_is_a_row(tmp_path: Path) -> None:
    text = tokenise_sentences(written(tmp_path, SENTENCES), tokenizer(), 16, None)
    expected = [tokenizer()(line)["input_ids"] for line in SENTENCES if line]
    assert rows_of(text) == expected
    assert text.lengths.tolist() == [len(row) for row in expected]
    assert rows_of(text.part(1, 3)) == expected[1:3]
    ids, real = text.padded(np.array([1, 0]), 0)
    assert ids[real].tolist() == [*expected[1], *expected[0]] and not ids[~real].any()
    with pytest.raises(IndexError):
        text.row(4)


def test_a_long_sentence_is_several_rows(tmp_path: Path) -> None:
    text = tokenise_sentences(written(tmp_path, SENTENCES), tokenizer(), 5, None)
    inner = [row[1:-1] for row in rows_of(text)]
    assert all(row[0] == 2 and row[-1] == 3 and 0 < len(row) - 2 <= 3 for row in rows_of(text))
    flat = tokenizer()(" ".join(SENTENCES), add_special_tokens=False)["input_ids"]
    assert [token for row in inner for token in row] == flat


def test_the_cache_gives_the_same_and_survives_damage(tmp_path: Path) -> None:
    file, cache = written(tmp_path, SENTENCES), tmp_path / "cache"
    first = tokenise_sentences(file, tokenizer(), 16, cache)
    (kept,) = cache.iterdir()
    time = kept.stat().st_mtime_ns
    assert rows_of(tokenise_sentences(file, tokenizer(), 16, cache)) == rows_of(first)
    assert kept.stat().st_mtime_ns == time
    kept.write_bytes(kept.read_bytes()[:50])
    assert rows_of(tokenise_sentences(file, tokenizer(), 16, cache)) == rows_of(first)
    tokenise_sentences(file, tokenizer(), 8, cache)
    assert len(list(cache.iterdir())) == 2


@settings(max_examples=30)
@given(st.lists(st.integers(3, 9), min_size=1, max_size=12), st.integers(9, 20))
def test_packed_rows_hold_the_sentences_in_order(lengths: list[int], width: int) -> None:
    rows = [[2, *[100 * i + j for j in range(n - 2)], 3] for i, n in enumerate(lengths)]
    text = TokenisedText(
        np.array([token for row in rows for token in row], dtype=np.int32),
        np.cumsum([0, *lengths]).astype(np.int64),
    )
    found = rows_of(packed(text, width))
    assert all(
        len(row) <= width and row.count(2) - (2 in row[1:]) <= 1 and row[0] == 2 and row[-1] == 3 for row in found
    )
    assert [t for row in found for t in row[1:]] == [t for row in rows for t in row[1:]]
    # greedy: the first sentence of the next row would not have fitted
    for row, after in itertools.pairwise(found):
        assert len(row) + after[1:].index(3) + 1 > width


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no sentence"):
        tokenise_sentences(written(tmp_path, ["", " "]), tokenizer(), 8, None)
    with pytest.raises(DataError, match="at least 3"):
        tokenise_sentences(written(tmp_path, SENTENCES), tokenizer(), 2, None)
    text = tokenise_sentences(written(tmp_path, SENTENCES), tokenizer(), 16, None)
    with pytest.raises(DataError, match="more than the 4"):
        packed(text, 4)


def test_masks_come_in_the_right_shares() -> None:
    ids = np.tile(np.arange(5, 105), (400, 1))
    maskable = ids < 95
    masked, chosen = mask_tokens(ids, maskable, 4, np.arange(200, 300), numpy_stream(1, "masking"))
    assert not chosen[~maskable].any()
    assert chosen[maskable].mean() == pytest.approx(0.15, abs=0.01)
    kept = masked[chosen] == ids[chosen]
    assert (masked[chosen] == 4).mean() == pytest.approx(0.8, abs=0.02)
    assert kept.mean() == pytest.approx(0.1, abs=0.02)
    assert ((masked[chosen] >= 200) & (masked[chosen] < 300)).mean() == pytest.approx(0.1, abs=0.02)
    assert (masked[~chosen] == ids[~chosen]).all()


@given(st.integers(0, 1000), st.integers(1, len(WORDS)))
def test_a_text_that_can_be_masked_is(seed: int, length: int) -> None:
    ids = np.full((3, 8), 7)
    maskable = np.zeros((3, 8), dtype=bool)
    maskable[0, : min(length, 8)] = maskable[1, 2] = True
    _, chosen = mask_tokens(ids, maskable, 4, np.arange(5, 9), numpy_stream(seed, "masking"), share=0.01)
    assert chosen[:2].any(1).all() and not chosen[2].any() and not chosen[~maskable].any()
