"""A toy base with an adapter of any method, trained a few steps: what the tests of models and tuning share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from toy import toy_base
from tunelet.data.records import Label, Task
from tunelet.models.bases import Base, load_base
from tunelet.models.classifier import build_classifier
from tunelet.models.settings import ModelSettings
from tunelet.tuning.methods import prepare
from tunelet.tuning.settings import TuningSettings
from tunelet.tuning.tuned import Tuned

TASK = Task(
    "moods",
    "which mood a text is in",
    (Label("sad", "something was lost"), Label("glad", "something was won"), Label("cross", "something is unfair")),
)
BATCH = {
    "input_ids": torch.tensor([[2, 5, 6, 24, 3], [2, 11, 9, 29, 3], [2, 5, 30, 3, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]),
}
GOLD = torch.tensor([0, 1, 2])


def toy_loaded(folder: Path, **options: Any) -> Base:
    """A toy base, written to `folder` and found there."""
    return load_base(ModelSettings(base=str(toy_base(folder, **options)), max_length=32))


def tuned_on(base: Base, *, total_steps: int = 12, seed: int = 1, **settings: Any) -> Tuned:
    """An untrained adapter for `TASK`, without dropout unless asked for."""
    chosen = TuningSettings.model_validate({"targets": "qkv+dense", "r": 4, "dropout": 0.0, **settings})
    return prepare(build_classifier(base, TASK, seed=seed), chosen, total_steps=total_steps, seed=seed)


def train(tuned: Tuned, optimizer: torch.optim.Optimizer, steps: range, *, autocast: bool = False) -> None:
    """Plain steps on `BATCH`, in the order in which the loop does them; the base's own dropout follows the step."""
    tuned.model.train()
    for step in steps:
        torch.manual_seed(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = torch.nn.functional.cross_entropy(tuned.model(**BATCH).logits.float(), GOLD)
        term = tuned.regulariser()
        (loss if term is None else loss + term).backward()
        optimizer.step()
        tuned.after_step(step)
        optimizer.zero_grad()
    tuned.model.eval()


def trained_on(base: Base, *, steps: int = 6, learning_rate: float = 0.02, **settings: Any) -> Tuned:
    """An adapter that was trained a few steps."""
    tuned = tuned_on(base, **settings)
    train(tuned, tuned.optimizer(learning_rate=learning_rate, weight_decay=0.01), range(1, steps + 1))
    return tuned


def logits(model: torch.nn.Module, *, autocast: bool = False) -> Tensor:
    """What `model` says to `BATCH`, in evaluation mode."""
    model.eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found: Tensor = model(**BATCH).logits.float().clone()
    return found
