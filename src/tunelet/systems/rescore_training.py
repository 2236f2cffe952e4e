"""Trains a [CLS] scorer on lists with parts that it chooses. Not here: what is done with it (`systems.rescore`).

Example:
    >>> trained = train(run, stages, base, sets, folder, run_hash, observer, interrupted, (1, 1))     # doctest: +SKIP
    >>> trained.score("test").shape                                                                 # doctest: +SKIP
    (72, 33)
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tunelet.base.files import write_json
from tunelet.data.phases import PhasedBatches
from tunelet.evaluation.probabilities import Floats
from tunelet.models.bases import Base
from tunelet.models.rescorer import build_rescorer
from tunelet.systems.recipes import PlannedRun
from tunelet.systems.rescore_objective import Rescoring
from tunelet.systems.rescore_recipe import sections
from tunelet.systems.rescore_results import ScoredSet
from tunelet.systems.rescore_stages import Stages
from tunelet.systems.rescore_taught import Taught
from tunelet.systems.training_run import cost_of, make_loop, memory_of, opening, train_to_end, use_threads
from tunelet.training.events import Note, Observer
from tunelet.training.loop import Loop
from tunelet.training.tracking import Tracker, open_trackers
from tunelet.tuning.methods import prepare
from tunelet.tuning.rank_schedules import rank_log
from tunelet.tuning.rescorer_folder import load_rescorer, save_rescorer
from tunelet.tuning.rescorer_start import start_from
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
        taught: lists of each phase, and the weights of what stood beside the scorer or taught it; JSON values.
    """

    score: Callable[[str], Floats]
    best_step: int
    stopped: str
    resources: dict[str, Any]
    ranks: list[dict[str, Any]] = field(default_factory=list)
    taught: dict[str, Any] = field(default_factory=dict)


def train(
    run: PlannedRun,
    stages: Stages,
    base: Base,
    sets: Callable[[str], ScoredSet],
    folder: Path,
    run_hash: str,
    observer: Observer,
    interrupted: Callable[[], bool],
    place: tuple[int, int],
) -> Trained:
    """Train on the train set from where the run was left; the scorer stands in `folder` / `NETWORK` then.

    Args:
        sets: a set by its name, with all that the run has beside the scorer; dev chooses the checkpoint.
        folder, run_hash: of the run.
        place: its number, and how many there are.
    """
    model, scorer, _, _, training = sections(run)
    taught = Taught.of(scorer, stages, sets, seed=run.seed)
    objective = Rescoring.of(
        taught.train,
        base.tokenizer,
        scorer,
        model.max_length,
        sets("dev"),
        stages.texts("dev"),
        seed=run.seed,
        autocast=torch.bfloat16 if training.precision == "bf16" else None,
        simulated=taught.simulated,
        beside=taught.weights("beside"),
    )
    settings = {key: section.model_dump(mode="json") for key, section in run.settings.items()}
    with ExitStack() as closing:
        trackers = open_trackers(training.trackers, run.name, settings, folder)
        closing.callback(trackers.finish)
        loop = build_loop(
            run,
            objective,
            base,
            folder,
            identity=run_hash,
            trackers=[trackers],
            interrupted=interrupted,
            start=None if scorer.start is None else stages.data.starts[scorer.start][0],
        )
        table, notes = trainable_table(loop.tuned.model), loop.restore()
        write_json(folder / "trainable.json", table.to_json())
        lists = f"{objective.sizes[-1][1]:,} of {len(stages.lists('train')):,} lists of train teach something"
        before = [Note(f"before these: {count:,} lists of the phase {name}") for name, count in objective.sizes[:-1]]
        for event in (*opening(run, loop, table, place, notes), Note(lists), *before):
            observer(event)
        train_to_end(loop, run, observer)
    best_step = loop.load_best()
    memory = memory_of(loop, objective.longest(training.batch))
    save_rescorer(folder / NETWORK, loop.tuned, base)
    loaded = load_rescorer(folder / NETWORK)
    resources = cost_of(loop, table, memory, folder / NETWORK)
    objective.autocast = None  # what is reported is computed in fp32
    return Trained(
        score=lambda name: objective.score(loaded.model, stages.texts(name), stages.table(name)),
        best_step=best_step,
        stopped=loop.stopped,
        resources=resources,
        ranks=[] if loop.tuned.is_whole_model else rank_log(loop.tuned.model),
        taught=taught.to_json() | {"phases": dict(objective.sizes)},
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
    start: Path | None = None,
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
        start: folder of a scorer that is trained on; None: the base with a new head.
    """
    model_settings, _, _, tuning, training = sections(run)
    batch = training.batch
    use_threads(training)
    batches = PhasedBatches(
        objective.lengths,
        objective.phases(training.epochs),
        batch.size,
        run.seed,
        accumulate=batch.accumulate,
        pool_batches=batch.pool,
        tokens=batch.tokens,
    )
    steps = batches.planned // batch.accumulate
    steps = steps if training.max_steps is None else min(steps, training.max_steps)
    tuned = prepare(build_rescorer(base, attention=model_settings.attention), tuning, total_steps=steps, seed=run.seed)
    if start is not None:
        start_from(tuned, start, base)
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
