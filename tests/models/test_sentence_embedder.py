"""Embeddings of sentences: what they are, and that they are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from toy_prefix import base_in, texts
from tunelet.models.bases import Base
from tunelet.models.sentence_embedder import SentenceEmbedder

TEXTS = texts(9)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return base_in(tmp_path_factory.mktemp("embedder") / "base")


def test_rows_are_means_of_length_one_and_know_no_company(base: Base) -> None:
    embedder = SentenceEmbedder(base)
    rows = embedder.embed([*TEXTS, TEXTS[0]])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(rows[-1], rows[0])
    alone = SentenceEmbedder(base)
    np.testing.assert_allclose(rows[4:5], alone.embed([TEXTS[4]]), atol=1e-5)
    given = base.tokenizer(TEXTS[4], return_tensors="pt")
    with torch.no_grad():
        mean = alone._loaded()(input_ids=given["input_ids"]).last_hidden_state[0].mean(0)
    np.testing.assert_allclose(rows[4], (mean / mean.norm()).numpy(), atol=1e-5)
    assert embedder.embed([]).shape == (0, 16)


def test_a_pool_is_computed_once_and_a_damaged_file_again(base: Base, tmp_path: Path) -> None:
    told: list[int] = []
    rows = SentenceEmbedder(base).stored([*TEXTS, TEXTS[2]], tmp_path, told.append)
    (file,) = tmp_path.iterdir()
    other = SentenceEmbedder(base)
    np.testing.assert_array_equal(other.stored([*TEXTS, TEXTS[2]], tmp_path, told.append), rows)
    assert told == [9] and other._model is None  # the base was not even read
    file.write_bytes(b"PK broken")
    np.testing.assert_array_equal(SentenceEmbedder(base).stored([*TEXTS, TEXTS[2]], tmp_path, told.append), rows)
    assert told == [9, 9]
    SentenceEmbedder(base).stored(TEXTS[:3], tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
