"""Speaking through espeak-ng: manners are a function of the text, voices are checked, samples are the same again."""

from __future__ import annotations

import numpy as np
import pytest

from tunelet.base.errors import DataError, InputError
from tunelet.data import speaking
from tunelet.data.noise import noise, with_noise
from tunelet.data.speaking import (
    TEST_VOICES,
    TRAIN_VOICES,
    VALIDATION_VOICES,
    Espeak,
    Manner,
    MannerSettings,
    drawn_manner,
)

needs_espeak = pytest.mark.skipif(not speaking.installed(), reason="espeak-ng is not installed")


def test_no_voice_and_no_variant_is_on_two_sides() -> None:
    sides = [TRAIN_VOICES, VALIDATION_VOICES, TEST_VOICES]
    names = [{voice.partition("+")[2] or voice for voice in side} for side in sides]
    assert all(len({*side}) == len(side) for side in sides)
    assert not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])


def test_a_manner_depends_on_text_seed_and_voices_alone() -> None:
    one = drawn_manner("good morning", TEST_VOICES, 1)
    assert one == drawn_manner("good morning", TEST_VOICES, 1)
    drawn = {drawn_manner(f"text {n}", TEST_VOICES, 1) for n in range(60)}
    assert len(drawn) > 50 and {manner.voice for manner in drawn} == {*TEST_VOICES}
    ranges = MannerSettings(rate=(150, 150), pitch=(10, 12), gap=(1, 1), snr_db=(20.0, 21.0))
    made = [drawn_manner(f"text {n}", ["en-us"], 1, ranges) for n in range(20)]
    assert all(m.rate == 150 and 10 <= m.pitch <= 12 and m.gap == 1 and 20 <= m.snr_db <= 21 for m in made)


def test_a_missing_program_says_how_to_install_it() -> None:
    with pytest.raises(InputError, match="apt install espeak-ng"):
        Espeak("no-such-program-anywhere")


@pytest.mark.parametrize("kind", ["white", "pink"])
def test_noise_has_the_power_that_is_asked_for(kind: speaking.NoiseKind) -> None:
    samples = np.sin(np.arange(8000) / 7).astype(np.float32)
    added = with_noise(samples, kind, 12.0, np.random.default_rng(1)) - samples
    assert 10 * np.log10(np.mean(samples**2) / np.mean(added**2)) == pytest.approx(12.0, abs=0.01)
    spectrum = np.abs(np.fft.rfft(noise(kind, 1 << 14, np.random.default_rng(2)))) ** 2
    low, high = spectrum[1:400].mean(), spectrum[-400:].mean()
    assert (low > 5 * high) == (kind == "pink")
    assert not with_noise(np.zeros(9, dtype=np.float32), kind, 3.0, np.random.default_rng(1)).any()


@needs_espeak
def test_the_same_manner_gives_the_same_samples_and_another_voice_others() -> None:
    espeak = Espeak()
    espeak.check([*TRAIN_VOICES, *VALIDATION_VOICES, *TEST_VOICES])
    first, again, other = (espeak.say("good morning", Manner(v)) for v in ("en-us+f1", "en-us+f1", "en-us+m3"))
    assert np.array_equal(first, again) and not np.array_equal(first[:9000], other[:9000])
    assert first.dtype == np.float32 and 0.4 < len(first) / 16_000 < 3 and np.abs(first).max() == pytest.approx(0.7)
    assert len(espeak.say("good morning", Manner("en-us+f1", rate=100))) > 1.3 * len(first)


@needs_espeak
@pytest.mark.parametrize(("voice", "told"), [("en-us+nope", r"'\+nope' is unknown"), ("xx", "no voice 'xx'")])
def test_an_unknown_voice_is_refused_by_name(voice: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Espeak().check(["en-us", voice])


@needs_espeak
def test_a_variant_that_an_accent_does_not_take_is_refused() -> None:
    """espeak-ng 1.51 says ``en-gb+zac`` as ``en-gb``, so that a voice of one split would be that of another."""
    espeak = Espeak()
    assert espeak.say("good morning", Manner("en+zac")).shape != espeak.say("good morning", Manner("en-gb")).shape
    espeak._sound = lambda voice: b"the same"  # type: ignore[method-assign]
    with pytest.raises(InputError, match=r"says 'en-gb\+zac' as it says 'en-gb'.*'en' takes them"):
        espeak.check(["en-gb", "en-gb+zac"])


@needs_espeak
def test_all_voices_sound_different() -> None:
    espeak = Espeak()
    voices = [*TRAIN_VOICES, *VALIDATION_VOICES, *TEST_VOICES]
    assert len({espeak.say("morning", Manner(voice)).tobytes() for voice in voices}) == len(voices)


@needs_espeak
@pytest.mark.parametrize("text", ["", "five 5", "Upper", "-v", "a\nb"])
def test_a_text_that_is_not_in_its_spoken_form_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"cannot be spoken|empty text"):
        Espeak().say(text, Manner("en-us"))


@needs_espeak
def test_a_text_without_sound_is_told() -> None:
    with pytest.raises(DataError, match="gave no sound"):
        Espeak().say("'", Manner("en-us"))
