"""Audio language models of transformers (Qwen2-Audio and the like), asked through their own processor.

A thin adapter: the processor makes text and sound to what the model takes, the answer's tokens are put behind it. To be
asked, a prompt is read once with its sound (`batch_rows` at a time), then the tree of the possible answers behind it,
from the keys and values (`answering`). Free answers come from `generate`. Not here: LoRA (put it on the model), a cache
of frames.

Example:
    >>> processor = AutoProcessor.from_pretrained(folder)                                           # doctest: +SKIP
    >>> model = ProcessorModel(Qwen2AudioForConditionalGeneration.from_pretrained(folder), processor)   # doctest: +SKIP
    >>> model.answer(questions)[0].labels                                                           # doctest: +SKIP
    ('positive',)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.cache_utils import DynamicCache

from tunelet.base.errors import BaseModelError, DataError, Problem
from tunelet.data.audio import RATE
from tunelet.data.understanding.asked import Asked
from tunelet.data.understanding.prompt import SPEECH_MARKER
from tunelet.data.understanding.task import UnderstandingExample
from tunelet.models.bases import usable_positions
from tunelet.models.evaluating import evaluating
from tunelet.models.in_context.answering import CHATTER, constrained_answers, free_answer
from tunelet.models.in_context.reading import Reader, Row, no_room
from tunelet.models.in_context.running import Running, room_of
from tunelet.models.in_context.settings import Asking
from tunelet.models.in_context.sound import Samples, read_sound
from tunelet.models.in_context.tokens import NOTHING, SPARE, Frame, Ids, PromptTokens
from tunelet.models.prompt_model import Answer
from tunelet.models.quiet import quiet_transformers
from tunelet.models.scoring.scorer import device_of
from tunelet.models.speech.language_half import lora_scaled
from tunelet.models.speech.speech_text import Autocast
from tunelet.models.vocabulary import backbone_of, whole_model

_IGNORED = -100
#: An answer in a chat begins a line.
_CHAT = Frame("", "assistant\n", "")


class ProcessorModel(nn.Module):
    """A `PromptModel` over an audio language model.

    Args:
        model: its ``forward`` takes what the processor gives; plain or with PEFT's adapter.
        processor: of transformers, with ``tokenizer`` and ``audio_token``; called with ``text`` and ``audio``.
        asking: how `answer` asks where the call does not say; it may be replaced at any time.
        chat: ask in the processor's chat template, as models that were tuned for it want.
        batch_rows: prompts in a pass.
        read: an example's samples, 16 kHz mono.
        autocast: "bf16": everything computes under autocast; weights stay as they are.

    Raises:
        BaseModelError: the processor has no tokenizer or no token for sound, or hears another rate than 16 kHz; the
            model cannot be run over a tree of tokens, or counts positions in several ways (M-RoPE).
    """

    hears = True

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        asking: Asking | None = None,
        chat: bool = False,
        batch_rows: int = 16,
        read: Callable[[UnderstandingExample], Samples] = read_sound,
        autocast: Autocast = "off",
    ) -> None:
        super().__init__()
        lost = [name for name in ("tokenizer", "audio_token", "feature_extractor") if not hasattr(processor, name)]
        if lost:
            raise BaseModelError(Problem(f"{type(processor).__name__} has no {', '.join(lost)}"))
        rate = getattr(processor.feature_extractor, "sampling_rate", RATE)
        if rate != RATE:
            raise BaseModelError(Problem(f"the processor hears {rate} samples a second, expected {RATE}"))
        self.model, self.processor = model, processor
        self.asking, self.chat, self.batch_rows = asking or Asking(), chat, batch_rows
        self._read = read
        self.autocast: Autocast = autocast
        self.tokens = PromptTokens(processor.tokenizer, _CHAT if chat else Frame())
        if chat:
            self.tokens.end = self._end_of_turn()
        # what a chat puts around a prompt; the end and the spare places are counted with the prompt
        empty = self.tokens.count(".") - 1 - SPARE
        self._around = max(0, self._inputs(".", "")["input_ids"].shape[1] - empty) if chat else 0
        text = whole_model(model).config.get_text_config()
        if "mrope_section" in (getattr(text, "rope_parameters", None) or {}):
            what = f"{type(whole_model(model)).__name__} counts positions in several ways at once (M-RoPE)"
            raise BaseModelError(Problem(what, hint="take a model whose tokens have one position each"))
        room_of(model)  # it can be told positions, and keeps keys and values
        self.room = usable_positions(text)

    @property
    def language(self) -> Any:
        """The whole model: adapters go on it."""
        return self.model

    def count(self, text: str) -> int:
        """Tokens of a prompt with what a chat puts around it; speech is not counted."""
        return self.tokens.count(text) + self._around

    def places(self, query: UnderstandingExample) -> int:
        """Tokens that the sound of an example takes in a prompt.

        Raises:
            DataError: it has none, or it cannot be read.
        """
        spoken, silent = self._inputs(".", "", self._read(query)), self._inputs(".", "")
        return int(spoken["input_ids"].shape[1] - silent["input_ids"].shape[1])

    def chance(self, text: str, samples: Samples | None = None) -> float:
        """Mean log P of the tokens of a text but the first, behind a sound if there is one; in nats, in no chat."""
        ids = self.processor.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        before = "" if samples is None else self._mark()
        sound = {} if samples is None else {"audio": [samples], "sampling_rate": RATE}
        inputs = dict(self.processor(text=[before + text], return_tensors="pt", **sound))
        with evaluating(self.model):
            chances = self._logits(inputs)[0, -ids.shape[1] : -1].float().log_softmax(-1)
        said = inputs["input_ids"][0, 1 - ids.shape[1] :].to(chances.device)
        return float(chances.gather(1, said[:, None]).double().mean())

    def encode(self, questions: Sequence[Asked]) -> dict[str, Any]:
        """What the model takes for prompts and their answers, and ``labels`` (B, T), -100 but at the answers' tokens.

        Raises:
            DataError: a prompt with its sound is longer than the room, or sound cannot be read.
        """
        rows = [self._prompt(question) for question in questions]
        answers = [() if q.prompt.target is None else self.tokens.target(q) for q in questions]
        return self._batch(rows, answers)

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """Mean of -log P over the tokens of the answers of a batch.

        Raises:
            DataError: a question has no known answer.
        """
        labels = batch["labels"].to(device_of(self.model))
        unanswered = (~(labels != _IGNORED).any(dim=1)).nonzero()[:, 0].tolist()
        if unanswered:
            raise DataError([Problem("has no known answer", f"question {row} of the batch") for row in unanswered])
        logits = self._logits(batch)[:, :-1].float()
        return functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=_IGNORED)

    def answer(self, questions: Sequence[Asked], asking: Asking | None = None) -> list[Answer]:
        """Answers, in order; see `CausalModel.answer`.

        Raises:
            DataError: a prompt with its sound is longer than the room, or sound cannot be read.
            InputError: LoRA is to be scaled, and there is none.
        """
        how = asking or self.asking
        size = max(1, self.batch_rows // 2) if how.calibrated else self.batch_rows
        with evaluating(self.model), lora_scaled(self.model, how.lora_scale), quiet_transformers():
            if not how.constrained:
                return [self._free(question, how) for question in questions]
            parts = [questions[start : start + size] for start in range(0, len(questions), size)]
            return [answer for part in parts for answer in self._constrained(part, how)]

    def _constrained(self, questions: Sequence[Asked], how: Asking) -> list[Answer]:
        prompts = [self._prompt(question) for question in questions]
        rows = [
            Row(question, (), _ids(prompt), None, self.tokens.answers(question.task, question.prompt.names))
            for question, prompt in zip(questions, prompts, strict=True)
        ]
        if self.room is not None:
            problems = [
                no_room(row, row.length, self.room) for row in rows if row.length + row.tokens.longest_name > self.room
            ]
            if problems:
                raise DataError(problems)
        prompts += [self._prompt(question, nothing=True) for question in questions] if how.calibrated else []
        reader = Reader(self.model, room=self.room, autocast=None if self.autocast == "off" else torch.bfloat16)
        return constrained_answers(
            reader, self._read_on(prompts), [reader.embedded(_ids(p)[-1:]) for p in prompts], rows
        )

    def _read_on(self, prompts: Sequence[dict[str, Any]]) -> Running:
        """The prompts with their sound, all but their last token: behind that the answers are read."""
        heads = [{**prompt, "input_ids": prompt["input_ids"][:, :-1]} for prompt in prompts]
        inputs = self._on_device({k: v for k, v in self._batch(heads, [()] * len(heads)).items() if k != "labels"})
        cache = DynamicCache()
        with self._computing():
            backbone_of(self.model)(**inputs, past_key_values=cache, use_cache=True)
        read = inputs["attention_mask"].bool()
        dtype = next(self.model.parameters()).dtype if self.autocast == "off" else torch.bfloat16
        return Running(self.model, cache, read, read.sum(1), dtype)

    def _free(self, question: Asked, how: Asking) -> Answer:
        tokens = self.tokens.answers(question.task, question.prompt.names)
        inputs = self._on_device(self._prompt(question))
        end = inputs["input_ids"].shape[1]
        with self._computing():
            made = self.model.generate(
                **inputs,
                max_new_tokens=tokens.longest + CHATTER,
                do_sample=False,
                num_beams=1,
                eos_token_id=tokens.end,
                pad_token_id=tokens.end,
            )
        ids = made[0, end:].tolist()
        ids = ids[: ids.index(tokens.end)] if tokens.end in ids else ids
        return free_answer(question, self.tokens.text(question, ids), how)

    def _logits(self, batch: dict[str, Any]) -> Tensor:
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        with self._computing():
            logits: Tensor = self.model(**self._on_device(inputs), use_cache=False).logits
        return logits

    def _computing(self) -> AbstractContextManager[Any]:
        if self.autocast == "off":
            return nullcontext()
        return torch.autocast(device_of(self.model).type, dtype=torch.bfloat16)

    def _on_device(self, inputs: dict[str, Any]) -> dict[str, Any]:
        first = next(self.model.parameters())
        return {
            key: value.to(first.device, first.dtype if value.is_floating_point() else None)
            for key, value in inputs.items()
        }

    def _prompt(self, question: Asked, *, nothing: bool = False) -> dict[str, Any]:
        """What the processor makes of one question: tensors with one row."""
        text, speaks = question.prompt.text, question.prompt.speech is not None and not nothing
        if nothing and question.prompt.speech is None:
            query = next(part for part in question.prompt.parts if part.kind == "query")
            text = f"{text[: query.start]}Text: {NOTHING}\n{text[query.end :]}"
        before, _, after = text.partition(SPEECH_MARKER) if question.prompt.speech is not None else (text, "", "")
        return self._inputs(before, after, self._read(question.query) if speaks else None)

    def _inputs(self, before: str, after: str, samples: Samples | None = None) -> dict[str, Any]:
        """What the processor makes of a text and the sound between its halves."""
        if self.chat:
            parts: list[dict[str, str]] = [{"type": "text", "text": before}]
            parts += [] if samples is None else [{"type": "audio", "audio_url": ""}]
            parts += [{"type": "text", "text": after}] if after else []
            turns = [{"role": "user", "content": parts}]
            whole = self.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        else:
            whole = before + ("" if samples is None else self._mark()) + after
        sound = {} if samples is None else {"audio": [samples], "sampling_rate": RATE}
        return dict(self.processor(text=[whole], return_tensors="pt", **sound))

    def _end_of_turn(self) -> int:
        """The token that ends an answer in a chat: the special one behind it, or else the tokenizer's end."""
        turns = [{"role": role, "content": [{"type": "text", "text": "N/A"}]} for role in ("user", "assistant")]
        text = self.processor.apply_chat_template(turns, add_generation_prompt=False, tokenize=False)
        tokenizer = self.processor.tokenizer
        behind = tokenizer(text.rpartition("N/A")[2], add_special_tokens=False)["input_ids"][:1]
        return int(behind[0]) if behind and behind[0] in tokenizer.all_special_ids else self.tokens.end

    def _mark(self) -> str:
        marks = (getattr(self.processor, name, "") for name in ("audio_bos_token", "audio_token", "audio_eos_token"))
        return "".join(mark or "" for mark in marks)

    def _batch(self, prompts: Sequence[dict[str, Any]], answers: Sequence[Ids]) -> dict[str, Any]:
        """Prompts with answers behind them, padded on the right."""
        texts = [
            torch.cat([prompt["input_ids"][0], torch.tensor(answer, dtype=torch.int64)])
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        long = max(len(text) for text in texts)
        if self.room is not None and long > self.room:
            what = f"a prompt has {long} places with its sound and answer, the model has {self.room}"
            raise DataError(Problem(what, hint="fewer demonstrations or shorter sound"))
        ids = nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=self.tokens.end)
        counts = torch.tensor([len(text) for text in texts])
        places = torch.arange(ids.shape[1])[None]
        starts = counts - torch.tensor([len(answer) for answer in answers])
        asked = (places >= starts[:, None]) & (places < counts[:, None])
        found = {
            "input_ids": ids,
            "attention_mask": (places < counts[:, None]).long(),
            "labels": torch.where(asked, ids, _IGNORED),
        }
        for key in {key for prompt in prompts for key in prompt} - {"input_ids", "attention_mask"}:
            found[key] = torch.cat([prompt[key] for prompt in prompts if key in prompt])
        return found


def _ids(prompt: dict[str, Any]) -> Ids:
    return tuple(prompt["input_ids"][0].tolist())
