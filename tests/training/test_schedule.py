"""The rate rises, decays and ends as it says, and the number of steps is never zero."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelet.training.schedule import factor, planned_steps

schedules = st.sampled_from(["linear", "cosine", "constant"])


@given(schedules, st.integers(1, 400), st.data())
def test_the_factor_is_a_share_and_positive_until_the_end(schedule: str, total: int, data: st.DataObject) -> None:
    warmup = data.draw(st.integers(0, total))
    factors = [factor(schedule, step=step, total=total, warmup=warmup) for step in range(total)]
    assert all(0.0 < value <= 1.0 for value in factors)
    assert factors[:warmup] == sorted(factors[:warmup])
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)


@given(schedules, st.integers(2, 400), st.data())
def test_the_peak_is_reached_right_after_the_warm_up(schedule: str, total: int, data: st.DataObject) -> None:
    warmup = data.draw(st.integers(0, total - 1))
    assert factor(schedule, step=warmup, total=total, warmup=warmup) == 1.0


@pytest.mark.parametrize(("schedule", "end"), [("linear", 0.0), ("cosine", 0.0), ("constant", 1.0)])
@pytest.mark.parametrize("step", [100, 150])
def test_the_end(schedule: str, end: float, step: int) -> None:
    assert factor(schedule, step=step, total=100, warmup=10) == pytest.approx(end, abs=1e-12)


def test_values_by_hand() -> None:
    assert [factor("linear", step=s, total=10, warmup=4) for s in range(5)] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert factor("linear", step=7, total=10, warmup=4) == 0.5
    assert factor("cosine", step=25, total=100, warmup=0) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert factor("cosine", step=50, total=100, warmup=0) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("batches", "epochs", "accumulate", "max_steps", "steps"),
    [
        (1000, 5, 1, None, 5000),
        (30, 8, 1, None, 240),
        (1, 0.01, 1, None, 1),
        (10, 1, 4, None, 2),
        (10, 0.5, 1, None, 5),
        (10, 3, 1, 7, 7),
        (1, 1, 1, 7, 1),
    ],
)
def test_planned_steps(batches: int, epochs: float, accumulate: int, max_steps: int | None, steps: int) -> None:
    assert planned_steps(batches, epochs=epochs, accumulate=accumulate, max_steps=max_steps) == steps


@given(st.integers(1, 10_000), st.floats(0.001, 20), st.integers(1, 8), st.none() | st.integers(1, 50))
def test_there_is_a_step_and_the_limit_holds(
    batches: int, epochs: float, accumulate: int, max_steps: int | None
) -> None:
    steps = planned_steps(batches, epochs=epochs, accumulate=accumulate, max_steps=max_steps)
    assert steps >= 1
    assert max_steps is None or steps <= max_steps
