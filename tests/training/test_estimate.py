"""The forecast of a run, with a clock that makes steps take what the test says."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

from tunelet.base.errors import InputError
from tunelet.training.estimate import REPEATS, Estimate, estimate, pick_batches

Batch = dict[str, Tensor]


class Clock:
    """Each forward pass of `loss` takes `rate` seconds a token and `fixed` more, and `noise` adds to one of them."""

    def __init__(self, model: nn.Module, rate: float = 0.01, fixed: float = 0.0, noise: dict[int, float] | None = None):
        self.model, self.rate, self.fixed, self.noise = model, rate, fixed, noise or {}
        self.now, self.calls = 0.0, 0

    def __call__(self) -> float:
        return self.now

    def loss(self, batch: Batch) -> Tensor:
        self.now += self.fixed + self.rate * batch["input_ids"].numel() + self.noise.get(self.calls, 0.0)
        self.calls += 1
        dropped = nn.functional.dropout(batch["input_ids"].float().reshape(-1, 4), 0.5)
        out: Tensor = self.model(dropped).square().mean()
        return out


def batch(tokens: int) -> Batch:
    return {"input_ids": torch.ones(1, tokens, dtype=torch.long)}


def run(clock: Clock, **changes: object) -> Estimate:
    model = clock.model
    options = {
        "typical": batch(8),
        "largest": batch(16),
        "total_steps": 100,
        "tokens_per_step": 8,
        "clock": clock,
        **changes,
    }
    trained = [p for p in model.parameters() if p.requires_grad]
    return estimate(model, lambda: torch.optim.AdamW(trained, lr=0.1), clock.loss, **options)  # type: ignore[arg-type]


@pytest.fixture
def model() -> nn.Module:
    layer = nn.Linear(4, 4)
    layer.bias.requires_grad_(False)
    return layer


def test_time_is_steps_times_the_time_of_one(model: nn.Module) -> None:
    found = run(Clock(model))
    assert found.train_seconds == pytest.approx(100 * 0.08)
    assert found.evaluation_seconds == 0
    assert found.seconds_low < found.seconds < found.seconds_high
    assert found.step_seconds == pytest.approx([0.08] * REPEATS)
    assert "time: good" in found.trust


def test_steps_of_another_size_lie_on_the_line_through_both(model: nn.Module) -> None:
    # 0.5 s whatever the size, and 0.01 s a token: 12 tokens take 0.62 s.
    found = run(Clock(model, fixed=0.5), tokens_per_step=12)
    assert found.train_seconds == pytest.approx(100 * 0.62)


def test_one_size_only_is_taken_in_proportion(model: nn.Module) -> None:
    found = run(Clock(model), largest=batch(8), tokens_per_step=4)
    assert found.train_seconds == pytest.approx(100 * 0.04)


def test_evaluation_goes_by_its_tokens(model: nn.Module) -> None:
    found = run(Clock(model), evaluation_tokens=800)
    assert found.evaluation_seconds == pytest.approx(8.0)
    assert found.seconds == pytest.approx(16.0)


def test_the_first_use_is_not_a_timing(model: nn.Module) -> None:
    assert run(Clock(model, noise={0: 60.0})).train_seconds == pytest.approx(run(Clock(model)).train_seconds)


def test_noise_widens_the_bounds_and_lowers_the_trust(model: nn.Module) -> None:
    calm = run(Clock(model))
    busy = run(Clock(model, noise={4: 1.0}))  # one of the typical steps: after warm-up, memory, largest, one typical
    assert busy.train_seconds == pytest.approx(calm.train_seconds)  # the median stands
    assert busy.seconds_high > 5 * calm.seconds_high
    assert "time: poor" in busy.trust


def test_early_stopping_lowers_the_lower_bound_only(model: nn.Module) -> None:
    found, plain = run(Clock(model), least_steps=25), run(Clock(model))
    assert found.seconds_low == pytest.approx(plain.seconds_low / 4)
    assert found.seconds_high == plain.seconds_high
    assert "early stopping" in found.trust and "early stopping" not in plain.trust


def test_counts_and_memory_are_those_of_the_largest_batch(model: nn.Module) -> None:
    found = run(Clock(model))
    assert (found.parameters, found.trainable) == (20, 16)
    assert found.memory.parameters == 80
    assert found.memory.gradients == 64
    assert found.memory.optimizer == 2 * 64 + 4
    larger = run(Clock(model), largest=batch(32))
    assert larger.memory.saved_activations > found.memory.saved_activations


def test_nothing_is_kept(model: nn.Module) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradient = torch.full((4, 4), 3.0)
    model.weight.grad = gradient
    stream = torch.get_rng_state()
    run(Clock(model), evaluation_tokens=8)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.weight.grad is gradient
    assert torch.equal(torch.get_rng_state(), stream)


def test_weights_are_put_back_when_a_step_fails(model: nn.Module) -> None:
    before = model.weight.detach().clone()
    with pytest.raises(RuntimeError):
        run(Clock(model), typical={"input_ids": torch.ones(1, 7, dtype=torch.long)})  # fits no model of four inputs
    assert torch.equal(model.weight, before)


def test_json_holds_every_field(model: nn.Module) -> None:
    found = run(Clock(model)).to_json()
    assert json.loads(json.dumps(found)) == found
    assert found.keys() == set(Estimate.__dataclass_fields__) | {"seconds"}


def test_a_batch_of_another_kind_needs_a_size(model: nn.Module) -> None:
    clock = Clock(model)
    with pytest.raises(TypeError, match="size="):
        estimate(
            model,
            lambda: torch.optim.SGD([model.weight], lr=0.1),
            lambda rows: clock.loss({"input_ids": rows}),
            typical=torch.ones(1, 8),
            largest=torch.ones(1, 8),
            total_steps=1,
            tokens_per_step=8,
        )


def test_the_typical_batch_is_nearest_to_the_mean() -> None:
    assert pick_batches([64, 80, 96, 512]) == (2, 3)
    assert pick_batches([7]) == (0, 0)
    with pytest.raises(InputError, match="empty"):
        pick_batches([])
