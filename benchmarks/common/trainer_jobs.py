"""Jobs of the peer's processes: train in blocks, or a given number of steps. The peer itself is `trainer_peer`.

Example:
    >>> worker = Worker("train_trainer", Side(precision="bf16").model_dump(mode="json"))        # doctest: +SKIP
    >>> worker.wait(), worker.ask({"steps": 10})                                                # doctest: +SKIP
"""

from __future__ import annotations

import tempfile
from typing import Any

from transformers import AutoTokenizer, TrainerCallback

from tunelet.data.records import Dataset
from tunelet.models.bases import load_base
from tunelet.models.settings import ModelSettings
from tunelet.tuning.settings import TuningSettings
from tunelet.tuning.targets import target_names

from .gate import Gate
from .side import Side, dataset_of
from .trainer_peer import classifier, encode, trainer
from .worker import Channel

#: more steps than any benchmark wants
ENDLESS = 1_000_000


def train(spec: dict[str, Any], channel: Channel) -> None:
    """Steps on order, through a `Gate`."""
    gate = Gate(channel)
    with tempfile.TemporaryDirectory() as out:
        run = trainer_of(Side.model_validate(spec), ENDLESS, out, callbacks=[_Waits(gate)])
        gate.watch(run.model)
        run.train()


def learn(spec: dict[str, Any], channel: Channel) -> None:
    """``{"seed": s, "steps": n}`` is answered with the labels that the model gives the test split after n steps."""
    channel.answer({"ready": True})
    for order in channel.orders():
        side = Side.model_validate({**spec, "seed": order["seed"]})
        with tempfile.TemporaryDirectory() as out:
            run = trainer_of(side, order["steps"], out)
            run.train()
            found = run.predict(rows_of(dataset_of(side), side, "test"))
        channel.answer({"predicted": found.predictions.argmax(-1).tolist(), "gold": found.label_ids.tolist()})


def trainer_of(side: Side, steps: int, out: str, callbacks: Any = ()) -> Any:
    """The Trainer of a side."""
    data = dataset_of(side)
    folder = load_base(ModelSettings(base=side.base, max_length=side.max_length)).folder
    labels = data.task.label_names
    model = classifier(folder, labels, lora_of(side.tuning, folder, labels), side.seed)
    return trainer(
        model,
        AutoTokenizer.from_pretrained(folder),
        rows_of(data, side, "train"),
        batch=side.batch,
        bf16=side.precision == "bf16",
        steps=steps,
        learning_rate=side.learning_rate,
        seed=side.seed,
        out=out,
        pad_to=side.pad_to,
        callbacks=callbacks,
    )


def rows_of(data: Dataset, side: Side, split: str) -> list[dict[str, Any]]:
    """A split, tokenised as the peer does it."""
    folder = load_base(ModelSettings(base=side.base, max_length=side.max_length)).folder
    examples = data.splits[split]
    gold = [data.task.index(example.labels[0]) for example in examples]
    return encode(AutoTokenizer.from_pretrained(folder), [example.text for example in examples], gold, side.max_length)


def lora_of(tuning: TuningSettings, folder: Any, labels: Any) -> dict[str, Any] | None:
    """PEFT's config of our settings, or None under full fine-tuning."""
    if tuning.method == "full":
        return None
    names = target_names(classifier(folder, labels, None, 0), tuning.targets)
    return {"r": tuning.r, "lora_alpha": tuning.alpha, "lora_dropout": tuning.dropout, "target_modules": names}


class _Waits(TrainerCallback):  # type: ignore[misc]
    """Lets the gate decide at the end of each step."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> Any:
        """Called by the Trainer after optimiser and schedule."""
        control.should_training_stop = not self._gate.step_done()
        return control
