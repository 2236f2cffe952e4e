"""An n-gram model as an ARPA file: KenLM, which reads it, foretells what ours does."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelet.models.ngram.arpa import write_arpa
from tunelet.models.ngram.model import NGram

decoder = pytest.importorskip("flashlight.lib.text.decoder.kenlm", reason="needs the extra `offline`")
dictionary = pytest.importorskip("flashlight.lib.text.dictionary", reason="needs the extra `offline`")

SENTENCES = ("the cat sat", "the dog sat on the cat", "a cat", "the cat sat on a dog", "on the dog")


def kenlm(model: NGram, path: Path, text: str) -> float:
    """Natural log probability of a text and its end, with KenLM."""
    write_arpa(model, path)
    judge = decoder.KenLM(str(path), dictionary.Dictionary(list(model.vocabulary.words)))
    state, total = judge.start(False), 0.0
    for word in text.split():
        state, score = judge.score(state, model.vocabulary.numbers.get(word, 0))
        total += score
    return (total + judge.finish(state)[1]) * math.log(10)


@settings(max_examples=20, deadline=None)
@given(
    words=st.lists(st.sampled_from(["the", "cat", "dog", "sat", "on", "a", "emu"]), min_size=1, max_size=7),
    order=st.integers(2, 4),
    prune=st.booleans(),
)
def test_kenlm_foretells_the_same(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], order: int, prune: bool
) -> None:
    model = NGram.build(SENTENCES, order, prune=(0, 1)[:order] if prune else ())
    text = " ".join(words)
    found = kenlm(model, tmp_path_factory.mktemp("arpa") / "model.arpa", text)
    assert found == pytest.approx(float(model.score([[text]])[0][0]), abs=1e-4)


def test_the_sizes_and_every_n_gram_are_written(tmp_path: Path) -> None:
    model = NGram.build(SENTENCES, 3)
    write_arpa(model, tmp_path / "model.arpa")
    lines = (tmp_path / "model.arpa").read_text(encoding="utf-8").splitlines()
    for length, size in enumerate(model.sizes, start=1):
        assert f"ngram {length}={size}" in lines
        start = lines.index(f"\\{length}-grams:") + 1
        part = lines[start : lines.index("", start)]
        assert len(part) == size and all(len(line.split("\t")[1].split()) == length for line in part)
    assert lines[-1] == "\\end\\"
