"""An audio language model of transformers behind its processor: a tiny Qwen2-Audio of random weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from toy_in_context import asked
from toy_processor import MARKS, toy_qwen
from toy_understanding import toy_task
from tunelet.base.errors import BaseModelError, DataError
from tunelet.data.understanding.asked import Asked
from tunelet.data.understanding.task import UnderstandingExample
from tunelet.models.in_context.processor import ProcessorModel
from tunelet.models.in_context.settings import Asking
from tunelet.models.prompt_model import PromptModel
from tunelet.models.speech.language_half import add_lora
from tunelet.models.speech.protocol import drawing

TASK = toy_task("sun", "sunny", "snow")
SEVERAL = toy_task("a", "b", "ab", multi_label=True)


def noise(example: UnderstandingExample) -> Any:
    return (0.1 * np.random.default_rng(len(example.text)).standard_normal(9000)).astype(np.float32)


def made(*, chat: bool = False, room: int = 700) -> ProcessorModel:
    model, processor = toy_qwen(room)
    return ProcessorModel(model, processor, chat=chat, batch_rows=2, read=noise)


def plainly(model: ProcessorModel, question: Asked, text: str, answer: Sequence[int]) -> float:
    """log P of an answer behind a text with the processor's own marks, by one pass."""
    sound = {"audio": [noise(question.query)], "sampling_rate": 16_000} if MARKS[0] in text else {}
    inputs = model.processor(text=[text], return_tensors="pt", **sound)
    start = inputs["input_ids"].shape[1]
    ids = torch.cat([inputs["input_ids"], torch.tensor([list(answer)])], dim=1)
    inputs["attention_mask"] = torch.ones_like(ids)
    with torch.no_grad():
        logits = model.model(**{**inputs, "input_ids": ids}).logits[0].log_softmax(-1)
    return float(logits[torch.arange(start - 1, ids.shape[1] - 1), torch.tensor(list(answer))].double().sum())


def text_of(question: Asked, *, chat: bool = False) -> str:
    mark = "<|audio_bos|><|AUDIO|><|audio_eos|>"
    text = question.prompt.text.replace("<SpeechHere>", f"Audio 1: {mark}\n" if chat else mark)
    system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    return f"{system}<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n" if chat else text


@pytest.mark.parametrize("chat", [False, True])
def test_scores_are_those_of_plain_passes(chat: bool) -> None:
    model = made(chat=chat)
    asks = [asked(TASK, "so", "sun", speech=True, shown=1), asked(TASK, "in words", "snow")]
    for question, answer in zip(asks, model.answer(asks), strict=True):
        tokens = model.tokens.answers(TASK, question.prompt.names)
        assert model.processor.tokenizer.decode(tokens.names[0]) == ("sun" if chat else " sun")
        assert model.processor.tokenizer.decode([tokens.end]) == ("<|im_end|>" if chat else "</s>")
        wanted = [plainly(model, question, text_of(question, chat=chat), tokens.ids([c])) for c in range(3)]
        np.testing.assert_allclose(answer.scores, wanted, atol=1e-4)
    (both,) = model.answer(asks[1:], Asking(calibrated=True))
    prior = text_of(asks[1], chat=chat).replace("Text: in words", "Text: N/A")
    wanted = [w - plainly(model, asks[1], prior, tokens.ids([c])) for c, w in enumerate(wanted)]
    np.testing.assert_allclose(both.scores, wanted, atol=1e-4)


def test_a_sound_is_read_once_and_company_changes_no_answer() -> None:
    model = made()
    asks = [asked(TASK, "so", "sun", speech=True, shown=1), asked(TASK, "in words"), asked(SEVERAL, "ab", speech=True)]
    heard: list[int] = []
    tower = model.model.model.audio_tower
    hook = tower.register_forward_pre_hook(lambda _, args, kwargs: heard.append(len(args[0])), with_kwargs=True)
    together = model.answer(asks, Asking(calibrated=True))
    hook.remove()
    assert sum(heard) == 2
    for question, answer in zip(asks, together, strict=True):
        (alone,) = model.answer([question], Asking(calibrated=True))
        assert answer.labels == alone.labels
        np.testing.assert_allclose(answer.scores, alone.scores, atol=1e-5)


def test_positions_of_several_kinds_are_refused() -> None:
    model, processor = toy_qwen()
    model.config.text_config.rope_parameters = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
    with pytest.raises(BaseModelError, match=r"Qwen2Audio.* counts positions in several ways at once \(M-RoPE\)"):
        ProcessorModel(model, processor)


def test_several_labels_in_order_and_free_answers() -> None:
    model = made()
    asks = [asked(SEVERAL, text, "a", "ab", speech=True) for text in ("x", "yy")]
    for question, answer in zip(asks, model.answer(asks), strict=True):
        assert answer.labels == SEVERAL.canonical(set(answer.labels or ()))
        assert answer.labels
        tokens = model.tokens.answers(SEVERAL, question.prompt.names)
        said = tokens.ids([SEVERAL.positions[name] for name in answer.labels])
        # the first name and what follows it beat the other ways at each token, so no way of one class is likelier
        ways = [[*tokens.names[c], end] for c in range(3) for end in (tokens.end, *tokens.comma)[: 2 - (c == 2)]]
        first = [plainly(model, question, text_of(question), way[:1]) for way in ways]
        assert plainly(model, question, text_of(question), said[:1]) == pytest.approx(max(first), abs=1e-4)
    for answer in model.answer(asks, Asking(answers="free-lenient")):
        assert isinstance(answer.text, str)
        assert answer.scores is None


def test_the_loss_is_on_the_answers_and_trains_an_adapter() -> None:
    model = made()
    asks = [asked(TASK, "so", "sun", speech=True), asked(TASK, "w", "sunny"), asked(TASK, "ab", "snow", speech=True)]
    answers = [model.tokens.target(ask) for ask in asks]
    wanted = -sum(plainly(model, ask, text_of(ask), said) for ask, said in zip(asks, answers, strict=True))
    loss = model.loss(model.encode(asks))
    assert loss.item() == pytest.approx(wanted / sum(map(len, answers)), abs=1e-4)
    base = model.answer(asks[:1])[0].scores
    model.model = add_lora(model.model, dropout=0.0)
    with drawing(2, "update"):
        for name, parameter in model.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, 0.0, 0.3)
    model.loss(model.encode(asks)).backward()
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())
    scaled = model.answer(asks[:1], Asking(lora_scale=0.0))[0].scores
    np.testing.assert_allclose(scaled, base, atol=1e-5)
    assert isinstance(model, PromptModel)


@pytest.mark.parametrize("chat", [False, True])
def test_what_is_counted_is_what_a_prompt_takes(chat: bool) -> None:
    model = made(chat=chat)
    for question in (asked(TASK, "so", "sun", speech=True, shown=1), asked(TASK, "in words", "snow")):
        speaks = question.prompt.speech is not None
        taken = model.encode([question])["input_ids"].shape[1]
        counted = model.count(question.prompt.completed) + (model.places(question.query) if speaks else 0)
        assert taken <= counted <= taken + 12


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(DataError, match=r"'sky': the prompt has \d+ places, .* the language model has 100"):
        made(room=100).answer([asked(TASK, "so", speech=True)])
    with pytest.raises(DataError, match="question 0 of the batch: has no known answer"):
        made().loss(made().encode([asked(TASK, "so", speech=True)]))
    with pytest.raises(BaseModelError, match="has no tokenizer, audio_token"):
        ProcessorModel(made().model, WhisperFeatureExtractor())
