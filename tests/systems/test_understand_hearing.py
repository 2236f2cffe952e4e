"""The ears of a prefix model: what they give is what the model hears and what is written down."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from toy import toy_base
from toy_voices import Tones
from tunelet.data.speaking import Manner
from tunelet.data.understanding.task import UnderstandingExample
from tunelet.models.bases import load_base
from tunelet.models.prefix.model import build_prefix
from tunelet.models.settings import ModelSettings
from tunelet.models.speech.encoder_folder import LoadedEncoder, save_encoder
from tunelet.models.speech.small import SmallSettings, build_small
from tunelet.systems.understand_hearing import Ears, give_ears
from tunelet.training.events import Note


@pytest.mark.parametrize("matching", [True, False])
def test_ears_hear_and_write_and_know_the_places_of_a_sound(tmp_path: Path, matching: bool) -> None:
    base = load_base(ModelSettings(base=str(toy_base(tmp_path / "base"))))
    model = build_prefix(base, matching=matching)
    assert give_ears(model, base, None, "characters", tmp_path) is None and not model.hears
    settings = SmallSettings(width=16, layers=1, heads=2, mels=20, kernel=5)
    save_encoder(tmp_path / "ears", LoadedEncoder(build_small(settings, seed=1).eval()))
    ears = give_ears(model, base, tmp_path / "ears", "characters", tmp_path / "cache")
    assert ears is not None and model.hears
    queries = []
    for word in ("cat", "elephants"):
        soundfile.write(tmp_path / f"{word}.wav", Tones().say(word, Manner("low")), 16_000)
        queries.append(UnderstandingExample(word, word, ("x",), "test", audio=tmp_path / f"{word}.wav"))
    ears.hear(queries)
    assert [ears.places(query) for query in queries] == [len(vectors) for vectors in ears.vectors(queries)]
    written = ears.write(queries)
    tokens = [len(base.tokenizer(text, add_special_tokens=False)["input_ids"]) or 1 for text in written]
    assert tokens == [ears.places(query) for query in queries]
    assert (ears.embedder is not None) == matching


def test_long_hearing_tells_of_what_is_fresh_and_can_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunelet.systems.understand_hearing._HEARD", 1)
    base = load_base(ModelSettings(base=str(toy_base(tmp_path / "base"))))
    settings = SmallSettings(width=16, layers=1, heads=2, mels=20, kernel=5)
    save_encoder(tmp_path / "ears", LoadedEncoder(build_small(settings, seed=1).eval()))
    queries = []
    for word in ("cat", "dogs"):
        soundfile.write(tmp_path / f"{word}.wav", Tones().say(word, Manner("low")), 16_000)
        queries.append(UnderstandingExample(word, word, ("x",), "test", audio=tmp_path / f"{word}.wav"))
    told: list[object] = []
    stops: list[bool] = [False, True]

    def ears() -> Ears:
        model = build_prefix(base, matching=False)
        given = model, base, tmp_path / "ears", "characters", tmp_path / "cache", told.append, lambda: stops.pop(0)
        found = give_ears(*given)
        assert found is not None
        return found

    with pytest.raises(KeyboardInterrupt):
        ears().hear(queries)
    assert told == [Note("heard 1 of 2 clips")]
    stops += [False, False, False, False]
    # the first one is remembered on disk
    again = ears()
    again.hear(queries)
    assert told[1:] == [Note("heard 2 of 2 clips")]
    again.hear(queries)
    assert len(told) == 2 and not stops
