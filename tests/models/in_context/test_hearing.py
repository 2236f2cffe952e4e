"""A speech-text model asked with prompts: what it hears stands where words would stand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from toy_in_context import asked, toy_rope
from toy_understanding import toy_task
from tunelet.base.errors import DataError
from tunelet.data.understanding.asked import Asked
from tunelet.data.understanding.task import UnderstandingExample
from tunelet.models.in_context.hearing import HearingModel
from tunelet.models.in_context.settings import Asking
from tunelet.models.in_context.sound import padded, read_sound
from tunelet.models.in_context.tokens import PLAIN, SALMONN, Frame
from tunelet.models.prompt_model import PromptModel
from tunelet.models.speech.connectors import StackedMLP
from tunelet.models.speech.encoders import JoinedEncoders
from tunelet.models.speech.features_cache import FeaturesCache
from tunelet.models.speech.prompts import PromptIds, SpeechTextBatch
from tunelet.models.speech.protocol import drawing
from tunelet.models.speech.small import SmallSettings, build_small
from tunelet.models.speech.speech_text import SpeechTextModel

TASK = toy_task("sun", "sunny", "snow")
SEVERAL = toy_task("a", "b", "ab", multi_label=True)


def noise(example: UnderstandingExample) -> Any:
    """Sound that depends on the text."""
    generator = np.random.default_rng(len(example.text))
    return (0.1 * generator.standard_normal(8000 + 500 * len(example.text))).astype(np.float32)


def made(frame: Frame = PLAIN, **more: Any) -> HearingModel:
    encoders = JoinedEncoders(
        [build_small(SmallSettings(width=8, layers=1, heads=2, mels=10, kernel=3, dropout=0.0), seed=1)]
    )
    encoders.requires_grad_(False)
    with drawing(1, "connector"):
        connector = StackedMLP(8, 16, stack=4, hidden=12)
    language, tokenizer = toy_rope()
    return HearingModel(SpeechTextModel(encoders, connector, language), tokenizer, frame=frame, read=noise, **more)


def questions() -> list[Asked]:
    return [
        asked(TASK, "so", "sun", speech=True, shown=1),
        asked(TASK, "a longer one", "snow", speech=True),
        asked(SEVERAL, "yes", "a", "ab", speech=True),
        asked(TASK, "in words", "sunny"),
    ]


def plainly(model: HearingModel, question: Asked, classes: Sequence[int], nothing: bool = False) -> float:
    """log P of an answer by a pass over everything, assembled by the speech-text model."""
    prompt = question.prompt
    before, after = model.tokens.sides(prompt, nothing=nothing)
    answer = model.tokens.answers(question.task, prompt.names).ids(classes)
    ids = PromptIds((*model.tokens.prefix(prompt), *before), after or (), answer, after is not None)
    clip = padded([noise(question.query)], model.shortest)[0]
    heard = (torch.from_numpy(clip)[None], torch.tensor([len(clip)])) if after is not None else ()
    model.speech_text.eval()
    with torch.no_grad():
        return -float(model.speech_text(SpeechTextBatch((ids,), *heard)).loss) * len(answer)


@pytest.mark.parametrize("frame", [PLAIN, SALMONN], ids=["plain", "salmonn"])
def test_scores_are_those_of_plain_passes_over_words_and_sound(frame: Frame) -> None:
    model = made(frame, shortest=0.6)
    asks = questions()
    for calibrated in (False, True):
        for question, answer in zip(asks, model.answer(asks, Asking(calibrated=calibrated)), strict=True):
            if question.task is SEVERAL:
                continue
            wanted = [
                plainly(model, question, [c]) - (plainly(model, question, [c], nothing=True) if calibrated else 0)
                for c in range(3)
            ]
            np.testing.assert_allclose(answer.scores, wanted, atol=1e-4)


def test_company_and_cache_change_nothing(tmp_path: Path) -> None:
    model, asks = made(), questions()
    together = model.answer(asks)
    kept = made()
    kept.cache = FeaturesCache(tmp_path, kept.speech_text.encoders)
    for found in ([model.answer([ask])[0] for ask in asks], kept.answer(asks), kept.answer(asks[::-1])[::-1]):
        assert [answer.labels for answer in found] == [answer.labels for answer in together]
        for one, other in zip(found, together, strict=True):
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
    free = Asking(answers="free-lenient")
    assert [a.text for a in model.answer(asks, free)] == [model.answer([ask], free)[0].text for ask in asks]
    assert len(list(tmp_path.iterdir())) == 3


def test_the_loss_is_that_of_the_speech_text_model_and_reaches_the_connector() -> None:
    model, asks = made(), questions()
    batch = model.encode(asks)
    loss = model.loss(batch)
    lengths = [len(model.tokens.target(ask)) for ask in asks]
    wanted = -sum(plainly(model, ask, ask.gold) for ask in asks) / sum(lengths)
    assert loss.item() == pytest.approx(wanted, abs=1e-4)
    loss.backward()
    assert model.speech_text.connector.projection.weight.grad.abs().sum() > 0
    assert isinstance(model, PromptModel)
    assert model.hears
    text = asks[0].prompt.text
    assert model.count(text) <= int(batch["attention_mask"][0].sum()) + 4


def test_speech_that_leaves_no_room_is_told() -> None:
    model, ask = made(), questions()[0]
    model.language.config.max_position_embeddings = int(model.encode([ask])["attention_mask"].sum())
    with pytest.raises(DataError, match=r"example '99' of 'sky'.*fewer demonstrations"):
        model.answer([ask])
    model.room = 10
    with pytest.raises(DataError, match="the language model has 10"):
        model.encode([ask])


def test_a_stretch_of_a_file_is_heard_and_a_wrong_one_refused(tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.linspace(-0.5, 0.5, 16_000), 16_000)
    example = UnderstandingExample("7", "x", (), audio=tmp_path / "a.wav", seconds=(0.25, 0.5))
    assert len(read_sound(example)) == 4000
    assert read_sound(example)[0] == pytest.approx(-0.25, abs=1e-3)
    with pytest.raises(DataError, match=r"lies at 0.5 to 1.5 seconds, the file has 1.00"):
        read_sound(UnderstandingExample("7", "x", (), audio=tmp_path / "a.wav", seconds=(0.5, 1.5)))
    with pytest.raises(DataError, match="has no sound"):
        read_sound(UnderstandingExample("7", "x", ()))
