"""An encoder as a prefix language model: it reads a whole prompt in both directions and answers in a slot.

The slot's state points at the places of class names in the prompt (`heads.CopyHead`), to which is added, if wanted, how
near the query is to definitions and demonstrations for the frozen base (`heads.Matching`). So an answer is always one
of the task's classes, and class names may be any words. Single-label: softmax over the classes. Multi-label: a class
is an answer where its logit is above that of the word for none; of a task without such a word, above a learned
threshold, and the best class is always one. Not here: training, files (`tuning.prefix_folder`).

Speech stands in the prompt as vectors in place of word embeddings (`protocol.SpeechVectors`); for the matching term
the frozen base reads the same vectors, as it would read a sentence.

With `blocks` the parts of a prompt see less of each other, so that most of it is computed once for many queries.

Example:
    >>> model = build_prefix(load_base(ModelSettings(max_length=512)))                  # doctest: +SKIP
    >>> model.loss(model.encode(questions)).backward()                                  # doctest: +SKIP
    >>> model.answer(questions)[0].labels                                               # doctest: +SKIP
    ('positive',)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers import AutoModel

from tunelet.base.errors import DataError, Problem
from tunelet.data.understanding.asked import Asked
from tunelet.models.bases import Base, usable_positions
from tunelet.models.declared import READS_SEGMENTS, declare
from tunelet.models.evaluating import evaluating
from tunelet.models.loading import from_base, refuse_lost
from tunelet.models.merged_copy import merged_copy
from tunelet.models.prefix.batch import collate
from tunelet.models.prefix.blocks import BlockStates, visible
from tunelet.models.prefix.heads import NEVER, CopyHead, Learned, Matching
from tunelet.models.prefix.packing import Row, pack
from tunelet.models.prefix.protocol import SpeechVectors
from tunelet.models.prefix.reading import PromptReader, Reading
from tunelet.models.prefix.similarity import likeness, sentences_of
from tunelet.models.prompt_model import Answer
from tunelet.models.sentence_embedder import SentenceEmbedder

#: Places that a prompt may take, where the base has them.
ROOM = 512
#: Places of a batch of answers, padding included.
PLACES = 8192
#: Modules that start untrained.
HEADS = ("copying", "matching", "threshold")
#: What the matching term is given of `similarity.Likeness`, in order.
_LIKE = ("definitions", "named", "trust", "demonstrations", "shown", "there")


class PrefixModel(nn.Module):
    """See the module. Implements `models.prompt_model.PromptModel`.

    Args:
        language: an encoder of `transformers`.
        tokenizer: its fast tokenizer.
        embedder: of the frozen base, for the matching term; None: there is no such term.
        room: places that a prompt may take.
        blocks: whether a prompt is read in blocks (`models.prefix.blocks`), or each token sees all others.

    Attributes:
        hears: whether `listen` was given something that hears.
        matching_dropout: how often, in training mode, a question goes without the matching term, so that the encoder
            learns what that would do for it.
        embedder: as given.
    """

    base_model_prefix = "language"

    def __init__(
        self,
        language: Any,
        tokenizer: Any,
        embedder: SentenceEmbedder | None,
        room: int = ROOM,
        *,
        blocks: bool = False,
    ) -> None:
        super().__init__()
        self.config = language.config
        self.language = language
        self.copying = CopyHead(int(language.config.hidden_size))
        self.matching = Matching() if embedder is not None else None
        self.threshold = Learned(4.0)
        self.embedder = embedder
        self.reader = PromptReader(tokenizer)
        self.room: int | None = room
        self.blocks = blocks
        self.hears = False
        self.matching_dropout = 0.0
        self._speech: tuple[SpeechVectors, ...] = ()
        self._remembered: BlockStates | None = None

    def listen(self, speech: SpeechVectors | None) -> None:
        """Hear through `speech` from now on; None: prompts with a place for speech are refused.

        It stays a part of its own: it is neither trained nor saved with the model.
        """
        self._speech = () if speech is None else (speech,)
        self.hears = speech is not None

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Within the block no weight changes: what prompts share is kept from one call of `answer` to the next, and
        an adapter is merged.
        """
        self._remembered = BlockStates(merged_copy(self.language)) if self.blocks else None
        try:
            yield
        finally:
            self._remembered = None

    def count(self, text: str) -> int:
        """Tokens of a text with the answer slot and special tokens."""
        return self.reader.count(text)

    def encode(self, questions: Sequence[Asked]) -> dict[str, Any]:
        """Tensors of a batch; see `models.prefix.batch.collate`. In blocks, what prompts share stands there once.

        Raises:
            DataError: a prompt is longer than `room`, a class stands nowhere in it, or its sound cannot be read.
        """
        vectors = self._heard(questions)
        readings = self._read(questions, vectors)
        rows = None
        if self.blocks:
            ids, blocks = [reading.ids for reading in readings], [reading.blocks for reading in readings]
            apart = bool(getattr(self.language, READS_SEGMENTS, False))
            rows = pack(ids, blocks, int(self.config.hidden_size), apart=apart)
        return self._collated(questions, readings, vectors, rows)

    def forward(self, **batch: Tensor) -> Tensor:
        """Logits (B, C + 1) of a batch of `encode`: the classes, and none in the last column.

        A class that a task does not have is at `NEVER`.
        """
        given = {"attention_mask": batch["attention_mask"]}
        if self.blocks:
            given = {"attention_mask": visible(batch["blocks"]), "position_ids": batch["position_ids"]}
        if "speech" in batch:
            words = self.language.get_input_embeddings()(batch["input_ids"])
            words = words.flatten(0, 1).index_copy(0, batch["speech_places"], batch["speech"].to(words.dtype))
            given["inputs_embeds"] = words.view(*batch["input_ids"].shape, -1)
        else:
            given["input_ids"] = batch["input_ids"]
        hidden = self.language(**given).last_hidden_state  # (B, T, H)
        with torch.autocast(hidden.device.type, enabled=False):
            return self._logits(hidden.float(), batch)

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """Mean over the questions: cross-entropy over the classes, or mean binary cross-entropy of each class.

        Raises:
            DataError: a question has no known answer.
        """
        if not bool(batch["known"].all()):
            number = int((~batch["known"]).nonzero()[0])
            raise DataError(Problem(f"question {number} of the batch has no known answer, and the loss needs one"))
        logits: Tensor = self(**batch)
        multi, gold = batch["multi"], batch["gold"]  # gold (B, C)
        losses = logits.new_zeros(len(logits))
        if bool((~multi).any()):
            losses[~multi] = cross_entropy(logits[~multi, :-1], gold[~multi].argmax(1), reduction="none")
        if bool(multi.any()):
            there, right = batch["classes"][multi], gold[multi]
            each = binary_cross_entropy_with_logits(_margins(logits[multi]), right, reduction="none")
            losses[multi] = (each * there).sum(1) / there.sum(1)
        return losses.mean()

    def answer(self, questions: Sequence[Asked]) -> list[Answer]:
        """Answers in order. Questions of like length are computed together; that changes none."""
        found: list[Answer | None] = [None] * len(questions)
        device = next(self.parameters()).device
        states = self._remembered or (BlockStates(self.language) if self.blocks else None)
        with evaluating(self):
            for start in range(0, len(questions), 1024):  # so that what is held does not grow with the number
                part = questions[start : start + 1024]
                vectors = self._heard(part)
                readings = self._read(part, vectors)
                for rows in _batches(readings, last=states is not None):
                    own = [part[row] for row in rows]
                    batch = self._collated(own, [readings[row] for row in rows], [vectors[row] for row in rows])
                    batch = {key: value.to(device) for key, value in batch.items()}
                    if states is None:
                        logits = self(**batch)
                    else:
                        hidden = self._by_blocks(
                            states, [readings[row] for row in rows], [vectors[row] for row in rows]
                        )
                        logits = self._logits(hidden, batch)
                    for row, asked, scores in zip(rows, own, logits.double().cpu().numpy(), strict=True):
                        found[start + row] = _answer(asked, scores)
        return [one for one in found if one is not None]

    def _by_blocks(self, states: BlockStates, readings: Sequence[Reading], vectors: Sequence[Tensor | None]) -> Tensor:
        """(B, T, H) last states of prompts, block by block; 0 beyond their ends."""
        embedded: list[Tensor | None] = []
        for reading, heard in zip(readings, vectors, strict=True):
            embedded.append(None)
            if heard is not None and reading.speech is not None:
                last = torch.from_numpy(reading.ids[reading.blocks == reading.blocks[-1]])
                words = self.language.get_input_embeddings()(last.to(next(self.parameters()).device))
                first = reading.speech[0] - (len(reading.ids) - len(last))
                words[first : first + len(heard)] = heard.to(words)
                embedded[-1] = words
        found = states.states([reading.ids for reading in readings], [reading.blocks for reading in readings], embedded)
        return nn.utils.rnn.pad_sequence(found, batch_first=True).float()

    def _heard(self, questions: Sequence[Asked]) -> list[Tensor | None]:
        """Vectors of the queries that are speech."""
        spoken = [number for number, asked in enumerate(questions) if asked.prompt.speech is not None]
        vectors: list[Tensor | None] = [None] * len(questions)
        if spoken and not self._speech:
            where = "/".join(questions[spoken[0]].query.key)
            message = f"the query {where!r} is speech, and this model hears none"
            raise DataError(Problem(message, hint="ask it with text, or give the model a speech encoder"))
        if spoken:
            found = self._speech[0]([questions[number].query for number in spoken])
            for number, one in zip(spoken, found, strict=True):
                vectors[number] = one
        return vectors

    def _read(self, questions: Sequence[Asked], vectors: Sequence[Tensor | None]) -> list[Reading]:
        places = [None if one is None else len(one) for one in vectors]
        readings = self.reader.read([asked.prompt for asked in questions], places)
        for asked, reading in zip(questions, readings, strict=True):
            if self.room is not None and len(reading.ids) > self.room:
                where = "/".join(asked.query.key)
                message = f"the prompt of query {where!r} takes {len(reading.ids)} tokens, the model takes {self.room}"
                raise DataError(Problem(message, hint="fit it first (`data.understanding.fitting.fit_prompt`)"))
        return readings

    def _collated(
        self,
        questions: Sequence[Asked],
        readings: Sequence[Reading],
        vectors: Sequence[Tensor | None],
        rows: Sequence[Row] | None = None,
    ) -> dict[str, Tensor]:
        batch = collate(questions, readings, self.config.pad_token_id or 0, rows)
        heard = [one for one in vectors if one is not None]
        if heard:
            batch["speech"] = torch.cat(heard)
        if self.embedder is None:
            return batch
        embedded = iter(self.embedder.embed_vectors(heard)) if heard else iter(())
        own = [None if one is None else next(embedded) for one in vectors]
        found = likeness(
            [sentences_of(asked.prompt) for asked in questions],
            [asked.classes for asked in questions],
            self.embedder,
            own,
        )
        return batch | {f"like_{name}": torch.from_numpy(getattr(found, name)) for name in _LIKE}

    def _logits(self, hidden: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """From the last states (B, T, H)."""
        batch_size, classes = batch["classes"].shape
        flat = hidden.flatten(0, 1)
        slots = flat[batch["slots"]]
        labels = batch["labels"]  # (B, O)
        tokens = flat[batch["name_tokens"]]  # (N, H) of all class names
        sums = flat.new_zeros((labels.numel(), flat.shape[1])).index_add(0, batch["name_of"], tokens)
        sizes = flat.new_zeros(labels.numel()).index_add(0, batch["name_of"], torch.ones_like(tokens[:, 0]))
        states = (sums / sizes.clamp(min=1)[:, None]).view(batch_size, -1, flat.shape[1])
        logits: Tensor = self.copying(slots, states, labels, classes + 1)
        if self.matching is not None:
            matched = self.matching(*(batch[f"like_{key}"] for key in _LIKE), batch["multi"])
            if self.training and self.matching_dropout:
                matched = matched * (torch.rand_like(matched[:, :1]) >= self.matching_dropout)
            logits = logits + matched
        # without a word for none, a learned number stands in its place
        none = torch.where(batch["has_none"], logits[:, -1], self.threshold().expand(batch_size))
        logits = torch.cat([logits[:, :-1], none[:, None]], 1)
        there = torch.cat([batch["classes"], torch.ones_like(batch["has_none"])[:, None]], 1)
        return logits.masked_fill(~there, NEVER)


def build_prefix(
    base: Base,
    *,
    matching: bool = True,
    blocks: bool = False,
    attention: str = "sdpa",
    embedder: SentenceEmbedder | None = None,
) -> PrefixModel:
    """The base as a prefix model whose heads are untrained, fp32, on the CPU, in evaluation mode.

    Args:
        matching: with the matching term.
        blocks: prompts are read in blocks.
        attention: "sdpa" or "eager".
        embedder: of the same base, to share what it keeps; None: one of its own.

    Raises:
        BaseModelError: the base is no encoder that transformers can load without a head, or has no mask token.
    """
    config = type(base.config).from_dict(base.config.to_dict())
    pooled = (
        {"add_pooling_layer": False} if config.model_type in ("bert", "roberta", "xlm-roberta", "camembert") else {}
    )
    language, report = from_base(AutoModel, base, config, attention, what="prefix model", **pooled)
    refuse_lost([name for name in report["missing_keys"] if "pooler." not in name], base)
    if matching and embedder is None:
        embedder = SentenceEmbedder(base)
    room = min(ROOM, usable_positions(config) or ROOM)
    model = PrefixModel(language, base.tokenizer, embedder if matching else None, room, blocks=blocks)
    declare_heads(model, fresh=True)
    return model.eval()


def declare_heads(model: PrefixModel, *, fresh: bool) -> None:
    """Say whether the heads train with every method, as untrained modules do."""
    names = [name for name in HEADS if getattr(model, name) is not None]
    declare(model, fresh_modules=tuple(names) if fresh else (), task_type=None)


def _margins(logits: Tensor) -> Tensor:
    """(B, C): each class against none."""
    return logits[:, :-1] - logits[:, -1:]


def _answer(asked: Asked, logits: NDArray[np.float64]) -> Answer:
    names, count = asked.task.label_names, asked.classes
    if not asked.task.multi_label:
        return Answer((names[int(logits[:count].argmax())],), logits[:count].copy())
    scores = logits[:count] - logits[-1]
    chosen = tuple(name for name, score in zip(names, scores, strict=True) if score > 0)
    if not chosen and asked.task.none is None:  # an answer for no class does not exist
        chosen = (names[int(scores.argmax())],)
    return Answer(chosen, scores)


def _batches(readings: Sequence[Reading], *, last: bool) -> Iterator[list[int]]:
    """Rows of like length together, the longest first, at most `PLACES` places with padding.

    Args:
        last: like length of the last block, the only one that is read in the batch; else of the prompt.
    """
    lengths = np.array([len(reading.ids) for reading in readings])
    own = np.array([int((reading.blocks == reading.blocks[-1]).sum()) for reading in readings]) if last else lengths
    order = np.lexsort((-lengths, -own)).tolist()
    while order:
        most, longest = 0, 0
        for row in order:
            longest = max(longest, int(lengths[row]))
            if most and (most + 1) * longest > PLACES:
                break
            most += 1
        yield order[:most]
        order = order[most:]
