"""A speech-text model that reads prompts, hears their queries, and answers with classes. Not here: the model itself.

It answers as `causal.CausalModel` does: the vectors of the sound stand in the row of a question where words would
stand, everything else is shared. Prompts whose query is text are read as text. Frozen encoders can leave their frames
on disk (`models.speech.features_cache`).

Example:
    >>> loaded = load_salmonn(files)                                                                # doctest: +SKIP
    >>> model = HearingModel(loaded.model, loaded.tokenizer, frame=SALMONN, shortest=1.0)           # doctest: +SKIP
    >>> model.answer(questions)[0].labels                                                           # doctest: +SKIP
    ('statement_open',)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tunelet.base.errors import DataError, Problem
from tunelet.data.understanding.asked import Asked
from tunelet.data.understanding.task import UnderstandingExample
from tunelet.models.evaluating import evaluating
from tunelet.models.in_context.answering import answer_rows
from tunelet.models.in_context.causal import row_of
from tunelet.models.in_context.reading import Row, no_room
from tunelet.models.in_context.running import room_of
from tunelet.models.in_context.settings import Asking
from tunelet.models.in_context.sound import Samples, padded, read_sound, waveforms
from tunelet.models.in_context.tokens import PLAIN, Frame, PromptTokens
from tunelet.models.prompt_model import Answer
from tunelet.models.quiet import quiet_transformers
from tunelet.models.speech.features_cache import FeaturesCache
from tunelet.models.speech.language_half import lora_scaled
from tunelet.models.speech.prompts import PromptIds, SpeechTextBatch
from tunelet.models.speech.speech_text import SpeechTextModel


class HearingModel(nn.Module):
    """A `PromptModel` over a speech-text model.

    Args:
        speech_text: encoders, connector and language model.
        tokenizer: of the language model.
        asking: how `answer` asks where the call does not say; it may be replaced at any time.
        frame: what stands around a prompt: `tokens.SALMONN` for SALMONN.
        cache: where frozen encoders' frames are kept; None: sound is heard anew each time.
        shortest: seconds; shorter sound ends in silence (SALMONN's is one second).
        read: an example's samples, 16 kHz mono.

    Raises:
        BaseModelError: the language model cannot be run over a tree of tokens, or the tokenizer has no end of sequence.
    """

    hears = True

    def __init__(
        self,
        speech_text: SpeechTextModel,
        tokenizer: Any,
        *,
        asking: Asking | None = None,
        frame: Frame = PLAIN,
        cache: FeaturesCache | None = None,
        shortest: float = 0.0,
        read: Callable[[UnderstandingExample], Samples] = read_sound,
    ) -> None:
        super().__init__()
        self.speech_text, self.tokenizer = speech_text, tokenizer
        self.asking = asking or Asking()
        self.tokens = PromptTokens(tokenizer, frame)
        self.cache, self.shortest = cache, shortest
        self._read = read
        self.room = room_of(speech_text.language)

    @property
    def language(self) -> Any:
        """The language model, plain or with PEFT's adapter."""
        return self.speech_text.language

    def count(self, text: str) -> int:
        """Tokens of a prompt with everything around it; speech is not counted, so `reserve` places for it."""
        return self.tokens.count(text)

    def encode(self, questions: Sequence[Asked]) -> dict[str, Any]:
        """Prompts with their answers, where these are known, and their sound.

        Returns:
            ``prompts``: `PromptIds`; ``waveforms`` (B', T) and ``lengths`` (B',) of the B' that speak, or ``features``
            where there is a cache; ``attention_mask`` (B, T) of the text's tokens: places of speech are not known yet.

        Raises:
            DataError: a prompt is longer than the room even without its speech, or sound cannot be read; all are told.
        """
        rows = self._rows(questions)
        prompts = tuple(self._ids(row) for row in rows)
        counts = [len(ids.before) + len(ids.after) + len(ids.answer) for ids in prompts]
        if self.room is not None:
            room = self.room
            problems = [no_room(row, n, room) for row, n in zip(rows, counts, strict=True) if n > room]
            if problems:
                raise DataError(problems)
        heard = self._heard([row.question for row in rows if row.after is not None])
        width = torch.arange(max(counts, default=0))
        mask = (width[None] < torch.tensor(counts)[:, None]).long()
        return {"prompts": prompts, "attention_mask": mask, **heard}

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """Mean of -log P over the tokens of the answers of a batch, with gradients to all that trains.

        Raises:
            DataError: a question has no known answer, a prompt is longer than the room, or sound cannot be heard.
        """
        return self.speech_text(_batch(batch["prompts"], batch)).loss  # type: ignore[no-any-return]

    def answer(self, questions: Sequence[Asked], asking: Asking | None = None) -> list[Answer]:
        """Answers, in order; see `CausalModel.answer`.

        A query that says nothing, for calibration, is one without anything between the marks of speech.

        Raises:
            DataError: a prompt leaves no room for an answer, or sound cannot be read or heard.
            InputError: LoRA is to be scaled, and there is none.
        """
        how = asking or self.asking
        rows = self._rows(questions, nothing=how.calibrated)
        if not rows:
            return []
        dtype = None if self.speech_text.autocast == "off" else torch.bfloat16
        with evaluating(self.speech_text), lora_scaled(self.language, how.lora_scale), quiet_transformers():
            return answer_rows(self.language, rows, how, spell=self.tokens.text, hear=self._hear, autocast=dtype)

    def _rows(self, questions: Sequence[Asked], *, nothing: bool = False) -> list[Row]:
        return [row_of(self.tokens, question, nothing=nothing) for question in questions]

    def _ids(self, row: Row) -> PromptIds:
        answer = () if row.question.prompt.target is None else self.tokens.target(row.question)
        return PromptIds((*row.prefix, *row.before), row.after or (), answer, row.after is not None)

    def _hear(self, questions: Sequence[Asked]) -> list[Tensor]:
        with self.speech_text.precision():
            return self.speech_text.speech(_batch((), self._heard(questions)))

    def _heard(self, questions: Sequence[Asked]) -> dict[str, Any]:
        """What is heard of the questions: frames from the cache, or samples."""
        if not questions:
            return {}
        problems: list[Problem] = []
        clips = []
        for question in questions:
            try:
                clips.append(self._read(question.query))
            except DataError as error:
                problems += error.problems
        if problems:
            raise DataError(problems)
        clips = padded(clips, self.shortest)
        if self.cache is not None:
            with self.speech_text.precision():
                return {"features": self.cache.encode(clips)[0]}
        return dict(zip(("waveforms", "lengths"), waveforms(clips), strict=True))


def _batch(prompts: tuple[PromptIds, ...], heard: dict[str, Any]) -> SpeechTextBatch:
    return SpeechTextBatch(prompts, heard.get("waveforms"), heard.get("lengths"), heard.get("features"))
