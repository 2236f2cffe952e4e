"""Paired bootstrap over the cells of a table: would a difference of two methods survive other tasks and seeds?

Both methods have a score for the same tasks and seeds. A resample draws tasks with replacement, then for each task
drawn its seeds; what is averaged is the difference of a cell. Few tasks make wide intervals, and that is the point: the
test examples of one task may be many. Not here: tests over the examples of one task (`bootstrap`).

Example:
    >>> found = paired_cells({"mood": [0.02, 0.03], "topic": [0.01, 0.02]}, seed=1)
    >>> round(found.difference, 4), found.low > 0
    (0.02, True)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunelet.base.errors import InputError
from tunelet.base.streams import numpy_stream


@dataclass(frozen=True)
class CellDifference:
    """How much better the first method is.

    Attributes:
        difference: mean over tasks of the mean over seeds, in the unit of the score.
        low, high: percentile interval over resamples; None for a single cell, where there is nothing to resample.
        p: two-sided, by inverting that interval; at least 2 / (samples + 1), and at least what a sign test of as many
            cells could say, 2^(1 - cells): a resample of two cells that agree would be sure of them.
        tasks, cells: how many there are.
        samples: resamples.
    """

    difference: float
    low: float | None
    high: float | None
    p: float
    tasks: int
    cells: int
    samples: int


def paired_cells(differences: Mapping[str, Sequence[float]], seed: int, samples: int = 10_000) -> CellDifference:
    """Compare two methods over the tasks and seeds that both have.

    Args:
        differences: task -> first minus second, a number for each seed.
        seed: the stream is that of purpose "paired-cells".

    Raises:
        InputError: there is no cell.
    """
    rows = [np.asarray(values, np.float64) for values in differences.values() if len(values)]
    if not rows:
        raise InputError("a comparison needs a task and seed that both methods have")
    counts = np.array([len(row) for row in rows])
    table = np.zeros((len(rows), int(counts.max())))
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    stream = numpy_stream(seed, "paired-cells")
    tasks = stream.integers(0, len(rows), (samples, len(rows)))
    chance = stream.random((samples, len(rows), table.shape[1]))
    seeds = (chance * counts[tasks][:, :, None]).astype(int)  # below the count of the task
    real = np.arange(table.shape[1]) < counts[tasks][:, :, None]
    drawn = table[tasks[:, :, None], seeds] * real
    means = (drawn.sum(2) / counts[tasks]).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    tail = min((means <= 0).sum(), (means >= 0).sum())
    return CellDifference(
        difference=float(np.mean([row.mean() for row in rows])),
        low=float(low) if counts.sum() > 1 else None,
        high=float(high) if counts.sum() > 1 else None,
        p=min(1.0, max(2 * (int(tail) + 1) / (samples + 1), 2.0 ** (1 - int(counts.sum())))),
        tasks=len(rows),
        cells=int(counts.sum()),
        samples=samples,
    )
