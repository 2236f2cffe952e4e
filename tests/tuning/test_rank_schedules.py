"""Ranks that change: what is cut is the nearest of its rank, each layer has its own, each step draws its own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from toy_tuned import logits, toy_loaded, train, tuned_on
from tunelet.models.bases import Base
from tunelet.tuning.rank_schedules import Schedule, cut_, rank_log, rank_of_step, ranks_by_layer
from tunelet.tuning.settings import TuningSettings


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return toy_loaded(tmp_path_factory.mktemp("base"))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(2, 8), st.integers(1, 8), st.integers(0, 10_000))
def test_the_cut_is_the_nearest_of_its_rank(out: int, into: int, high: int, r: int, seed: int) -> None:
    stream = torch.Generator().manual_seed(seed)
    a, b = torch.randn(high, into, generator=stream), torch.randn(out, high, generator=stream)
    whole = (b @ a).double()
    error = cut_(a, b, r)
    u, s, v = torch.linalg.svd(whole, full_matrices=False)
    nearest = (u[:, :r] * s[:r]) @ v[:r]
    torch.testing.assert_close((b @ a).double(), nearest, atol=1e-4, rtol=1e-4)
    assert error == pytest.approx(float((whole - nearest).norm() / whole.norm()), abs=1e-5)
    assert not a[r:].any() and not b[:, r:].any()


def test_what_was_not_learned_yet_can_still_be() -> None:
    a, b = torch.randn(8, 6, generator=torch.Generator().manual_seed(1)), torch.zeros(5, 8)
    assert cut_(a, b, 3) == 0.0
    assert not b.any()
    assert bool((a[:3].norm(dim=1) > 0.5).all())


def test_the_rank_is_cut_once_and_stays_cut(base: Base) -> None:
    tuned = tuned_on(base, method="warmup-rank", r=2, rank_schedule={"initial_rank": 6, "cut_at": 0.5}, total_steps=8)
    optimizer = tuned.optimizer(learning_rate=0.02, weight_decay=0.01)
    train(tuned, optimizer, range(1, 4))
    assert {row["rank"] for row in rank_log(tuned.model)} == {6}
    assert tuned.export().config["r"] == 6
    train(tuned, optimizer, range(4, 5))
    log = rank_log(tuned.model)
    assert {(row["step"], row["rank"]) for row in log} == {(4, 2)}
    assert all(0 < row["relative_error"] < 1 for row in log)
    factors = {name: p for name, p in tuned.trainable() if "lora_" in name}
    assert len(log) == len(factors) / 2
    assert not any(optimizer.state[p]["exp_avg"].any() or optimizer.state[p]["step"] for p in factors.values())
    after = {name: p.detach().clone() for name, p in factors.items()}
    train(tuned, optimizer, range(5, 9))
    for name, parameter in factors.items():
        beyond = parameter[2:] if "lora_A" in name else parameter[:, 2:]
        assert not beyond.any()
        assert not parameter.equal(after[name])
    assert rank_log(tuned.model) == log
    export = tuned.export()
    assert (export.config["r"], export.config["lora_alpha"]) == (2, 16)
    assert {min(t.shape) for name, t in export.tensors.items() if "lora_" in name} == {2}


def test_the_cut_moves_the_answers_by_what_was_cut_alone(base: Base) -> None:
    """A cut to a rank that the update does not exceed changes nothing but rounding."""
    tuned = tuned_on(base, method="warmup-rank", r=2, rank_schedule={"initial_rank": 6}, total_steps=1000)
    train(tuned, tuned.optimizer(learning_rate=0.02), range(1, 4))
    for name, parameter in tuned.trainable():
        if "lora_A" in name:
            parameter.data[2:] = 0
        if "lora_B" in name:
            parameter.data[:, 2:] = 0
    said = logits(tuned.model)
    parameters = dict(tuned.trainable())
    for name, parameter in parameters.items():
        if "lora_A" in name:
            assert cut_(parameter.data, parameters[name.replace("lora_A", "lora_B")].data, 2) < 1e-6
    torch.testing.assert_close(logits(tuned.model), said, atol=1e-5, rtol=1e-5)


def test_the_rank_before_the_cut_is_higher() -> None:
    with pytest.raises(ValidationError, match=r"initial_rank is 4; it must be above r = 4"):
        TuningSettings(method="warmup-rank", r=4, rank_schedule={"initial_rank": 4})  # type: ignore[arg-type]


@given(st.integers(1, 64), st.floats(0, 0.99), st.integers(1, 48))
def test_ranks_rise_and_their_mean_is_r(r: int, spread: float, layers: int) -> None:
    ranks = ranks_by_layer(r, spread, layers)
    assert len(ranks) == layers and ranks == sorted(ranks) and ranks[0] >= 1
    assert sum(ranks) / layers == pytest.approx(r, abs=1.0)


def test_each_layer_has_its_rank_and_the_same_scaling(base: Base) -> None:
    tuned = tuned_on(base, method="mixed-by-layer", r=4, rank_schedule={"spread": 0.5})
    ranks = {row["module"]: row["rank"] for row in rank_log(tuned.model)}
    assert ranks["bert.encoder.layer.0.attention.self.query"] == 2
    assert ranks["bert.encoder.layer.1.output.dense"] == 6
    assert ranks["bert.pooler.dense"] == 4
    scalings = {m.scaling["default"] for m in tuned.model.modules() if hasattr(m, "lora_A")}
    assert scalings == {4.0}
    assert tuned.use_fast_path(torch.float32, seed=1) == ""


def test_each_step_trains_its_first_directions_alone(base: Base) -> None:
    tuned = tuned_on(base, method="mixed-by-step", r=4)
    schedule = Schedule(4, seed=1)
    for step in range(1, 7):
        before = {name: p.detach().clone() for name, p in tuned.trainable()}
        # without moments a direction moves only if it has a gradient
        train(tuned, torch.optim.SGD([p for _, p in tuned.trainable()], lr=0.1), range(step, step + 1))
        b = rank_of_step(schedule, step)
        for name, parameter in tuned.trainable():
            if "lora_B" in name and "key" not in name:
                moved = (parameter != before[name]).any(0)
                assert moved.tolist() == [i < b for i in range(4)], (step, name)
    assert "the fast path does not know" in tuned.use_fast_path(torch.float32, seed=1)


def test_the_log_tells_what_adalora_left(base: Base) -> None:
    tuned = tuned_on(base, method="adalora", r=4, adalora={"interval": 2})
    before = rank_log(tuned.model)
    train(tuned, tuned.optimizer(learning_rate=0.02), range(1, 13))
    after = rank_log(tuned.model)
    assert {row["rank"] for row in before} == {6}
    assert [row["module"] for row in after] == [row["module"] for row in before]
    assert sum(row["rank"] for row in after) == 4 * len(after)
    assert len({row["rank"] for row in after}) > 1


def test_the_draws_are_even_and_hang_on_the_seed() -> None:
    drawn = [rank_of_step(Schedule(4, seed=1), step) for step in range(2000)]
    assert drawn == [rank_of_step(Schedule(4, seed=1), step) for step in range(2000)]
    assert drawn != [rank_of_step(Schedule(4, seed=2), step) for step in range(2000)]
    assert all(430 < count < 570 for count in Counter(drawn).values())


def test_outside_of_training_all_directions_count(base: Base, tmp_path: Path) -> None:
    mixed, plain = tuned_on(base, method="mixed-by-step"), tuned_on(base, method="lora")
    state = plain.trainable_state()
    for name, tensor in state.items():
        state[name] = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(len(name)))
    mixed.load_trainable_state(state)
    plain.load_trainable_state(state)
    assert logits(mixed.model).equal(logits(plain.model))
