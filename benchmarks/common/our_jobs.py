"""Jobs of our processes: the loop of `tunelet run` in blocks, a given number of steps, or an adapter to predict with.

Not here: the peer (`trainer_jobs`).

Example:
    >>> worker = Worker("train_ours", Side(precision="bf16").model_dump(mode="json"))       # doctest: +SKIP
    >>> worker.wait(), worker.ask({"steps": 10})                                            # doctest: +SKIP
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tunelet.data.tokens import tokenise
from tunelet.models.bases import load_base
from tunelet.models.settings import ModelSettings
from tunelet.systems.classify_objective import Classification
from tunelet.systems.classify_training import build_loop
from tunelet.systems.recipes import PlannedRun
from tunelet.training.events import StepDone
from tunelet.training.loop import Loop
from tunelet.training.settings import BatchSettings, TrainingSettings
from tunelet.tuning.folder import save_adapter

from .gate import Gate
from .side import Side, dataset_of
from .trainer_jobs import ENDLESS
from .worker import Channel


def train(spec: dict[str, Any], channel: Channel) -> None:
    """Steps on order, through a `Gate`."""
    gate = Gate(channel)
    with tempfile.TemporaryDirectory() as folder:
        loop = loop_of(Side.model_validate(spec), ENDLESS, Path(folder))
        gate.watch(loop.tuned.model)
        gate.facts["engine"] = "peft" if loop.tuned.engine is None else "fast"
        for event in loop.events():
            if isinstance(event, StepDone) and not gate.step_done():
                return


def learn(spec: dict[str, Any], channel: Channel) -> None:
    """``{"seed": s, "steps": n}`` is answered with the labels that the model gives the test split after n steps."""
    channel.answer({"ready": True})
    for order in channel.orders():
        with tempfile.TemporaryDirectory() as folder:
            loop = loop_of(Side.model_validate({**spec, "seed": order["seed"]}), order["steps"], Path(folder))
            for _ in loop.events():
                pass
        objective = _objective(loop)
        logits = objective.score(loop.tuned.model, "test")[1]
        channel.answer({"predicted": logits.argmax(1).tolist(), "gold": objective.splits["test"].labels.tolist()})


def make_adapter(spec: dict[str, Any], channel: Channel) -> None:
    """``{"steps": n, "folder": F}`` trains n steps and saves the adapter in F."""
    side = Side.model_validate(spec)
    channel.answer({"ready": True})
    for order in channel.orders():
        with tempfile.TemporaryDirectory() as folder:
            loop = loop_of(side, order["steps"], Path(folder))
            for _ in loop.events():
                pass
        base = load_base(ModelSettings(base=side.base, max_length=side.max_length))
        save_adapter(Path(order["folder"]), loop.tuned, base, dataset_of(side).task)
        channel.answer({"folder": order["folder"]})


def loop_of(side: Side, steps: int, folder: Path) -> Loop:
    """The loop of `tunelet run` for this side: length buckets, the engine that the settings choose, their precision."""
    data = dataset_of(side)
    model = ModelSettings(base=side.base, max_length=side.max_length)
    training = TrainingSettings(
        epochs=steps,  # never fewer than the steps that are asked for, however small the split
        max_steps=steps,
        batch=BatchSettings(size=side.batch),
        learning_rate=side.learning_rate,
        precision=side.precision,
        frozen=side.precision,
        evaluate_every=steps,
    )
    base = load_base(model)
    splits = tokenise(data, base.tokenizer, side.max_length, None)
    objective = Classification(splits, data.task.label_names, base.tokenizer.pad_token_id, training, side.max_length)
    run = PlannedRun("bench", side.seed, {"model": model, "tuning": side.tuning, "training": training})
    return build_loop(run, objective, base, data.task, folder, identity="bench")


def _objective(loop: Loop) -> Classification:
    if not isinstance(loop.objective, Classification):
        raise TypeError("a loop of these benchmarks classifies")
    return loop.objective
