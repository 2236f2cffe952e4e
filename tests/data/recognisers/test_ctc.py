"""Prefix beam search gives every text the probability that adding up all its alignments gives."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelet.data.recognisers.ctc import Prefix, prefix_beam_search


def collapsed(alignment: tuple[int, ...], blank: int) -> Prefix:
    """CTC's rule: repeats become one, then blanks drop out."""
    kept = [symbol for i, symbol in enumerate(alignment) if i == 0 or symbol != alignment[i - 1]]
    return tuple(symbol for symbol in kept if symbol != blank)


def by_listing(probabilities: np.ndarray, blank: int) -> dict[Prefix, float]:
    time, vocabulary = probabilities.shape
    found: dict[Prefix, float] = {}
    for alignment in product(range(vocabulary), repeat=time):
        text = collapsed(alignment, blank)
        found[text] = found.get(text, 0.0) + float(np.prod(probabilities[np.arange(time), alignment]))
    return found


def random_frames(seed: int, time: int, vocabulary: int) -> np.ndarray:
    values = np.random.default_rng(seed).gamma(0.5, size=(time, vocabulary)) + 1e-6
    return values / values.sum(axis=1, keepdims=True)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(min_value=0, max_value=10_000),
    time=st.integers(min_value=1, max_value=5),
    vocabulary=st.integers(min_value=2, max_value=4),
    last=st.booleans(),
)
def test_with_beams_enough_it_is_exact(seed: int, time: int, vocabulary: int, last: bool) -> None:
    blank = vocabulary - 1 if last else 0
    probabilities = random_frames(seed, time, vocabulary)
    expected = by_listing(probabilities, blank)
    found = prefix_beam_search(np.log(probabilities), beams=10_000, blank=blank)
    assert {text for text, _ in found} == set(expected)
    for text, score in found:
        assert np.exp(score) == pytest.approx(expected[text], rel=1e-9)
    assert sum(np.exp(score) for _, score in found) == pytest.approx(1.0)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


@pytest.mark.parametrize("seed", range(5))
def test_the_ctc_loss_of_torch_says_the_same(seed: int) -> None:
    frames = np.log(random_frames(seed, 6, 3))
    found = prefix_beam_search(frames, beams=10_000)
    for text, score in found:
        loss = torch.nn.functional.ctc_loss(
            torch.from_numpy(frames)[:, None],
            torch.tensor([text], dtype=torch.long),
            torch.tensor([len(frames)]),
            torch.tensor([len(text)]),
            reduction="sum",
        )
        assert score == pytest.approx(-loss.item(), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(min_value=0, max_value=10_000))
def test_fewer_beams_never_give_more_probability(seed: int) -> None:
    probabilities = random_frames(seed, 5, 3)
    whole = by_listing(probabilities, 0)
    found = prefix_beam_search(np.log(probabilities), beams=3)
    assert len(found) <= 3
    assert all(np.exp(score) <= whole[text] * (1 + 1e-9) for text, score in found)


def test_the_best_text_is_not_that_of_the_best_alignment() -> None:
    frames = np.log(np.array([[0.6, 0.4], [0.6, 0.4]]))  # all blank: 0.36; "a": 0.64
    assert [text for text, _ in prefix_beam_search(frames, beams=2)] == [(1,), ()]


def test_a_doubled_letter_needs_a_blank_between() -> None:
    sure = np.full((3, 2), 1e-4)
    sure[[0, 1, 2], [1, 0, 1]] = 1.0
    assert prefix_beam_search(np.log(sure), beams=4)[0][0] == (1, 1)
    sure[1] = [1e-4, 1.0]
    assert prefix_beam_search(np.log(sure), beams=4)[0][0] == (1,)


def test_only_the_likeliest_symbols_are_tried() -> None:
    frames = np.log(random_frames(5, 4, 6))
    allowed = {int(s) for frame in frames for s in np.argsort(-frame)[:2]}
    found = prefix_beam_search(frames, beams=50, symbols=2)
    assert {symbol for text, _ in found for symbol in text} <= allowed
    assert prefix_beam_search(frames, beams=50, symbols=6) == prefix_beam_search(frames, beams=50)
