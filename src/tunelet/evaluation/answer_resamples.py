"""What a score would have been with other test examples: the same draws of examples for every model of a task.

The examples of a task are drawn with replacement, so often each; all answers to these examples are scored under the
same draws, so that the difference of two models is paired example by example, and that of any number of cells may be
averaged. Not here: draws of tasks, sources and seeds (`crossed_cells`), comparisons of two runs (`bootstrap`).

Example:
    >>> answers = AnswerTable.of(["a", "b"], [("joy",), ("fear",)], [("joy",), None], ["joy", "fear"])
    >>> draws = item_draws(["a", "b"], "emotion", seed=1, draws=3)
    >>> resampled_scores(answers, "macro_f1", often(draws, answers.ids)).tolist()[0]        # without a draw
    0.5
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunelet.base.errors import InputError, Problem
from tunelet.base.streams import numpy_stream
from tunelet.evaluation.probabilities import Floats

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class AnswerTable:
    """The answers of one cell.

    Attributes:
        ids: of the n examples.
        gold, given: (n, C) whether an example has, or was given, a class; an invalid answer gives none.
        exact: (n,) whether the answer is valid and all of it right.
    """

    ids: tuple[str, ...]
    gold: Bools
    given: Bools
    exact: Bools

    @staticmethod
    def of(
        ids: Sequence[str],
        gold: Sequence[Iterable[str]],
        given: Sequence[Iterable[str] | None],
        labels: Sequence[str],
    ) -> AnswerTable:
        """From names of classes; None is an invalid answer.

        Raises:
            InputError: no answer, different lengths, or a name that is no class.
        """
        if not ids or not len(ids) == len(gold) == len(given):
            raise InputError(Problem(f"expected an answer for each example, found {len(given)} for {len(ids)}"))
        right, said = _one_hot(gold, labels), _one_hot([row or () for row in given], labels)
        valid = np.array([row is not None for row in given])
        return AnswerTable(tuple(ids), right, said, valid & (right == said).all(1))


def item_draws(ids: Sequence[str], task: str, seed: int, draws: int) -> dict[str, Floats]:
    """How often each example counts: 1, then in each of `draws` resamples; (1 + draws,) for each id.

    The order of the ids plays no role.
    """
    names = sorted(set(ids))
    counts = numpy_stream(seed, "answer-items", task).multinomial(len(names), [1 / len(names)] * len(names), size=draws)
    columns = np.concatenate([np.ones((1, len(names))), counts.astype(np.float64)])
    return dict(zip(names, columns.T, strict=True))


def often(draws: dict[str, Floats], ids: Sequence[str]) -> Floats:
    """The counts of these examples, (1 + draws, n), of `item_draws` for all examples of the task."""
    return np.ascontiguousarray(np.stack([draws[name] for name in ids], axis=1))


def resampled_scores(answers: AnswerTable, metric: str, counts: Floats) -> Floats | None:
    """The metric under each draw, (1 + draws,), the first without any; None for a metric that counts do not give.

    Args:
        metric: "macro_f1", "micro_f1", "weighted_f1" or "accuracy" (the whole answer right).
        counts: (1 + draws, n) of `often` for the ids of the answers.
    """
    measure = METRICS.get(metric)
    if measure is None:
        return None
    parts = np.concatenate([answers.gold & answers.given, answers.given, answers.gold], axis=1).astype(np.float64)
    hits, given, gold = np.split(counts @ parts, 3, axis=1)
    return measure(hits, given, gold, counts @ answers.exact.astype(np.float64), counts.sum(1))


#: counts per class (hits, given, gold), (draws, C) each; answers all right and answers, (draws,) each -> (draws,)
_Measure = Callable[[Floats, Floats, Floats, Floats, Floats], Floats]


def _macro(hits: Floats, given: Floats, gold: Floats, exact: Floats, n: Floats) -> Floats:
    found: Floats = _f1(hits, given, gold).mean(1)
    return found


def _micro(hits: Floats, given: Floats, gold: Floats, exact: Floats, n: Floats) -> Floats:
    return _f1(hits.sum(1), given.sum(1), gold.sum(1))


def _weighted(hits: Floats, given: Floats, gold: Floats, exact: Floats, n: Floats) -> Floats:
    found: Floats = (_f1(hits, given, gold) * gold).sum(1) / np.maximum(gold.sum(1), 1)
    return found


def _accuracy(hits: Floats, given: Floats, gold: Floats, exact: Floats, n: Floats) -> Floats:
    found: Floats = exact / np.maximum(n, 1)
    return found


def _f1(hits: Floats, given: Floats, gold: Floats) -> Floats:
    # hits is 0 where both others are, so any denominator will do
    found: Floats = 2 * hits / np.maximum(given + gold, 1)
    return found


METRICS: dict[str, _Measure] = {
    "macro_f1": _macro,
    "micro_f1": _micro,
    "weighted_f1": _weighted,
    "accuracy": _accuracy,
}


def _one_hot(rows: Sequence[Iterable[str]], labels: Sequence[str]) -> Bools:
    place = {label: number for number, label in enumerate(labels)}
    table = np.zeros((len(rows), len(labels)), bool)
    for number, row in enumerate(rows):
        for name in row:
            if name not in place:
                raise InputError(Problem(f"{name!r} is no class, expected some of {', '.join(labels)}"))
            table[number, place[name]] = True
    return table
