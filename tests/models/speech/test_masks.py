"""Masks of training: they cover what they say and no more, and are drawn from the stream alone."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelet.models.speech.masks import bands, masked, stretches


@given(st.integers(0, 3), st.integers(1, 30), st.integers(1, 40), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_stretches_lie_in_their_clip_and_bands_among_the_bins(count: int, width: int, frames: int, seed: int) -> None:
    room = np.array([[frames], [2 * frames]])
    widths = np.minimum(width, room).repeat(count, 1)
    made = [
        (stretches(widths, room, stream), bands(2, count, min(width, 8), stream))
        for stream in (np.random.default_rng(seed), np.random.default_rng(seed))
    ]
    times, mels = made[0]
    assert torch.equal(times, made[1][0]) and torch.equal(mels, made[1][1])
    assert bool((times[..., 1] <= torch.from_numpy(room)).all()) and bool((times[..., 0] >= 0).all())
    whole = torch.ones(2, 2 * frames, 8)
    kept = masked(whole, times, mels)
    gone = (kept == 0).all(2).sum(1)
    if bool(((kept == 0).all(1).sum(1) < 8).all()):
        assert bool((gone <= (times[..., 1] - times[..., 0]).sum(1)).all())
    assert bool(((kept == 0).all(1).sum(1) <= mels[..., 0].sum(1).clamp(min=0) + 8 * (gone == 2 * frames)).all())


def test_no_mask_changes_nothing() -> None:
    whole = torch.randn(2, 5, 4)
    nothing = torch.zeros(2, 0, 2, dtype=torch.int64)
    assert torch.equal(masked(whole, nothing, nothing), whole)
    wide = torch.tensor([[[1, 3]], [[0, 0]]])
    assert (masked(whole, wide, nothing) == 0).sum(dim=(1, 2)).tolist() == [2 * 4, 0]
