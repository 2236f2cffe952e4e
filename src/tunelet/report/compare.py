"""Which differences between groups are more than luck: paired tests on the test rows that both groups answered.

The question of the paired bootstrap is whether a difference, averaged over seeds, would survive another draw of test
examples. McNemar's exact test asks the same of one run of each group, the seed that validation prefers. Both p-values
are corrected by Holm's method over all pairs shown. Not here: the tests themselves (`tunelet.evaluation.statistics`).

Example:
    >>> rows = compare_groups(groups, best, sweep)               # doctest: +SKIP
    >>> rows[0].accuracy.difference, rows[0].p_holm         # doctest: +SKIP
    (0.0035, 0.41)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from tunelet.evaluation.statistics import McNemar, PairedDifference, compare_over_seeds, holm, mcnemar
from tunelet.report.groups import Group, best_run
from tunelet.report.results import Predictions, Sweep

#: Up to so many groups are compared pair by pair; of more, each is compared with the best one.
ALL_PAIRS = 5

#: Resamples for few and for many pairs.
SAMPLES, SAMPLES_MANY = 10_000, 4_000


@dataclass(frozen=True)
class Comparison:
    """Group `first` minus group `second` on the same test examples.

    Attributes:
        accuracy, macro_f1: paired bootstrap over examples, averaged over seeds; macro F1 is None for multi label.
        p_holm: p of `accuracy`, corrected over all pairs.
        runs: the two runs that McNemar's test compares.
        mcnemar, mcnemar_p_holm: that test, and its p corrected over all pairs.
    """

    first: str
    second: str
    accuracy: PairedDifference
    macro_f1: PairedDifference | None
    p_holm: float
    runs: tuple[str, str]
    mcnemar: McNemar
    mcnemar_p_holm: float


def compare_groups(groups: Sequence[Group], best: Group, sweep: Sweep, *, seed: int = 1) -> tuple[Comparison, ...]:
    """Compare groups in pairs; groups without test predictions are left out.

    Args:
        groups: of the sweep, in the order in which pairs are to be named.
        best: the group that validation prefers; always the first of its pairs.
        sweep: tells the labels, and how the run for McNemar's test is chosen.
        seed: of the bootstrap.
    """
    able = [best, *(group for group in groups if group.name != best.name)]
    able = [group for group in able if group.predicted_runs()]
    if len(able) < 2 or able[0].name != best.name:
        return ()
    many = len(able) > ALL_PAIRS
    pairs = [(best, other) for other in able[1:]] if many else list(combinations(able, 2))
    samples = SAMPLES_MANY if many else SAMPLES
    tested = []
    for first, second in pairs:
        sides = _on_shared_rows([run.predictions for run in first.predicted_runs()],
                                [run.predictions for run in second.predicted_runs()])  # fmt: skip
        if sides is None:
            continue
        one, other = (best_run(group.predicted_runs(), sweep) for group in (first, second))
        match = mcnemar(sides[0][one].correct, sides[1][other].correct)
        runs = (first.predicted_runs()[one].name, second.predicted_runs()[other].name)
        tested.append((first, second, *_bootstrap(sides, len(sweep.labels), seed, samples), runs, match))
    corrected = zip(holm([row[2].p for row in tested]), holm([row[5].p for row in tested]), strict=True)
    return tuple(
        Comparison(first.name, second.name, accuracy, macro, p, runs, match, match_p)
        for (first, second, accuracy, macro, runs, match), (p, match_p) in zip(tested, corrected, strict=True)
    )


def _bootstrap(
    sides: tuple[list[Predictions], list[Predictions]], classes: int, seed: int, samples: int
) -> tuple[PairedDifference, PairedDifference | None]:
    gold = sides[0][0].gold
    if gold.ndim == 2:  # multi label: an example counts as right when its whole label set is
        right = np.ones(len(gold), np.int64)
        first, second = ([run.correct.astype(np.int64) for run in side] for side in sides)
        return compare_over_seeds("accuracy", right, first, second, seed, samples), None
    first, second = ([run.predicted for run in side] for side in sides)
    accuracy = compare_over_seeds("accuracy", gold, first, second, seed, samples)
    return accuracy, compare_over_seeds("macro_f1", gold, first, second, seed, samples, labels=list(range(classes)))


def _on_shared_rows(
    first: list[Predictions | None], second: list[Predictions | None]
) -> tuple[list[Predictions], list[Predictions]] | None:
    """All runs cut to the examples that every one of them answered, in one order; None if there is no such example."""
    everyone = [run for run in (*first, *second) if run is not None]
    places = [{key: row for row, key in enumerate(run.ids)} for run in everyone]
    shared = [key for key in everyone[0].ids if all(key in place for place in places)]
    if not shared:
        return None
    cut = [_rows(run, [place[key] for key in shared]) for run, place in zip(everyone, places, strict=True)]
    return cut[: len(first)], cut[len(first) :]


def _rows(run: Predictions, rows: list[int]) -> Predictions:
    return Predictions(
        tuple(run.ids[row] for row in rows), tuple(run.texts[row] for row in rows),
        run.gold[rows], run.predicted[rows], run.probabilities[rows],
    )  # fmt: skip
