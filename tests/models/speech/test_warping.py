"""Frequencies that are stretched: a tone moves to where it should, and nothing else is touched."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tunelet.models.speech.fbank import KaldiFbank
from tunelet.models.speech.warping import warped

BINS = 80


def tone(hertz: float) -> Tensor:
    """(1, F, bins) energies of a sine."""
    time = torch.arange(16_000) / 16_000
    return KaldiFbank(BINS)(torch.sin(2 * math.pi * hertz * time)[None])


@settings(deadline=None)
@given(bins=st.integers(1, 90), frames=st.integers(1, 5))
def test_a_factor_of_one_changes_nothing(bins: int, frames: int) -> None:
    energies = torch.randn(2, frames, bins, generator=torch.Generator().manual_seed(bins))
    torch.testing.assert_close(warped(energies, torch.ones(2)), energies, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("factor", [0.85, 0.95, 1.1, 1.2])
@pytest.mark.parametrize("hertz", [500.0, 1500.0, 3000.0])
def test_a_tone_moves_down_by_the_factor(hertz: float, factor: float) -> None:
    moved = warped(tone(hertz), torch.tensor([factor])).mean(1).argmax()
    assert abs(int(moved) - int(tone(hertz / factor).mean(1).argmax())) <= 1


def test_half_the_rate_stays_where_it_is() -> None:
    ramp = torch.arange(float(BINS)).expand(1, 2, BINS)
    for factor in (0.8, 1.25):
        found = warped(ramp, torch.tensor([factor]))[0, 0]
        assert abs(float(found[-1]) - (BINS - 1)) < 1.0 and bool((found.diff() >= 0).all())


def test_each_clip_has_its_own_factor() -> None:
    energies = torch.randn(3, 4, BINS, generator=torch.Generator().manual_seed(1))
    factors = torch.tensor([0.9, 1.0, 1.15])
    together = warped(energies, factors)
    for row in range(3):
        assert torch.equal(warped(energies[row : row + 1], factors[row : row + 1])[0], together[row])
