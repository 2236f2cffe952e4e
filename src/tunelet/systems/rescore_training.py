"""Trains a [CLS] scorer on lists with parts that it chooses. Not here: what is done with it (`systems.rescore`).

Example:
    >>> trained = train(run, stages, base, dev, folder, run_hash, observer, interrupted, (1, 1))     # doctest: +SKIP
    >>> trained.score("test").shape                                                                 # doctest: +SKIP
    (72, 33)
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunelet.base.files import folder_bytes, write_json
from tunelet.data.batching import LengthBucketBatches
from tunelet.evaluation.probabilities import Floats
from tunelet.models.bases import Base
from tunelet.models.rescorer import build_rescorer
from tunelet.systems.recipes import PlannedRun
from tunelet.systems.rescore_objective import Rescoring
from tunelet.systems.rescore_recipe import sections
from tunelet.systems.rescore_results import ScoredSet
from tunelet.systems.rescore_stages import Stages
from tunelet.training.events import Note, Observer, RunStarted, named
from tunelet.training.loop import Loop
from tunelet.training.memory import measure_memory
from tunelet.training.resources import ResourceMeter
from tunelet.training.schedule import planned_steps
from tunelet.training.tracking import Tracker, open_trackers
from tunelet.tuning.methods import prepare
from tunelet.tuning.precision import freeze_in
from tunelet.tuning.rank_schedules import rank_log
from tunelet.tuning.rescorer_folder import load_rescorer, save_rescorer
from tunelet.tuning.trainable import trainable_table

#: folder of the network in a run's folder until it is part of the run's adapter
NETWORK = "scorer"


@dataclass(frozen=True, eq=False)
class Trained:
    """A scorer that has been trained, saved and loaded again.

    Attributes:
        score: g of every hypothesis of a set by its name, (U, N), in fp32.
        best_step: step of the best checkpoint on dev.
        stopped: why training ended.
        resources: what it cost, JSON values.
        ranks: the rank of each adapted module, and warm-up's cut.
    """

    score: Callable[[str], Floats]
    best_step: int
    stopped: str
    resources: dict[str, Any]
    ranks: list[dict[str, Any]] = field(default_factory=list)


def train(
    run: PlannedRun,
    stages: Stages,
    base: Base,
    dev: ScoredSet,
    folder: Path,
    run_hash: str,
    observer: Observer,
    interrupted: Callable[[], bool],
    place: tuple[int, int],
) -> Trained:
    """Train on the train set from where the run was left; the scorer stands in `folder` / `NETWORK` then.

    Args:
        dev: chooses the checkpoint.
        folder, run_hash: of the run.
        place: its number, and how many there are.
    """
    model, scorer, _, _, training = sections(run)
    objective = Rescoring.of(
        stages.lists("train"),
        stages.table("train"),
        stages.texts("train"),
        base.tokenizer,
        scorer,
        model.max_length,
        dev,
        stages.texts("dev"),
        seed=run.seed,
        autocast=torch.bfloat16 if training.precision == "bf16" else None,
    )
    settings = {key: section.model_dump(mode="json") for key, section in run.settings.items()}
    with ExitStack() as closing:
        trackers = open_trackers(training.trackers, run.name, settings, folder)
        closing.callback(trackers.finish)
        loop = build_loop(run, objective, base, folder, identity=run_hash, trackers=[trackers], interrupted=interrupted)
        table, notes = trainable_table(loop.tuned.model), loop.restore()
        write_json(folder / "trainable.json", table.to_json())
        observer(RunStarted(run.name, *place, loop.step, loop.total_steps))
        share = f"{table.trainable:,} of {table.total:,} parameters train ({table.share:.2%}); see trainable.json"
        lists = f"{len(objective.train):,} of {len(stages.lists('train')):,} lists of train teach something"
        for note in (*notes, Note(share), Note(lists)):
            observer(note)
        with loop.meter:
            for event in loop.events():
                observer(named(event, run.name))
    best_step, engine = loop.load_best(), loop.tuned.engine
    longest = np.argsort(-objective.lengths, kind="stable")[: training.batch.size]
    memory = measure_memory(
        loop.tuned.model,
        loop.optimizer,
        lambda: loop.loss(longest),
        working=engine.tensors() if engine is not None else (),
    )
    save_rescorer(folder / NETWORK, loop.tuned, base)
    loaded = load_rescorer(folder / NETWORK)
    resources = loop.meter.resources(
        trainable_parameters=table.trainable,
        total_parameters=table.total,
        adapter_bytes=folder_bytes(folder / NETWORK),
        memory=memory,
    )
    objective.autocast = None  # what is reported is computed in fp32
    return Trained(
        score=lambda name: objective.score(loaded.model, stages.texts(name), stages.table(name)),
        best_step=best_step,
        stopped=loop.stopped,
        resources=resources.to_json(),
        ranks=[] if loop.tuned.is_whole_model else rank_log(loop.tuned.model),
    )


def build_loop(
    run: PlannedRun,
    objective: Rescoring,
    base: Base,
    folder: Path,
    *,
    identity: str,
    trackers: list[Tracker],
    interrupted: Callable[[], bool],
) -> Loop:
    """Everything of a run: model, what trains in it, optimiser, batches of lists, loop.

    Args:
        run: the planned run.
        objective: its loss and evaluation.
        base: what is tuned.
        folder: the run's folder.
        identity: hash of the run; a saved state of another is refused.
        trackers: told of every logged row.
        interrupted: asked after every step.
    """
    model_settings, _, _, tuning, training = sections(run)
    batch = training.batch
    if training.threads is not None:
        torch.set_num_threads(training.threads)
    batches = LengthBucketBatches(objective.lengths, batch.size, run.seed, pool_batches=batch.pool, tokens=batch.tokens)
    steps = planned_steps(
        batches.batches_per_epoch,
        epochs=training.epochs,
        accumulate=batch.accumulate,
        max_steps=training.max_steps,
    )
    tuned = prepare(build_rescorer(base, attention=model_settings.attention), tuning, total_steps=steps, seed=run.seed)
    if training.frozen == "bf16":
        freeze_in(tuned.model, torch.bfloat16)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tuned.model.to(device)
    tuned.use_fast_path(torch.bfloat16 if training.precision == "bf16" else torch.float32, seed=run.seed)
    optimizer = tuned.optimizer(
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        betas=training.betas,
        eps=training.eps,
    )
    return Loop(
        tuned=tuned,
        optimizer=optimizer,
        objective=objective,
        batches=batches,
        settings=training,
        total_steps=steps,
        folder=folder,
        seed=run.seed,
        identity=identity,
        meter=ResourceMeter(device),
        trackers=trackers,
        interrupted=interrupted,
    )
