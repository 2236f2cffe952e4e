"""Bootstrap over a table that is crossed: models tuned on several sources, with several seeds, each on many tasks.

A model is used for every task and a task by every model, so that neither may be resampled within the other. Tasks and
sources are drawn apart (the pigeonhole bootstrap of Owen, 2007), then the seeds of each source drawn, and a cell
counts as often as both its task and its model were drawn. Where a cell comes with values of resampled test examples
(`answer_resamples`), each draw takes another of these. Few tasks and sources make wide intervals, and with few of them
such intervals are still rather too narrow. Not here: two levels without a crossing (`paired_cells`).

Example:
    >>> rows = [CrossedCell(task, source, 1, np.array([0.02])) for task in "abc" for source in "xy"]
    >>> found = crossed_cells(rows, seed=1)
    >>> round(found.value, 4), found.resampled, found.cells
    (0.02, ('tasks', 'sources'), 6)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunelet.base.errors import InputError
from tunelet.base.streams import numpy_stream
from tunelet.evaluation.probabilities import Floats


@dataclass(frozen=True, eq=False)
class CrossedCell:
    """One number of the table: a score, or a difference of two.

    Attributes:
        task: what it was measured on.
        source, seed: the model.
        values: (1 + D,): the value, and that of D resamples of the task's test examples; D may be 0. Cells of a task
            have the same resamples at the same places.
    """

    task: str
    source: str
    seed: int
    values: Floats


@dataclass(frozen=True)
class CrossedValue:
    """A mean over the cells of a table.

    Attributes:
        value: mean over pairs of task and source of the mean over seeds, in the unit of the cells.
        low, high: percentile interval over resamples; None where there is nothing to resample.
        p: two-sided p-value of a mean of 0, by inverting that interval; at least 2 / (samples + 1), and at least what
            a sign test of as many cells could say, 2^(1 - cells).
        tasks, sources, cells: how many there are.
        resampled: what the interval covers: of "tasks", "sources", "seeds", "items" those of which there are several.
        samples: resamples.
    """

    value: float
    low: float | None
    high: float | None
    p: float
    tasks: int
    sources: int
    cells: int
    resampled: tuple[str, ...]
    samples: int

    @property
    def side(self) -> int:
        """1 or -1 where the interval is clear of zero and p is below 0.05, else 0."""
        if self.low is None or self.high is None or self.p >= 0.05:
            return 0
        return 1 if self.low > 0 else -1 if self.high < 0 else 0

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return {**vars(self), "resampled": " ".join(self.resampled)}


def crossed_cells(cells: Sequence[CrossedCell], seed: int, samples: int = 4000) -> CrossedValue:
    """The mean over a table and how sure it is. The order of the cells plays no role.

    Args:
        cells: at most one for each task, source and seed.
        seed: the streams are those of purpose "crossed-cells".

    Raises:
        InputError: there is no cell, or two are of one task, source and seed.
    """
    rows = sorted(cells, key=lambda cell: (cell.task, cell.source, cell.seed))
    keys = [(cell.task, cell.source, cell.seed) for cell in rows]
    if not rows or len(set(keys)) < len(keys):
        raise InputError("a crossed table needs a cell, and at most one for each task, source and seed")
    tasks = sorted({cell.task for cell in rows})
    models = sorted({(cell.source, cell.seed) for cell in rows})
    sources = sorted({source for source, _ in models})
    seeds_of = Counter(cell[:2] for cell in keys)
    weight = np.array([1 / seeds_of[key[:2]] for key in keys])
    depth = max(len(cell.values) for cell in rows)
    table = np.stack([cell.values if len(cell.values) == depth else np.full(depth, cell.values[0]) for cell in rows])
    value = float(weight @ table[:, 0] / weight.sum())

    several = {
        "tasks": len(tasks) > 1,
        "sources": len(sources) > 1,
        "seeds": len(models) > len(sources),
        "items": any(len(cell.values) > 1 for cell in rows),
    }
    resampled = tuple(name for name, more in several.items() if more)
    if not resampled:
        return CrossedValue(value, None, None, 1.0, len(tasks), len(sources), len(rows), (), 0)
    stream = numpy_stream(seed, "crossed-cells")
    of_task = _draw(stream, len(tasks), samples)
    of_model = _draw_models(stream, sources, models, samples)
    task_at = [tasks.index(cell.task) for cell in rows]
    model_at = [models.index((cell.source, cell.seed)) for cell in rows]
    drawn = of_task[:, task_at] * of_model[:, model_at] * weight
    column = 1 + np.arange(samples) % (depth - 1) if depth > 1 else np.zeros(samples, int)
    total = drawn.sum(1)
    some = total > 0  # of an incomplete table, a draw may hold no cell
    means = (drawn * table[:, column].T).sum(1)[some] / total[some]
    low, high = np.quantile(means, [0.025, 0.975])
    tail = int(min((means <= 0).sum(), (means >= 0).sum()))
    p = min(1.0, max(2 * (tail + 1) / (len(means) + 1), 2.0 ** (1 - len(rows))))
    return CrossedValue(
        value, float(low), float(high), p, len(tasks), len(sources), len(rows), resampled, int(some.sum())
    )


def _draw(stream: np.random.Generator, count: int, samples: int) -> NDArray[np.int64]:
    """How often each of `count` things is drawn in `count` draws, (samples, count)."""
    return stream.multinomial(count, [1 / count] * count, size=samples)


def _draw_models(
    stream: np.random.Generator, sources: Sequence[str], models: Sequence[tuple[str, int]], samples: int
) -> Floats:
    """Weight of each model, (samples, models): its source's draws, times those of its seed among the source's."""
    of_source = _draw(stream, len(sources), samples)
    weights = np.empty((samples, len(models)))
    for number, source in enumerate(sources):
        mine = [place for place, model in enumerate(models) if model[0] == source]
        weights[:, mine] = of_source[:, [number]] * _draw(stream, len(mine), samples)
    return weights
