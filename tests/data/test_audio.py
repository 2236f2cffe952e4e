"""Sound files become 16 kHz mono whatever they were, and what is wrong with one is told by name."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tunelet.base.errors import DataError
from tunelet.data.audio import RATE, decode_audio, read_audio

FORMATS = (("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"))


def tone(rate: int, seconds: float = 0.5, hertz: float = 440.0, channels: int = 1) -> NDArray[np.float64]:
    """(frames, channels): a tone that is louder in the first channels."""
    wave = np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)
    return np.stack([0.5 * wave / (channel + 1) for channel in range(channels)], axis=1)


def encoded(samples: NDArray[np.float64], rate: int, kind: str = "WAV", subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def message(data: bytes, **options: float) -> str:
    with pytest.raises(DataError) as caught:
        decode_audio(data, "kitchen.wav", **options)
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith("kitchen.wav: ")
    return str(caught.value)


@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_tone_comes_through_every_format(kind: str, subtype: str, rate: int, channels: int) -> None:
    sound = decode_audio(encoded(tone(rate, channels=channels), rate, kind, subtype), "tone")
    assert (sound.rate, sound.source_rate, sound.channels) == (RATE, rate, channels)
    assert sound.samples.dtype == np.float32
    assert sound.seconds == pytest.approx(0.5, abs=0.002)
    assert sound.findings() == []
    spectrum = np.abs(np.fft.rfft(sound.samples * np.hanning(len(sound.samples))))
    assert np.argmax(spectrum) / sound.seconds == pytest.approx(440, abs=4)
    mean = 0.5 if channels == 1 else 0.375
    middle = sound.samples[len(sound.samples) // 4 : -len(sound.samples) // 4]
    assert np.abs(middle).max() == pytest.approx(mean, abs=0.05)


@pytest.mark.parametrize("rate", [11025, 22050, 44100])
def test_odd_rates_are_resampled(rate: int) -> None:
    sound = decode_audio(encoded(tone(rate), rate), "tone")
    assert abs(len(sound.samples) - RATE // 2) <= 2


def test_sound_at_16_khz_is_not_touched() -> None:
    samples = np.round(tone(RATE)[:, 0] * 32767) / 32768
    sound = decode_audio(encoded(samples, RATE), "tone")
    np.testing.assert_allclose(sound.samples, samples, atol=1e-7)
    assert sound.pcm16() == np.round(sound.samples * 32767).astype("<i2").tobytes()


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    data = encoded(tone(RATE), RATE)
    (tmp_path / "a.wav").write_bytes(data)
    (tmp_path / "b").write_bytes(data)
    assert read_audio(tmp_path / "a.wav").sha256 == read_audio(tmp_path / "b").sha256
    assert decode_audio(encoded(tone(RATE, hertz=441), RATE), "c").sha256 != read_audio(tmp_path / "a.wav").sha256


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.wav: cannot be read: No such file"):
        read_audio(tmp_path / "gone.wav")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"this is a letter, not a sound" * 20, "not a sound file that can be read"),
        (encoded(np.zeros((0, 1)), RATE), "holds no sound: 0 samples"),
        (encoded(tone(RATE), RATE)[:20], "the sound breaks off: there is no sound after its header"),
    ],
    ids=["empty", "a text", "no samples", "header only"],
)
def test_what_is_no_sound_is_told(data: bytes, says: str) -> None:
    assert says in message(data)


@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
@pytest.mark.parametrize("share", [0.4, 0.7, 0.95])
def test_a_file_that_breaks_off_is_never_read_as_if_it_were_whole(kind: str, subtype: str, share: float) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, (2 * RATE, 1))
    data = encoded(noise, RATE, kind, subtype)
    said = message(data[: int(len(data) * share)])
    assert "the sound breaks off" in said or "not a sound file that can be read" in said


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(min_value=1, max_value=4000))
def test_a_wav_or_opus_cut_anywhere_is_an_error(cut: int) -> None:
    noise = np.random.default_rng(2).normal(0, 0.1, (RATE // 4, 1))
    for kind, subtype in (("WAV", "PCM_16"), ("OGG", "OPUS")):
        data = encoded(noise, RATE, kind, subtype)
        with pytest.raises(DataError, match="kitchen"):
            decode_audio(data[: max(0, len(data) - cut)], "kitchen")


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_told(wrong: float) -> None:
    samples = tone(RATE)
    samples[[3, 5]] = wrong
    assert "2 samples are not finite numbers" in message(encoded(samples, RATE, "WAV", "FLOAT"))


def test_too_long_is_told_with_both_lengths() -> None:
    assert "0.5 seconds of sound, expected at most 0.4" in message(encoded(tone(RATE), RATE), max_seconds=0.4)


def test_clipped_sound_is_a_warning() -> None:
    loud = np.clip(4 * tone(RATE), -1, 1)
    sound = decode_audio(encoded(loud, RATE), "loud.wav")
    assert [finding.severity for finding in sound.findings()] == ["warning"]
    assert "loud.wav: " in sound.findings()[0].message
    assert "% of the samples are clipped" in sound.findings()[0].message


def test_single_peaks_at_full_scale_are_no_clipping() -> None:
    samples = tone(RATE)[:, 0]
    samples[::50] = 1.0
    assert decode_audio(encoded(samples, RATE), "peaks").clipped == 0


def test_floats_beyond_one_are_cut_to_one() -> None:
    sound = decode_audio(encoded(5 * tone(RATE), RATE, "WAV", "FLOAT"), "hot")
    assert np.abs(sound.samples).max() == 1.0
    assert sound.clipped > 0


def test_silence_is_a_warning() -> None:
    sound = decode_audio(encoded(np.zeros((RATE, 1)), RATE), "quiet.wav")
    assert [finding.message for finding in sound.findings()] == ["quiet.wav: nothing but silence"]


def test_a_wav_of_unknown_length_as_a_pipe_writes_it_is_read() -> None:
    data = bytearray(encoded(tone(RATE), RATE))
    place = data.index(b"data")
    data[place + 4 : place + 8] = (0xFFFFFFFF).to_bytes(4, "little")
    assert decode_audio(bytes(data), "pipe").seconds == pytest.approx(0.5)
