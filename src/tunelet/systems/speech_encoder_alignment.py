"""The last stage of a speech encoder, if a recipe asks for it: sentences that are heard come near those that are read.

A frozen language model reads the vectors of the head over word pieces, in the place of words, and the text itself; the
mean of its last states is the sentence. The loss is that of before, plus `align` times 1 - cosine of the two. How near
they are on held-out clips is told of every encoder, aligned or not. Not here: the steps (`training.loop`).

Example:
    >>> nearness(objective, model, Sentences(base), "test")                 # doctest: +SKIP
    {'pieces': 0.83, 'characters': 0.71}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel

from tunelet.data.noise import Samples
from tunelet.models.bases import Base
from tunelet.models.evaluating import evaluating
from tunelet.models.loading import from_base
from tunelet.models.speech.protocol import frame_mask
from tunelet.systems.recipes import PlannedRun
from tunelet.systems.speech_encoder_objective import HearingObjective, Learner, padded
from tunelet.systems.speech_encoder_recipe import sections
from tunelet.systems.speech_encoder_training import build_loop
from tunelet.systems.training_run import train_to_end
from tunelet.training.events import Note, Observer

#: share of the learning rate that the stage begins with
_RATE = 0.1
#: held-out clips of which `nearness` is told, and of one batch
_TOLD, _BATCH = 200, 16


class Sentences:
    """A frozen base that reads texts, or vectors in the place of their words; no `nn.Module`, so nothing trains it."""

    def __init__(self, base: Base) -> None:
        config = type(base.config).from_dict(base.config.to_dict())
        model, _ = from_base(AutoModel, base, config, "sdpa", what="sentence encoder")
        self._model: Any = model.eval().requires_grad_(False)
        self._tokenizer: Any = base.tokenizer
        self.table: Tensor = self._model.get_input_embeddings().weight

    def words(self, text: str) -> Tensor:
        """(S, H) embeddings of a text's tokens, at least one."""
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"] or [self._tokenizer.unk_token_id or 0]
        return self.table[torch.tensor(ids, device=self.table.device)]

    def of(self, vectors: Sequence[Tensor]) -> Tensor:
        """(N, H) rows of length one: the sentences of (S_i, H) vectors each, with gradients."""
        first, last = (self.table[[i]] for i in (self._tokenizer.cls_token_id, self._tokenizer.sep_token_id))
        rows = [torch.cat([first, one.to(first), last]) for one in vectors]
        given = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = frame_mask(torch.tensor([len(row) for row in rows], device=given.device), given.shape[1]).long()
        hidden = self._model(inputs_embeds=given, attention_mask=mask).last_hidden_state * mask[..., None]
        return functional.normalize(hidden.sum(1) / mask.sum(1, keepdim=True), dim=-1)

    def to(self, device: torch.device) -> Sentences:
        """The same, on a device."""
        self._model.to(device)
        self.table = self._model.get_input_embeddings().weight
        return self

    def distance(self, vectors: Sequence[Tensor], texts: Sequence[str]) -> Tensor:
        """Mean of 1 - cosine between what was heard and what was said; gradients reach the vectors alone."""
        with torch.no_grad():
            said = self.of([self.words(text) for text in texts])
        return 1.0 - (self.of(vectors) * said).sum(-1).mean()


def align(
    run: PlannedRun,
    objective: HearingObjective,
    learner: Learner,
    sentences: Sentences,
    folder: Path,
    *,
    identity: str,
    observer: Observer,
    interrupted: Callable[[], bool] = lambda: False,
) -> None:
    """Train `learner` on for `pieces.align_steps`, at a tenth of the rate; its best weights by word errors stay.

    Raises:
        KeyboardInterrupt: `interrupted` said so; the state is saved, and another call goes on.
    """
    pieces, training = sections(run)[1], sections(run)[3]
    rate, every = _RATE * training.learning_rate, max(1, pieces.align_steps // 4)
    changes = {"max_steps": pieces.align_steps, "learning_rate": rate, "evaluate_every": every, "patience": None}
    later = replace(run, settings={**run.settings, "training": training.model_copy(update=changes)})
    device = next(learner.parameters()).device
    nearer = replace(objective, distance=sentences.to(device).distance, table=sentences.table, align=pieces.align)
    observer(Note(f"aligning with the language model's sentences: {pieces.align_steps:,} steps"))
    loop = build_loop(later, nearer, folder, identity=f"{identity}-align", interrupted=interrupted, learner=learner)
    train_to_end(loop, later, observer)
    loop.load_best()


def nearness(objective: HearingObjective, model: Learner, sentences: Sentences, split: str) -> dict[str, float]:
    """Mean cosine between the sentences heard and said on held-out clips, by how they are heard (`soft_words`)."""
    clips = objective.clips[split]
    rows = np.unique(np.linspace(0, len(clips) - 1, min(_TOLD, len(clips))).round().astype(int)).tolist()
    device, sums = next(model.parameters()).device, {"pieces": 0.0, "characters": 0.0}
    sentences.to(device)
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        sounds: list[Samples] = [objective.held_out(split, row) for row in part]
        batch, texts = padded(sounds), [clips.texts[row] for row in part]
        with evaluating(model):
            heard = model.encoder(batch["waveforms"].to(device), batch["lengths"].to(device))
            ways = {"characters": [sentences.words(text) for text in model.encoder.transcribe(heard)]}
            if model.pieces is not None:
                ways["pieces"] = model.pieces.vectors(heard, sentences.table)
            for way, vectors in ways.items():
                sums[way] += len(part) * (1.0 - float(sentences.distance(vectors, texts)))
    if model.pieces is None:
        del sums["pieces"]
    return {way: total / len(rows) for way, total in sums.items()}
