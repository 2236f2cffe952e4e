"""Clocks, counters and peaks of a run, with a clock that the test moves by hand."""

from __future__ import annotations

import json
import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelet.base.errors import ResumeError
from tunelet.training import resources
from tunelet.training.memory import MemoryBreakdown
from tunelet.training.resources import ResourceMeter, Resources

NUMBERS = {"trainable_parameters": 10, "total_parameters": 1000, "adapter_bytes": 123}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def test_training_and_evaluation_have_clocks_of_their_own() -> None:
    clock = Clock()
    with ResourceMeter("cpu", clock) as meter:
        clock.wait(1)  # loading
        with meter.training():
            clock.wait(10)
            with meter.evaluation():
                clock.wait(3)
            clock.wait(5)
        with meter.evaluation():
            clock.wait(2)
        clock.wait(4)  # saving
    found = meter.resources(**NUMBERS)
    assert (found.train_seconds, found.evaluation_seconds, found.wall_seconds) == (15, 5, 25)


def test_a_phase_that_fails_is_closed() -> None:
    clock = Clock()
    with ResourceMeter("cpu", clock) as meter:
        with pytest.raises(RuntimeError), meter.training(), meter.evaluation():
            clock.wait(2)
            raise RuntimeError
        clock.wait(7)
    found = meter.resources(**NUMBERS)
    assert (found.train_seconds, found.evaluation_seconds, found.wall_seconds) == (0, 2, 9)


def test_nothing_counts_after_the_end() -> None:
    clock = Clock()
    with ResourceMeter("cpu", clock) as meter:
        clock.wait(1)
    clock.wait(50)
    assert meter.resources(**NUMBERS).wall_seconds == 1
    assert meter.resources(**NUMBERS).wall_seconds == 1


def test_rates_are_of_real_work_in_training_time() -> None:
    clock = Clock()
    with ResourceMeter("cpu", clock) as meter:
        with meter.training():
            for _ in range(4):
                clock.wait(0.5)
                meter.count_step(samples=16, tokens=300, padded_tokens=400)
        with meter.evaluation():
            clock.wait(100)
    found = meter.resources(**NUMBERS)
    assert (found.steps, found.samples, found.tokens, found.padded_tokens) == (4, 64, 1200, 1600)
    assert (found.steps_per_second, found.samples_per_second, found.tokens_per_second) == (2, 32, 600)
    assert found.padding_share == 0.25
    assert found.trainable_share == 0.01


def test_a_run_without_a_step_has_rates_of_zero() -> None:
    found = ResourceMeter("cpu").resources(trainable_parameters=0, total_parameters=0, adapter_bytes=0)
    assert (found.steps_per_second, found.tokens_per_second, found.padding_share, found.trainable_share) == (0, 0, 0, 0)


def test_json_holds_every_field_and_rate() -> None:
    clock = Clock()
    with ResourceMeter("cpu", clock) as meter, meter.training():
        clock.wait(2)
        meter.count_step(samples=1, tokens=3, padded_tokens=4)
    found = meter.resources(**NUMBERS, memory=MemoryBreakdown(1, 2, 3, 4)).to_json()
    assert json.loads(json.dumps(found)) == found
    properties = {name for name, value in vars(Resources).items() if isinstance(value, property)}
    assert found.keys() == set(Resources.__dataclass_fields__) | properties
    assert found["memory"] == {"parameters": 1, "gradients": 2, "optimizer": 3, "saved_activations": 4}
    assert found["tokens_per_second"] == 1.5


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(1, 9)), max_size=8), st.integers(0, 8))
def test_a_resumed_run_adds_up(steps: list[tuple[int, int, int]], cut: int) -> None:
    def work(meter: ResourceMeter, clock: Clock, part: list[tuple[int, int, int]]) -> None:
        for train, evaluation, tokens in part:
            with meter.training():
                clock.wait(train)
                meter.count_step(samples=2, tokens=tokens, padded_tokens=2 * tokens)
            with meter.evaluation():
                clock.wait(evaluation)

    clock = Clock()
    with ResourceMeter("cpu", clock) as whole:
        work(whole, clock, steps)

    clock = Clock()
    with ResourceMeter("cpu", clock) as first:
        work(first, clock, steps[:cut])
        state = json.loads(json.dumps(first.state_dict()))
        work(first, clock, steps[cut:][:1])  # lost: done after the state was saved
    second = ResourceMeter("cpu", clock)
    second.load_state_dict(state)
    clock.wait(1000)  # between the sessions
    with second:
        work(second, clock, steps[cut:])

    expected, found = whole.resources(**NUMBERS).to_json(), second.resources(**NUMBERS).to_json()
    for counted in (expected, found):
        counted.pop("peak_memory_bytes")
    assert found == expected


@pytest.mark.parametrize("change", [{"tokens": None}, {"surprise": 1}])
def test_a_state_with_other_parts_is_refused(change: dict[str, int | None]) -> None:
    state = {**ResourceMeter("cpu").state_dict(), **change}
    state = {name: value for name, value in state.items() if value is not None}
    with pytest.raises(ResumeError, match=next(iter(change))):
        ResourceMeter("cpu").load_state_dict(state)


def hold_and_let_go(size: int) -> None:
    """Fresh pages from the system: an array might lie in memory that the process has kept from something before."""
    with mmap.mmap(-1, size) as pages:
        for start in range(0, size, mmap.PAGESIZE):
            pages[start] = 1


def test_the_peak_sees_what_was_held_and_let_go() -> None:
    with ResourceMeter("cpu") as meter:
        low = meter.resources(**NUMBERS).peak_memory_bytes
        hold_and_let_go(64 * 2**20)
    found = meter.resources(**NUMBERS)
    if found.peak_memory_kind == "resident set":
        assert found.peak_memory_bytes - low > 48 * 2**20
    else:
        assert found.peak_memory_bytes >= low
    assert found.peak_reserved_bytes is None


def test_a_new_meter_forgets_the_peak_of_the_one_before() -> None:
    with ResourceMeter("cpu") as first:
        hold_and_let_go(64 * 2**20)
    with ResourceMeter("cpu") as second:
        pass
    if second.resources(**NUMBERS).peak_memory_kind != "resident set":
        pytest.skip("this system cannot start a new peak: /proc/self/clear_refs is not writable")
    peaks = [meter.resources(**NUMBERS).peak_memory_bytes for meter in (first, second)]
    assert peaks[0] - peaks[1] > 48 * 2**20


def test_a_system_that_cannot_reset_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(resources.Path, "write_text", refuse)
    with ResourceMeter("cpu") as meter:
        pass
    found = meter.resources(**NUMBERS)
    assert found.peak_memory_kind == "resident set since process start"
    assert found.peak_memory_bytes > 2**20

    monkeypatch.setattr(resources, "_rusage_peak", lambda: None)
    with ResourceMeter("cpu") as meter:
        pass
    assert meter.resources(**NUMBERS).peak_memory_kind == "not measured"
    assert meter.resources(**NUMBERS).peak_memory_bytes == 0


def test_cuda_is_asked_for_its_own_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(resources.torch.cuda, "reset_peak_memory_stats", lambda device: calls.append("reset"))
    monkeypatch.setattr(resources.torch.cuda, "synchronize", lambda device: calls.append("wait"))
    monkeypatch.setattr(resources.torch.cuda, "max_memory_allocated", lambda device: 700)
    monkeypatch.setattr(resources.torch.cuda, "max_memory_reserved", lambda device: 900)
    with ResourceMeter("cuda") as meter, meter.training():
        assert calls == ["reset", "wait"]  # drained when the clock starts
    found = meter.resources(**NUMBERS)
    assert calls.count("wait") >= 2  # and when it stops
    assert (found.peak_memory_bytes, found.peak_memory_kind, found.peak_reserved_bytes) == (700, "cuda allocated", 900)
