"""What a forecast asks for: which batches it times, how many steps and evaluations it counts, whose parameters."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tunelet.systems import training_forecast
from tunelet.systems.training_run import batches_of
from tunelet.training.estimate import Estimate, estimate
from tunelet.training.settings import TrainingSettings

LENGTHS = np.array([1, 1, 2, 2, 3, 3, 9, 9])


class Asked(dict[str, Any]):
    """What `estimate` was asked for; it runs as ever."""

    def __call__(self, *given: Any, **asked: Any) -> Estimate:
        self.update(asked)
        return estimate(*given, **asked)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    found = Asked()
    monkeypatch.setattr(training_forecast, "estimate", found)
    return found


def loop_of(**given: Any) -> Any:
    training = TrainingSettings.model_validate({"epochs": 4, "batch": {"size": 2, "accumulate": 2}, **given})
    batches, steps = batches_of(training, LENGTHS, 1)
    model = nn.Linear(4, 2)
    model.bias.requires_grad_(False)

    def loss(rows: np.ndarray) -> torch.Tensor:
        out: torch.Tensor = model(torch.ones(len(rows), 4)).sum()
        return out

    def optimizer(**_: Any) -> torch.optim.Optimizer:
        return torch.optim.AdamW([model.weight])

    tuned = SimpleNamespace(model=model, engine=None, optimizer=optimizer)
    return SimpleNamespace(
        settings=training, batches=batches, total_steps=steps, evaluate_every=2, tuned=tuned, loss=loss
    )


def size(rows: np.ndarray) -> int:
    return len(rows) * int(LENGTHS[rows].max())


def test_it_times_a_typical_and_the_largest_batch_and_counts_what_the_loop_plans(asked: Asked) -> None:
    loop = loop_of()
    found = training_forecast.forecast_loop(loop, size, validation=100)
    assert size(asked["largest"]) == 18 and size(asked["typical"]) == 6
    assert loop.total_steps == 8 and asked["total_steps"] == 16  # two batches a step
    assert asked["evaluation_tokens"] == 100 * 4 and asked["least_steps"] is None
    assert asked["tokens_per_step"] == pytest.approx((2 + 4 + 6 + 18) / 4)
    assert (found.parameters, found.trainable) == (10, 8)


def test_another_length_takes_the_place_of_the_loop_s(asked: Asked) -> None:
    training_forecast.forecast_loop(loop_of(patience=2), size, validation=100, steps=30, every=10)
    assert (asked["total_steps"], asked["evaluation_tokens"], asked["least_steps"]) == (60, 300, 30)
    training_forecast.forecast_loop(loop_of(), size, validation=100, steps=30, evaluations=2.5)
    assert (asked["total_steps"], asked["evaluation_tokens"]) == (60, 250)


def test_of_a_long_epoch_a_part_is_looked_at(asked: Asked) -> None:
    loop = loop_of()
    training_forecast.forecast_loop(loop, size, validation=0, most=1)
    assert np.array_equal(asked["typical"], asked["largest"])
    assert loop.batches.state_dict() != loop_of().batches.state_dict()  # one was taken


def test_the_timed_batches_are_warmed_first(asked: Asked) -> None:
    seen: list[int] = []
    training_forecast.forecast_loop(loop_of(), size, validation=0, warm=lambda rows: seen.append(size(rows)))
    assert seen == [6, 18]
