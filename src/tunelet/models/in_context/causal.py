"""A causal language model that reads prompts and answers with classes. Not here: speech (`hearing`), training.

The loss is the mean cross-entropy over the tokens of the answers, their ends among them. Answers come as `Asking` says:
bound to the task and exact by default. Prefixes that several questions of one call share are read once, so give
`answer` many questions at a time; nothing is kept between calls, for weights may change.

Example:
    >>> model = CausalModel(build_causal_lm(base), base.tokenizer)                      # doctest: +SKIP
    >>> model.loss(model.encode(questions)).backward()                                  # doctest: +SKIP
    >>> model.answer(questions, Asking(answers="free-strict"))[0].text                  # doctest: +SKIP
    'positive'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tunelet.base.errors import DataError, Problem
from tunelet.data.understanding.asked import Asked
from tunelet.models.evaluating import evaluating
from tunelet.models.in_context.answering import answer_rows
from tunelet.models.in_context.reading import Row, no_room
from tunelet.models.in_context.running import room_of
from tunelet.models.in_context.settings import Asking
from tunelet.models.in_context.tokens import PLAIN, Frame, PromptTokens
from tunelet.models.prompt_model import Answer
from tunelet.models.quiet import quiet_transformers
from tunelet.models.scoring.scorer import device_of
from tunelet.models.speech.language_half import lora_scaled
from tunelet.models.speech.speech_text import Autocast
from tunelet.models.vocabulary import VocabularyHead, backbone_of, decoder_of

#: What is no label.
_IGNORED = -100


class CausalModel(nn.Module):
    """A `PromptModel` over a causal language model.

    Args:
        language: of transformers, plain or with PEFT's adapter; it may be replaced at any time.
        tokenizer: its own.
        asking: how `answer` asks where the call does not say; it may be replaced at any time.
        frame: what stands around a prompt.
        autocast: "bf16": everything computes under autocast; weights stay as they are.

    Raises:
        BaseModelError: the model cannot be run over a tree of tokens, or the tokenizer has no end of sequence.
    """

    hears = False

    def __init__(
        self,
        language: Any,
        tokenizer: Any,
        *,
        asking: Asking | None = None,
        frame: Frame = PLAIN,
        autocast: Autocast = "off",
    ) -> None:
        super().__init__()
        self.language, self.tokenizer = language, tokenizer
        self.asking = asking or Asking()
        self.tokens = PromptTokens(tokenizer, frame)
        self.autocast: Autocast = autocast
        self.room = room_of(language)

    def count(self, text: str) -> int:
        """Tokens of a prompt with everything around it."""
        return self.tokens.count(text)

    def encode(self, questions: Sequence[Asked]) -> dict[str, Any]:
        """Prompts with their answers, where these are known, padded on the right.

        Returns:
            ``input_ids``, ``attention_mask`` and ``labels`` (B, T) int64; labels are -100 but at the answers' tokens.

        Raises:
            DataError: prompts are longer than the room, or speak; all are told.
        """
        rows = self._rows(questions)
        pad = self.tokenizer.pad_token_id or 0
        sequences, labels, problems = [], [], []
        for row in rows:
            prompt = (*row.prefix, *row.before)
            answer = () if row.question.prompt.target is None else self.tokens.target(row.question)
            if self.room is not None and len(prompt) + max(len(answer), row.tokens.longest_name) > self.room:
                problems.append(no_room(row, len(prompt), self.room))
            sequences.append(torch.tensor((*prompt, *answer)))
            labels.append(torch.tensor((*[_IGNORED] * len(prompt), *answer)))
        if problems:
            raise DataError(problems)
        counts = torch.tensor([len(ids) for ids in sequences])
        ids = nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=pad)
        return {
            "input_ids": ids,
            "attention_mask": (torch.arange(ids.shape[1])[None] < counts[:, None]).long(),
            "labels": nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=_IGNORED),
        }

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """Mean of -log P over the tokens of the answers of a batch.

        Raises:
            DataError: a question has no known answer.
        """
        device = device_of(self.language)
        ids, mask, labels = (batch[name].to(device) for name in ("input_ids", "attention_mask", "labels"))
        places = labels[:, 1:] != _IGNORED
        unanswered = (~places.any(dim=1)).nonzero()[:, 0].tolist()
        if unanswered:
            raise DataError([Problem("has no known answer", f"question {row} of the batch") for row in unanswered])
        dtype = None if self.autocast == "off" else torch.bfloat16
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            hidden = backbone_of(self.language)(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            # the place before a token predicts it
            chosen = hidden[:, :-1][places]
            if dtype is None:
                chosen = chosen.to(decoder_of(self.language).weight.dtype)
            return VocabularyHead(self.language).loss(chosen, labels[:, 1:][places])

    def answer(self, questions: Sequence[Asked], asking: Asking | None = None) -> list[Answer]:
        """Answers, in order.

        A single-label question's scores are the log-probabilities of the whole names with their ends; a multi-label
        one's those that the answer begins with a name; where calibrated, less those under a query that says nothing.

        Args:
            asking: None: as the model is set.

        Raises:
            DataError: a prompt leaves no room for an answer, or speaks.
            InputError: LoRA is to be scaled, and there is none.
        """
        how = asking or self.asking
        rows = self._rows(questions, nothing=how.calibrated)
        if not rows:
            return []
        with evaluating(self.language), lora_scaled(self.language, how.lora_scale), quiet_transformers():
            return answer_rows(
                self.language,
                rows,
                how,
                spell=self.tokens.text,
                autocast=None if self.autocast == "off" else torch.bfloat16,
            )

    def _rows(self, questions: Sequence[Asked], *, nothing: bool = False) -> list[Row]:
        speaks = [question for question in questions if question.prompt.speech is not None]
        if speaks:
            hint = "ask with text, or use a model that hears"
            raise DataError(
                [
                    Problem("the query is speech, and the model reads text", f"example {q.query.id!r}", hint=hint)
                    for q in speaks
                ]
            )
        return [row_of(self.tokens, question, nothing=nothing) for question in questions]


def row_of(tokens: PromptTokens, question: Asked, *, nothing: bool = False) -> Row:
    """A question's token ids."""
    prompt = question.prompt
    before, after = tokens.sides(prompt)
    empty = tokens.sides(prompt, nothing=True)[0] if nothing else None
    return Row(question, tokens.prefix(prompt), before, after, tokens.answers(question.task, prompt.names), empty)
