"""Makes the training of one run of `understand` ready: batches with their maps, the objective, the loop.

Not here: which model (`systems.understand_models`), what is done with the weights (`systems.understand`).

Example:
    >>> ready = make_ready(opened, told, material, chosen, 1, folder, "0a")             # doctest: +SKIP
    >>> for event in ready.loop.events(): ...                                           # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tunelet.data.understanding.regimes import LabelNames
from tunelet.systems.training_run import batches_of, make_optimizer, use_threads
from tunelet.systems.understand_batches import TuningBatches
from tunelet.systems.understand_material import Material
from tunelet.systems.understand_objective import PromptObjective
from tunelet.systems.understand_opened import Opened
from tunelet.systems.understand_recipe import Sections
from tunelet.training.loop import Loop
from tunelet.training.resources import ResourceMeter
from tunelet.training.tracking import Tracker
from tunelet.tuning.precision import freeze_in
from tunelet.tuning.tuned import Tuned


@dataclass(frozen=True)
class Ready:
    """A training that is ready.

    Attributes:
        loop: to be run.
        objective: of it.
        batches: of it, with the counts.
        tuned: the model and what trains in it.
    """

    loop: Loop
    objective: PromptObjective
    batches: TuningBatches
    tuned: Tuned


def make_ready(
    opened: Opened,
    source: str,
    material: Material,
    chosen: Sections,
    seed: int,
    folder: Path,
    identity: str,
    *,
    trackers: Sequence[Tracker] = (),
    interrupted: Callable[[], bool] = lambda: False,
) -> Ready:
    """The training on a source.

    Args:
        opened: the model; what trains is attached to it.
        source: name of the task.
        seed: of the run.
        folder: of the run.
        identity: hash of the run; a saved state of another is refused.
    """
    training, approach = chosen.training, chosen.approach
    use_threads(training)
    told = material.data.tasks[source]
    speech = approach.query == "speech"
    train, validation = (material.examples(source, part) for part in ("train", "validation"))
    if speech and opened.ears is not None:
        # always the same ones together, so that no run's vectors depend on which run heard first
        opened.ears.hear([*train, *validation])
    lengths = np.array([max(1, opened.model.count(one.text)) for one in train], np.int64)
    order, steps = batches_of(training, lengths, seed)
    if approach.regime not in ("regular", "symbol", "random"):
        raise ValueError(f"the regime {approach.regime} trains nothing")
    names = LabelNames(approach.regime, told.task.label_names, pool=approach.pool)
    batches = TuningBatches(order, names, seed)
    tuned = opened.prepare(chosen.tuning, steps)
    if training.frozen == "bf16":
        freeze_in(tuned.model, torch.bfloat16)
        opened.held_in_bf16()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tuned.model.to(device)
    if opened.fast:
        tuned.use_fast_path(torch.bfloat16 if training.precision == "bf16" else torch.float32, seed=seed)
    objective = PromptObjective(
        opened.model,
        told.task,
        train,
        validation,
        material.near(source),
        batches,
        seed,
        chosen.model.max_length,
        training.batch.evaluation_size,
        speech,
        training.select == "loss",
        opened.places,
        approach.definitions == "batch",
    )
    loop = Loop(
        tuned=tuned,
        optimizer=make_optimizer(tuned, training),
        objective=objective,
        batches=batches,
        settings=training,
        total_steps=steps,
        folder=folder,
        seed=seed,
        identity=identity,
        meter=ResourceMeter(device),
        trackers=list(trackers),
        interrupted=interrupted,
    )
    return Ready(loop, objective, batches, tuned)
