"""A speech-text language model: encoders of sound, a connector, and a causal language model with LoRA.

Speech becomes vectors of the language model's width, which stand in the prompt where words would stand (`prompts`).
The loss is the mean cross-entropy over the tokens of the answers, the end of sequence among them. Frozen encoders give
no gradients and can be left out altogether where their frames are on disk (`features_cache`).
Not here: which parts train (`trained`), the published SALMONN (`salmonn`), tasks, constrained decoding.

Example:
    >>> model = SpeechTextModel(encoders, connector, language)                              # doctest: +SKIP
    >>> batch = SpeechTextBatch((prompt,), waveforms, lengths)                              # doctest: +SKIP
    >>> model(batch).loss.backward()                                                        # doctest: +SKIP
    >>> tokenizer.decode(model.generate(batch, max_new_tokens=10)[0])                       # doctest: +SKIP
    'joy'
"""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from tunelet.base.errors import BaseModelError, DataError, Problem
from tunelet.models.bases import usable_positions
from tunelet.models.evaluating import evaluating
from tunelet.models.quiet import quiet_transformers
from tunelet.models.speech.encoders import JoinedEncoders
from tunelet.models.speech.language_half import lora_scaled
from tunelet.models.speech.prompts import Assembled, SpeechTextBatch, assemble

Autocast = Literal["off", "bf16"]


@dataclass(frozen=True, eq=False)
class SpeechTextOutput:
    """What a batch gives.

    Attributes:
        loss: mean over the answer's tokens, with gradients.
        tokens: how many there are, ends of sequence included.
        correct: how many of them are the likeliest at their place.
    """

    loss: Tensor
    tokens: int
    correct: int


class SpeechTextModel(nn.Module):
    """See the top of the file.

    Args:
        encoders: of speech.
        connector: `connectors.Connector`.
        language: a causal language model of transformers, with or without adapters of PEFT.
        autocast: "bf16": everything computes under autocast; weights stay as they are.
    """

    def __init__(self, encoders: JoinedEncoders, connector: Any, language: Any, *, autocast: Autocast = "off") -> None:
        super().__init__()
        self.encoders, self.connector, self.language = encoders, connector, language
        self.autocast: Autocast = autocast
        width = self.words.weight.shape[1]
        found = connector.projection.out_features
        if found != width:
            raise BaseModelError(Problem(f"the connector gives vectors of {found}, the language model takes {width}"))
        self._room = usable_positions(language.config)
        forward = language.get_base_model().forward if hasattr(language, "get_base_model") else language.forward
        self._keeps = "logits_to_keep" in inspect.signature(forward).parameters

    @property
    def words(self) -> Any:
        """The language model's input embeddings."""
        return self.language.get_input_embeddings()

    def forward(self, batch: SpeechTextBatch) -> SpeechTextOutput:
        """The loss of answers.

        Raises:
            DataError: a prompt has no answer, or is longer than the language model can read; sound cannot be heard.
        """
        unanswered = [row for row, prompt in enumerate(batch.prompts) if not prompt.answer]
        if unanswered:
            raise DataError(
                [Problem("has no answer to learn from", f"prompt {row} of the batch") for row in unanswered]
            )
        with self.precision():
            given = self.assembled(batch)
            answers = given.labels.shape[1]
            # the place before an answer's first token predicts it
            logits = self.logits(given, answers + 1)[:, :-1]
            logits = logits.float()
        loss = functional.cross_entropy(logits.flatten(0, 1), given.labels.flatten(), ignore_index=-100)
        right = (logits.argmax(-1) == given.labels) & (given.labels != -100)
        return SpeechTextOutput(loss, int((given.labels != -100).sum()), int(right.sum()))

    def assembled(self, batch: SpeechTextBatch) -> Assembled:
        """Input embeddings of a batch, with mask, positions and labels."""
        given = assemble(self.words, batch.prompts, self.speech(batch))
        length = given.embeddings.shape[1]
        if self._room is not None and length > self._room:
            what = f"a prompt has {length} places with its speech, the language model has {self._room}"
            raise DataError(Problem(what, hint="fewer demonstrations or shorter sound"))
        return given

    def speech(self, batch: SpeechTextBatch) -> list[Tensor]:
        """(S_i, H) vectors of each clip."""
        heard = batch.features
        if heard is None:
            if batch.waveforms is None or batch.lengths is None:
                return []
            device = self.words.weight.device
            heard = self.encoders.encode(batch.waveforms.to(device), batch.lengths.to(device))
        joined = self.encoders.join(heard)
        said = self.connector(joined.features, joined.lengths)
        return [vectors[:count] for vectors, count in zip(said.vectors, said.lengths.tolist(), strict=True)]

    def logits(self, given: Assembled, last: int) -> Tensor:
        """(B, last, V) logits of the last places."""
        options = {"logits_to_keep": last} if self._keeps else {}
        out = self.language(
            inputs_embeds=given.embeddings,
            attention_mask=given.mask,
            position_ids=given.positions,
            use_cache=False,
            **options,
        )
        logits: Tensor = out.logits[:, -last:]
        return logits

    def generate(
        self, batch: SpeechTextBatch, *, max_new_tokens: int = 10, lora_scale: float | None = None
    ) -> tuple[tuple[int, ...], ...]:
        """The likeliest continuation, token by token; ids of each prompt up to the end of sequence, which is left out.

        Args:
            batch: answers of its prompts are ignored.
            max_new_tokens: at most so many.
            lora_scale: factor on LoRA's update; below 1 is SALMONN's remedy against over-fitting to the tasks of its
                tuning, 0 is the language model without adapter. None: as trained.
        """
        from transformers import GenerationConfig

        asked = tuple(type(p)(p.before, p.after, (), p.speech) for p in batch.prompts)
        end = self.language.config.eos_token_id
        ends = [end] if isinstance(end, int) else list(end or [])
        pad = ends[0] if ends else 0
        config = GenerationConfig(
            max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, eos_token_id=ends or None, pad_token_id=pad
        )
        with evaluating(self), self.precision(), lora_scaled(self.language, lora_scale), quiet_transformers():
            given = self.assembled(SpeechTextBatch(asked, batch.waveforms, batch.lengths, batch.features))
            if self._room is not None and given.embeddings.shape[1] + max_new_tokens > self._room:
                raise DataError(Problem(f"no room for {max_new_tokens} new tokens in {self._room} places"))
            made = self.language.generate(
                inputs_embeds=given.embeddings, attention_mask=given.mask, generation_config=config
            )
        return tuple(_up_to(ids, ends) for ids in made.tolist())

    def checkpointing(self) -> None:
        """From now on the language model, and Hugging Face encoders that train, keep less while training."""
        inner = [encoder.model for encoder in self.encoders.encoders if _trains(encoder) and hasattr(encoder, "model")]
        with quiet_transformers():
            for model in (self.language, *inner):
                enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
                # not reentrant: that kind gives no gradient where a layer's input has none
                enable({"use_reentrant": False})

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """Within the block everything computes as `autocast` says."""
        if self.autocast == "off":
            return contextlib.nullcontext()
        return torch.autocast(self.words.weight.device.type, dtype=torch.bfloat16)


def _trains(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _up_to(ids: list[int], ends: list[int]) -> tuple[int, ...]:
    places = [place for place, token in enumerate(ids) if token in ends]
    return tuple(ids[: places[0]] if places else ids)
