"""Chooses the parts of one meta-training, ready to train, and forecasts its cost with them.

Not here: what is done with the trained weights (`systems.understand_base`).

Example:
    >>> meta = build_meta(run, data, base, embedder, cache, folder, observer, run_hash)         # doctest: +SKIP
    >>> for event in meta.loop.events(): ...                                                    # doctest: +SKIP
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tunelet.data.understanding.episode_pool import EpisodePool
from tunelet.data.understanding.episodes import EpisodeSampler, EpisodeSettings
from tunelet.models.bases import Base
from tunelet.models.prefix.model import PrefixModel, build_prefix
from tunelet.models.sentence_embedder import SentenceEmbedder
from tunelet.systems.recipes import PlannedRun
from tunelet.systems.training_forecast import forecast_loop
from tunelet.systems.training_run import batches_of, longest_batch, make_loop, steps_of, use_threads
from tunelet.systems.understand_base_data import BaseData, Examples
from tunelet.systems.understand_base_objective import Cell, EpisodeCounts, EpisodeObjective, validation_episodes
from tunelet.systems.understand_base_recipe import EpisodesSection, sections
from tunelet.training.estimate import Estimate
from tunelet.training.events import Note, Observer
from tunelet.training.loop import Loop
from tunelet.training.tracking import Tracker
from tunelet.tuning.methods import prepare

#: Batches of episodes, and episodes of validation, from which a forecast is made.
SAMPLE = 20
#: Validation is drawn with this seed, whatever the run's.
_VALIDATION_SEED = 0


@dataclass(frozen=True)
class Meta:
    """A meta-training that is ready.

    Attributes:
        loop: to be run.
        objective: its loss and evaluation.
        counts: its episodes.
        embedder: what embeds sentences for it.
        longest: numbers of the longest episodes, as many as a batch has.
        untrained: right answers of validation before any training, in the order of `EpisodeObjective.cells`.
    """

    loop: Loop
    objective: EpisodeObjective
    counts: EpisodeCounts
    embedder: SentenceEmbedder
    longest: NDArray[np.int64]
    untrained: Callable[[], list[Cell]]


def build_meta(
    run: PlannedRun,
    data: BaseData,
    base: Base,
    embedder: SentenceEmbedder,
    cache: Path,
    folder: Path,
    observer: Observer,
    identity: str,
    *,
    trackers: list[Tracker] | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Meta:
    """Everything of a run: pools, episodes, model, what trains in it, optimiser, batches, loop.

    Args:
        embedder: of `base`.
        cache: where embeddings of pools are kept.
        folder: the run's folder.
        identity: hash of the run; a saved state of another is refused.
    """
    chosen = sections(run)
    training = chosen.training
    use_threads(training)

    def build() -> PrefixModel:
        own = embedder if chosen.prefix.matching else None
        blocks, attention = chosen.prefix.blocks, chosen.model.attention
        made = build_prefix(base, matching=own is not None, blocks=blocks, attention=attention, embedder=own)
        made.copying.scale.start(math.log(chosen.prefix.scale))
        return made

    model = build()
    model.matching_dropout = chosen.prefix.matching_dropout
    needed = bool(chosen.episodes.retrieved and chosen.episodes.most_shown)
    parts = {
        split: _pools(data, examples, embedder if needed else None, cache, observer)
        for split, examples in (("train", data.train), ("validation", data.validation))
    }
    drawn = _plain(chosen.episodes)
    limit = min(chosen.episodes.room, model.room or chosen.episodes.room)
    sampler = EpisodeSampler(parts["train"], drawn, run.seed, count=model.count, limit=limit)
    held = EpisodeSampler(parts["validation"], drawn, _VALIDATION_SEED, count=model.count, limit=limit)
    fixed = validation_episodes(held, chosen.episodes)
    counts = EpisodeCounts.of(sampler, chosen.episodes.number, model)
    batches, steps = batches_of(training, counts.lengths, run.seed)
    objective = EpisodeObjective(model, sampler, fixed)
    tuned = prepare(model, chosen.tuning, total_steps=steps, seed=run.seed)
    if tuned.is_whole_model and not chosen.prefix.train_embeddings:
        freeze_embeddings(model)
    loop = make_loop(
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

    def untrained() -> list[Cell]:
        return objective.cells(build().to(loop.accelerator.device))

    return Meta(loop, objective, counts, embedder, longest_batch(counts.lengths, training.batch), untrained)


def freeze_embeddings(model: PrefixModel) -> None:
    """Let the embeddings of a model be: those of words alone where they are no module of their own."""
    module = getattr(model.language, "embeddings", None)
    chosen: Any = module if isinstance(module, nn.Module) else model.language.get_input_embeddings()
    chosen.requires_grad_(False)


def sample_of(run: PlannedRun) -> PlannedRun:
    """The run with few episodes, and none for which whole pools must be embedded: enough to forecast it."""
    chosen = sections(run)
    few = {
        "number": min(chosen.episodes.number, SAMPLE * chosen.training.batch.size),
        "validation": min(chosen.episodes.validation, SAMPLE),
        "retrieved": 0.0,
    }
    return replace(run, settings={**run.settings, "episodes": chosen.episodes.model_copy(update=few)})


def forecast(run: PlannedRun, meta: Meta) -> Estimate:
    """What a run will cost, from a few steps of its sample; nothing stays.

    Args:
        meta: of `sample_of` the run.
    """
    loop, lengths, chosen = meta.loop, meta.counts.lengths, sections(run)
    share = chosen.episodes.number / len(lengths)
    steps = steps_of(chosen.training, max(1, round(loop.batches.batches_per_epoch * share)))
    asked = sum(len(reading.ids) for reading in _readings(meta))
    return forecast_loop(
        loop,
        lambda rows: len(rows) * int(lengths[rows].max()),
        asked * chosen.episodes.validation // len(meta.objective.fixed),
        steps=steps,
        every=loop.evaluate_every if chosen.training.evaluate_every != "epoch" else steps,
    )


def _readings(meta: Meta) -> list[Any]:
    return list(meta.objective.reader.reader.read([episode.asked.prompt for episode in meta.objective.fixed]))


def _plain(section: EpisodesSection) -> EpisodeSettings:
    return EpisodeSettings(**{key: getattr(section, key) for key in EpisodeSettings.model_fields})


def _pools(
    data: BaseData, parts: dict[str, Examples], embedder: SentenceEmbedder | None, cache: Path, observer: Observer
) -> list[EpisodePool]:
    """The pools of a split; their embeddings are computed once and kept on disk."""
    pools = []
    for name, examples in parts.items():
        rows = None
        if embedder is not None:

            def tell(count: int, name: str = name) -> None:
                observer(Note(f"embeddings of {name}: {count:,} texts"))

            rows = embedder.stored([example.text for example in examples], cache / "embeddings", tell)
        pool = EpisodePool(data.tasks[name], examples, rows)
        if len(pool.labels) > 1:
            pools.append(pool)
    return pools
