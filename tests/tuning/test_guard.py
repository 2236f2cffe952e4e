"""What is doubtful is answered again, and with a bound that holds no label changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelet.tuning.guard import Guard


def test_until_it_knows_enough_everything_is_doubtful() -> None:
    guard = Guard(multi_label=False, needed=3)
    rough = np.array([[9.0, 0.0], [0.0, 5.0]])
    assert guard.doubtful(rough).all() and guard.bound == float("inf")
    guard.learn(rough, rough + np.array([[0.1, 0.0]]))
    assert guard.missing == 1 and guard.doubtful(rough).all()
    guard.learn(rough[:1], rough[:1])
    assert guard.missing == 0 and not guard.doubtful(rough).any()
    assert guard.largest == pytest.approx(0.1)


def test_a_common_shift_moves_no_margin_of_one_label_but_every_one_of_several() -> None:
    rough = np.array([[1.0, 0.0, -1.0]])
    one, several = Guard(multi_label=False, needed=1), Guard(multi_label=True, needed=1)
    for guard in (one, several):
        guard.learn(rough, rough + 5.0)
    assert (one.largest, several.largest) == (0.0, 5.0)


def test_the_bound_only_grows() -> None:
    guard = Guard(multi_label=False, needed=1, factor=2.0)
    for moved, bound in ((0.5, 1.0), (0.1, 1.0), (0.7, 1.4)):
        guard.learn(np.array([[1.0, 0.0]]), np.array([[1.0, moved]]))
        assert guard.bound == pytest.approx(bound)


def test_a_single_logit_has_no_second() -> None:
    guard = Guard(multi_label=False, needed=0)
    assert not guard.doubtful(np.zeros((2, 1))).any()


@given(st.integers(0, 10_000), st.booleans(), st.floats(0.01, 3.0))
def test_no_label_changes_where_movements_stay_below_the_bound(seed: int, multi_label: bool, size: float) -> None:
    stream = np.random.default_rng(seed)
    exact = stream.normal(0, 1, (200, 4))
    rough = exact + stream.uniform(-size, size, exact.shape)
    guard = Guard(multi_label=multi_label, needed=200, factor=1.0)
    guard.learn(rough, exact)  # every movement was measured, so the bound is no guess
    sure = ~guard.doubtful(rough)
    if multi_label:
        assert ((rough > 0) == (exact > 0))[sure].all()
    else:
        assert (rough.argmax(1) == exact.argmax(1))[sure].all()
    assert Guard(multi_label=multi_label).doubtful(rough).all()
