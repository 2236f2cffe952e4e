"""Likeness of a prompt's sentences: what counts as a name that fits, and what is compared then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tunelet.models.prefix.similarity import Sentences, likeness

#: direction of each word; a sentence is the mean of its words
WORDS = {"rain": [1, 0, 0], "wet": [0.8, 0.6, 0], "sun": [0, 0, 1], "warm": [0, 0.6, 0.8], "day": [0, 1, 0]}


class Means:
    """A sentence encoder that anybody can compute."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> Any:
        self.asked += texts
        rows = [np.mean([WORDS[w] for w in text.replace(":", "").split()] or [[0, 0, 1e-9]], 0) for text in texts]
        return np.array([row / np.linalg.norm(row) for row in rows], dtype=np.float32)


def of(names: dict[int, str], query: str | None = "wet day") -> Sentences:
    return Sentences(query, {0: "wet wet", 1: "warm"}, names, ("rain",), (frozenset({0}),))


def test_names_count_where_they_fit_their_definitions() -> None:
    embedder: Any = Means()
    found = likeness([of({0: "rain", 1: "sun"}), of({0: "sun", 1: "rain"})], [2, 2], embedder, [None, None])
    (wet,), (warm,), (rain,), (sun,), (query,) = (
        embedder.embed([t]) for t in ("wet", "warm", "rain", "sun", "wet day")
    )
    own = (rain @ wet + sun @ warm) / 2 - (rain @ warm + sun @ wet) / 2
    assert found.trust == pytest.approx([own, -own]) and own > 0.5
    np.testing.assert_allclose(found.definitions, [[wet @ query, warm @ query]] * 2, atol=1e-6)
    (first,), (second,) = embedder.embed(["rain: wet wet"]), embedder.embed(["sun: warm"])
    np.testing.assert_allclose(found.named[0], [first @ query, second @ query], atol=1e-6)
    np.testing.assert_allclose(found.named[1], found.definitions[1], atol=1e-6)
    assert "sun: wet wet" not in embedder.asked  # what would not count is not embedded
    assert found.demonstrations[0, 0] == pytest.approx(rain @ query) and bool(found.shown[0, 0, 0])


def test_one_definition_has_nothing_to_be_compared_with() -> None:
    embedder: Any = Means()
    one = Sentences("day", {1: "warm"}, {1: "sun"}, (), ())
    found = likeness([one, of({0: "rain", 1: "sun"}, None)], [2, 2], embedder, [None, np.array([0, 1, 0], np.float32)])
    assert found.trust[0] == 0 and found.named[0].tolist() == found.definitions[0].tolist()
    assert found.definitions[1, 1] == pytest.approx(0.6) and found.trust[1] > 0
