"""The small encoder: its size, its CTC head, and that it learns."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from toy_speech import sounds
from tunelet.base.errors import DataError
from tunelet.models import mask_pool
from tunelet.models.speech.protocol import SpeechFeatures
from tunelet.models.speech.small import CHARACTERS, Layer, SmallSettings, SmallSpeechEncoder, build_small

TINY = SmallSettings(width=16, layers=1, heads=2, mels=20, kernel=5, dropout=0.0)


def test_the_default_has_two_to_four_million_parameters() -> None:
    with torch.device("meta"):
        encoder = SmallSpeechEncoder(SmallSettings())
    assert 2e6 < sum(p.numel() for p in encoder.parameters()) < 4e6


def test_the_seed_decides_the_weights_and_nothing_else_is_drawn() -> None:
    before = torch.get_rng_state()
    first, again, other = (build_small(TINY, seed=s) for s in (1, 1, 2))
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert torch.get_rng_state().equal(before)


def test_loudness_does_not_matter() -> None:
    encoder = build_small(TINY, seed=1).eval()
    waveforms, lengths = sounds(0.5)
    first, second = encoder(waveforms, lengths), encoder(0.3 * waveforms, lengths)
    torch.testing.assert_close(first.features, second.features, rtol=1e-3, atol=1e-3)


def test_the_best_symbols_make_the_text() -> None:
    encoder = build_small(TINY, seed=1)
    encoder.characters = torch.nn.Identity()  # type: ignore[assignment]
    symbols = [0, 3, 3, 0, 3, 1, 4, 4, 9]
    scores = torch.nn.functional.one_hot(torch.tensor([symbols]), len(CHARACTERS) + 1).float()
    heard = SpeechFeatures(scores, torch.tensor([8]), 25.0)
    assert encoder.transcribe(heard) == ("aa b",)


@pytest.mark.parametrize(
    ("text", "told"), [("", "empty"), ("it's 5", "holds '5'"), ("Yes", "holds 'Y'"), ("a" * 20, "needs 39 frames")]
)
def test_texts_that_cannot_be_said(text: str, told: str) -> None:
    encoder = build_small(TINY, seed=1)
    with pytest.raises(DataError, match=told):
        encoder.ctc_loss(encoder(*sounds(0.5)), [text])


def test_it_learns_two_sounds() -> None:
    time = torch.arange(8000) / 16_000
    waveforms = torch.stack([torch.sin(2 * torch.pi * f * time) * torch.cos(20 * time) for f in (300.0, 2500.0)])
    lengths, texts = torch.tensor([8000, 8000]), ["ab", "c a"]
    encoder = build_small(TINY, seed=1).train()
    optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = encoder.ctc_loss(encoder(waveforms, lengths), texts)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    with torch.no_grad():
        assert encoder.eval().transcribe(encoder(waveforms, lengths)) == ("ab", "c a")


def test_with_masks_that_drop_nothing_training_computes_what_evaluation_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention is written out for the masks, torch's own otherwise."""
    monkeypatch.setattr(mask_pool, "_standing_pool", lambda p, dtype: torch.ones(1 << 16, dtype=dtype))
    encoder = build_small(dataclasses.replace(TINY, layers=2, dropout=0.5), seed=1)
    waveforms, lengths = sounds(0.5, 0.9)
    evaluated, trained = encoder.eval()(waveforms, lengths), encoder.train()(waveforms, lengths)
    torch.testing.assert_close(trained.features, evaluated.features, rtol=1e-5, atol=1e-5)


def test_dropout_is_drawn_from_torchs_generator() -> None:
    encoder = build_small(dataclasses.replace(TINY, dropout=0.5), seed=1).train()

    def features(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return encoder(*sounds(0.5)).features

    assert features(1).equal(features(1))
    assert not features(1).equal(features(2))


def test_the_convolution_of_a_layer_is_conv1ds() -> None:
    layer = Layer(TINY).eval()
    hidden = torch.randn(2, 9, TINY.width)
    gated = torch.nn.functional.glu(layer.gate(hidden), dim=-1)
    local = layer.local(gated.transpose(1, 2)).transpose(1, 2)
    expected = layer.mixed(torch.nn.functional.silu(layer.local_norm(local)))
    torch.testing.assert_close(layer._convolution(hidden, None), expected, rtol=1e-5, atol=1e-6)
