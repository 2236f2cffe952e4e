"""The best evaluation is the first of the highest, and patience counts evaluations that bring nothing better."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelet.base.errors import ResumeError
from tunelet.training.stopping import EarlyStopping

metrics = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, math.nan]), max_size=30)


@given(metrics, st.booleans())
def test_the_best_is_the_first_of_the_best(values: list[float], lower: bool) -> None:
    stopping = EarlyStopping(lower_is_better=lower)
    for step, value in enumerate(values):
        stopping.update(value, step)
    numbers = [value for value in values if not math.isnan(value)]
    best = (min(numbers) if lower else max(numbers)) if numbers else None
    assert stopping.best == best
    assert stopping.best_step == (None if best is None else values.index(best))
    assert not stopping.should_stop


@given(metrics, st.integers(1, 5))
def test_it_stops_after_patience_evaluations_without_a_better_one(values: list[float], patience: int) -> None:
    stopping, since = EarlyStopping(patience), 0
    for step, value in enumerate(values):
        better = stopping.update(value, step)
        since = 0 if better else since + 1
        assert stopping.should_stop == (since >= patience)


def test_equal_is_not_better() -> None:
    stopping = EarlyStopping(patience=2)
    assert [stopping.update(0.9, step) for step in (10, 20, 30)] == [True, False, False]
    assert stopping.best_step == 10
    assert stopping.should_stop


def test_a_nan_at_the_start_does_not_hide_what_comes_after() -> None:
    stopping = EarlyStopping()
    assert [stopping.update(value, step) for step, value in enumerate([math.nan, 0.2, math.nan, 0.3])] == [
        False,
        True,
        False,
        True,
    ]


@given(metrics, st.integers(0, 30), st.integers(1, 4))
def test_a_resumed_state_goes_on_as_if_nothing_happened(values: list[float], cut: int, patience: int) -> None:
    through = EarlyStopping(patience)
    expected = [(through.update(value, step), through.should_stop) for step, value in enumerate(values)]
    first, second = EarlyStopping(patience), EarlyStopping(patience)
    for step, value in enumerate(values[:cut]):
        first.update(value, step)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    rest = [(second.update(value, step), second.should_stop) for step, value in list(enumerate(values))[cut:]]
    assert rest == expected[cut:]


@pytest.mark.parametrize("key", ["best", "best_step", "waited"])
def test_a_state_that_lacks_a_key_is_refused(key: str) -> None:
    stopping = EarlyStopping()
    stopping.update(0.5, 1)
    state = stopping.state_dict()
    del state[key]
    fresh = EarlyStopping()
    with pytest.raises(ResumeError, match=f"lacks {key}$"):
        fresh.load_state_dict(state)
    assert fresh == EarlyStopping()
