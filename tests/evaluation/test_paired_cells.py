"""The paired bootstrap over tasks and seeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelet.base.errors import InputError
from tunelet.evaluation.paired_cells import paired_cells

CELLS = st.dictionaries(
    st.text(min_size=1, max_size=2), st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=3), min_size=1, max_size=5
)


@given(cells=CELLS)
@settings(max_examples=30, deadline=None)
def test_it_is_the_mean_of_the_tasks_within_its_interval(cells: dict[str, list[float]]) -> None:
    found = paired_cells(cells, seed=1, samples=400)
    means = [float(np.mean(row)) for row in cells.values()]
    assert found.difference == pytest.approx(np.mean(means))
    values = [value for row in cells.values() for value in row]
    if len(values) == 1:
        assert found.low is None and found.high is None
    else:
        assert found.low is not None and found.high is not None
        assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
    assert found.cells == len(values) and found.tasks == len(cells)
    turned = paired_cells({key: [-value for value in row] for key, row in cells.items()}, seed=1, samples=400)
    assert turned.p == found.p and turned.difference == pytest.approx(-found.difference)


def test_two_cells_prove_nothing_and_eighteen_that_agree_do() -> None:
    assert paired_cells({"a": [0.1]}, seed=1).p == 1
    assert paired_cells({"a": [0.1, 0.1]}, seed=1).p == 0.5
    assert paired_cells({str(task): [0.01, 0.02, 0.03] for task in range(6)}, seed=1).p < 0.001
    mixed = {str(task): [0.05 * (-1) ** task] * 3 for task in range(6)}
    assert paired_cells(mixed, seed=1).p > 0.3


def test_without_a_cell_there_is_nothing_to_compare() -> None:
    with pytest.raises(InputError, match="both methods have"):
        paired_cells({"a": []}, seed=1)
