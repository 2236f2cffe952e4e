"""Chooses the parts of one speech encoder, ready to train, and forecasts its cost from a few spoken clips.

Not here: speaking all texts, and what is done with the trained weights (`systems.speech_encoder`).

Example:
    >>> loop = build_loop(run, objective, tokenizer, folder, identity=run_hash)     # doctest: +SKIP
"""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunelet.data.spoken_clips import Clips
from tunelet.models.bases import Base
from tunelet.models.speech.fbank import frames_of as mel_frames
from tunelet.models.speech.protocol import drawing
from tunelet.models.speech.small import SmallSettings, build_small
from tunelet.models.speech.soft_pieces import SoftPieces
from tunelet.systems.recipes import PlannedRun
from tunelet.systems.speech_encoder_objective import HearingObjective, Learner, frames_of
from tunelet.systems.speech_encoder_recipe import sections
from tunelet.systems.speech_encoder_settings import EncoderSettings
from tunelet.systems.training_forecast import forecast_loop
from tunelet.systems.training_run import batches_of, make_loop, use_threads
from tunelet.training.estimate import Estimate
from tunelet.training.loop import Loop
from tunelet.training.tracking import Tracker
from tunelet.tuning.methods import prepare
from tunelet.tuning.settings import TuningSettings

#: the whole encoder trains, by its own modules
_TUNING = TuningSettings(method="full", engine="peft")


def sizes(settings: EncoderSettings) -> SmallSettings:
    """The section as the encoder takes it."""
    return SmallSettings(**settings.model_dump())


def fitting(clips: Clips, settings: EncoderSettings) -> list[int]:
    """Rows of the clips that have a frame for each character, and one more between two equal ones."""
    rows = []
    for row, text in enumerate(clips.texts):
        needed = len(text) + sum(a == b for a, b in itertools.pairwise(text))
        frames = int(mel_frames(torch.tensor(int(clips.lengths[row]))))
        for _ in range(2 if settings.frames_per_second == 25 else 1):
            frames = (frames - 1) // 2 + 1
        if frames >= needed:
            rows.append(row)
    return rows


def piece_ids(tokens: Sequence[Sequence[int]], minimum: int) -> list[int]:
    """Token ids that stand at least so often in the training texts, in their order."""
    counts = Counter(token for text in tokens for token in text)
    return sorted(token for token, count in counts.items() if count >= minimum)


def objective_of(run: PlannedRun, clips: dict[str, Clips], base: Base | None) -> HearingObjective:
    """Loss and evaluation of a run; with word pieces where there is a base to cut them."""
    tokens = {}
    if base is not None:
        options = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
        for split, part in clips.items():
            tokens[split] = base.tokenizer(list(part.texts), **options)["input_ids"]
    _, pieces, augmentation, _ = sections(run)
    return HearingObjective(clips, tokens, pieces.weight, augmentation, run.seed)


def build_learner(run: PlannedRun, objective: HearingObjective) -> Learner:
    """A new encoder, with a head over the pieces of the training texts if the recipe asks for one."""
    encoder, pieces, _, _ = sections(run)
    head = None
    if objective.tokens:
        ids = piece_ids(objective.tokens["train"], pieces.minimum_count)
        with drawing(run.seed, "speech", "pieces"):
            head = SoftPieces(sizes(encoder), ids, layers=pieces.layers)
    return Learner(build_small(sizes(encoder), seed=run.seed), head)


def build_loop(
    run: PlannedRun,
    objective: HearingObjective,
    folder: Path,
    *,
    identity: str,
    trackers: list[Tracker] | None = None,
    interrupted: Callable[[], bool] = lambda: False,
    learner: Learner | None = None,
) -> Loop:
    """Everything of a run: model, optimiser, batches, loop; see `systems.training_run.make_loop`.

    Args:
        learner: trained so far; None: a new one.
    """
    training = sections(run)[3]
    use_threads(training)
    batches, steps = batches_of(training, frames_of(objective.clips["train"]), run.seed)
    tuned = prepare(learner or build_learner(run, objective), _TUNING, total_steps=steps, seed=run.seed)
    return make_loop(
        training,
        tuned,
        objective,
        batches,
        steps,
        folder,
        seed=run.seed,
        identity=identity,
        trackers=trackers,
        interrupted=interrupted,
    )


def forecast(run: PlannedRun, sample: HearingObjective, clips: int) -> Estimate:
    """What a run over so many clips will cost, from a few steps over a sample of them; nothing stays.

    Args:
        sample: its train clips stand for all.
        clips: of the training split.
    """
    heard = len(sample.clips["train"])
    every = [row % heard for row in range(clips)]
    whole = replace(
        sample,
        clips={**sample.clips, "train": sample.clips["train"].only(every)},
        tokens={
            split: [part[row] for row in every] if split == "train" else part for split, part in sample.tokens.items()
        },
    )
    frames = frames_of(whole.clips["train"])
    with tempfile.TemporaryDirectory() as folder:
        loop = build_loop(run, whole, Path(folder), identity="forecast")
        held = int(frames_of(sample.clips["validation"]).sum())
        return forecast_loop(loop, lambda rows: len(rows) * int(frames[rows].max()), held)


def split_metrics(objective: HearingObjective, model: torch.nn.Module, split: str) -> dict[str, Any]:
    """Scores of a held-out split, as run.json holds them."""
    scores = objective.score(model, split)
    clips = objective.clips[split]
    return {
        "loss": scores.loss,
        "wer": scores.wer,
        "cer": scores.cer,
        "piece_error_rate": scores.piece_error_rate,
        "counts": scores.words.to_json(),
        "by_voice": {voice: counts.to_json() for voice, counts in sorted(scores.by_voice.items())},
        "clips": len(clips),
        "seconds": float(np.round(clips.seconds, 3)),
    }
