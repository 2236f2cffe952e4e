"""The paper's Table 1 and what is said of it, recomputed."""

from __future__ import annotations

import pytest

from tunelet.report import understand_published as published
from tunelet.report.understand_published import ROWS, found


def test_the_table_is_whole() -> None:
    assert len(ROWS) == 18 and all(len(row.values) == 6 for row in ROWS)
    assert len({(row.task, row.source, row.regime) for row in ROWS}) == 18
    assert sum(row.matched for row in ROWS) == 6
    assert published.MISMATCHED == (("HVB", "Voxceleb"), ("Voxceleb", "HVB"), ("Voxpopuli", "Voxceleb"))
    assert all(0 < value < 100 for row in ROWS for value in row.values)


@pytest.mark.parametrize(
    ("pair", "bound", "gain"),
    [(("HVB", "Voxceleb"), -10.5, 93.3), (("Voxceleb", "HVB"), -29.2, 11.1), (("Voxpopuli", "Voxceleb"), None, 72.1)],
)
def test_the_stripped_percentages(pair: tuple[str, str], bound: float | None, gain: float) -> None:
    below = published.below_upper_bound(*pair)
    assert (below if below is None else round(100 * below, 1)) == bound
    assert round(100 * published.few_shot_gain(*pair), 1) == gain


def test_the_mean_difference_is_that_of_eighteen_cells() -> None:
    cells = [a - b for pair in published.MISMATCHED
             for a, b in zip(found(*pair, "random").values, found(*pair, "regular").values, strict=True)]  # fmt: skip
    assert len(cells) == 18 and published.mean_difference() == pytest.approx(sum(cells) / 1800)


def test_what_the_notes_say_is_so() -> None:
    random, regular, symbol = ([found(*pair, name).values for pair in published.MISMATCHED]
                               for name in ("random", "regular", "symbol"))  # fmt: skip
    untuned = [found(task, "none", "none").values for task, _ in published.MISMATCHED]
    assert all(a > b for ours, theirs in zip(random, regular, strict=True) for a, b in zip(ours, theirs, strict=True))
    not_above = [(place, k) for place, (ours, theirs) in enumerate(zip(random, untuned, strict=True))
                 for k, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a <= b]  # fmt: skip
    assert not_above == [(1, 0)] and random[1][0] == untuned[1][0] == 36.2
    beaten = [(place, k) for place, (ours, theirs) in enumerate(zip(random, symbol, strict=True))
              for k, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a <= b]  # fmt: skip
    assert beaten == [(1, 0), (1, 2), (1, 4), (2, 2)] and random[2][2] == symbol[2][2]
    bare = found("Voxceleb", "none", "none").values
    assert bare[0] == 36.2 and (min(bare[1:]), max(bare[1:])) == (16.9, 28.3)
    assert found("Voxceleb", "HVB", "regular").values[:2] == (34.5, 31.3)
