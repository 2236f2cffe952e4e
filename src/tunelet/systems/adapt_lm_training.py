"""Chooses the parts of one adaptation, ready to train, forecasts its cost with them, and counts its scores.

Not here: what is done with the trained weights (`systems.adapt_lm`).

Example:
    >>> loop = build_loop(run, objective, base, folder, identity=run_hash)          # doctest: +SKIP
    >>> for event in loop.events(): ...                                            # doctest: +SKIP
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tunelet.data.language_text import TokenisedText
from tunelet.data.plain_text import TextPart
from tunelet.models.bases import Base
from tunelet.models.language import build_causal_lm, build_masked_lm
from tunelet.systems.adapt_lm_recipe import sections
from tunelet.systems.recipes import PlannedRun
from tunelet.systems.training_forecast import forecast_loop
from tunelet.systems.training_run import batches_of, make_loop, use_threads
from tunelet.training.estimate import Estimate
from tunelet.training.language_objective import LanguageObjective
from tunelet.training.loop import Loop
from tunelet.training.tracking import Tracker
from tunelet.tuning.methods import prepare


def build_loop(
    run: PlannedRun,
    objective: LanguageObjective,
    base: Base,
    folder: Path,
    *,
    identity: str,
    trackers: list[Tracker] | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Loop:
    """Everything of a run: model, what trains in it, optimiser, batches, loop.

    Args:
        run: the planned run.
        objective: its loss and evaluation.
        base: what is adapted.
        folder: the run's folder.
        identity: hash of the run; a saved state of another is refused.
        trackers: told of every logged row.
        interrupted: asked after every step.
    """
    model_settings, language, tuning, training = sections(run)
    use_threads(training)
    batches, steps = batches_of(training, objective.splits["train"].lengths, run.seed)
    build = build_masked_lm if language.kind == "masked" else build_causal_lm
    model = build(base, attention=model_settings.attention, seed=run.seed)
    tuned = prepare(model, tuning, total_steps=steps, seed=run.seed)
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


def forecast(run: PlannedRun, objective: LanguageObjective, base: Base) -> Estimate:
    """What a run will cost, from a few of its own steps; nothing stays."""
    train, validation = objective.splits["train"], objective.splits["validation"]
    with tempfile.TemporaryDirectory() as folder:
        loop = build_loop(run, objective, base, Path(folder), identity="forecast")
        return forecast_loop(loop, lambda rows: _padded(train, rows), int(validation.lengths.sum()))


def split_metrics(objective: LanguageObjective, model: torch.nn.Module, split: str, part: TextPart) -> dict[str, Any]:
    """Scores of a held-out split, as run.json holds them."""
    scores, text = objective.score(model, split), objective.splits[split]
    # every token that can be asked for: all but the first of a row, and of a masked model's the last
    askable = len(text.ids) - (2 if objective.kind == "masked" else 1) * len(text)
    return {
        "loss": scores.loss,
        "perplexity": scores.perplexity,
        "word_perplexity": math.exp(min(700.0, scores.loss * askable / part.words)),
        "tokens": scores.tokens,
        "cut_tokens": scores.cut,
        "sentences": part.sentences,
        "words": part.words,
    }


def _padded(text: TokenisedText, rows: NDArray[np.int64]) -> int:
    """Tokens of a batch with its padding."""
    return len(rows) * int(text.lengths[rows].max())
