"""Runs that differ only by their seed, put together: means, intervals, and which setting validation prefers.

An interval over several seeds is a t interval of the seeds' scores; for one seed it is Wilson's interval over the test
examples. The two answer different questions, so each carries its method. Not here: differences between groups
(`compare.py`), layout (`tables.py`).

Example:
    >>> best = best_group(group_runs(sweep), sweep)         # doctest: +SKIP
    >>> best.test("accuracy").mean                          # doctest: +SKIP
    0.9312
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tunelet.evaluation.statistics import Interval, seed_interval, wilson
from tunelet.report.results import LoadedRun, Sweep


@dataclass(frozen=True)
class Estimate:
    """A score over the seeds of a group: each seed's value, their mean, and an interval (None if there is none)."""

    values: tuple[float, ...]
    interval: Interval | None

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))


@dataclass(frozen=True)
class Group:
    """All finished runs of one setting, by seed."""

    name: str
    runs: tuple[LoadedRun, ...]
    planned: int

    @property
    def method(self) -> str:
        return self.runs[0].run.method

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.run.seed for run in self.runs)

    def score(self, metric: str, split: str) -> Estimate | None:
        """A score of `result.json` over the seeds; None where a run lacks it."""
        values = [getattr(run.run.metrics.get(split), metric, None) for run in self.runs]
        told = tuple(float(value) for value in values if value is not None)
        if len(told) != len(values) or not told:
            return None
        if len(told) > 1:
            return Estimate(told, _within(metric, seed_interval(list(told))))
        if metric == "accuracy":
            n = self.runs[0].run.metrics[split].n
            return Estimate(told, wilson(round(told[0] * n), n) if n else None)
        return Estimate(told, None)

    def test(self, metric: str) -> Estimate | None:
        """A test score over the seeds."""
        return self.score(metric, "test")

    def cost(self, field: str) -> float | None:
        """Mean over the seeds of a field of `resources`; None where a run lacks it."""
        return self._mean(lambda run: getattr(run.run.resources, field))

    def memory(self, part: str) -> float | None:
        """Mean over the seeds of a part of the memory breakdown, bytes."""
        return self._mean(lambda run: getattr(run.run.resources.memory, part, None))

    @property
    def trainable_share(self) -> float:
        resources = self.runs[0].run.resources
        return resources.trainable_parameters / resources.total_parameters

    def setting(self, *path: str) -> Any:
        """A resolved setting of the group, such as ``("tuning", "r")``; None if it is not there."""
        value: Any = self.runs[0].run.settings
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def predicted_runs(self) -> tuple[LoadedRun, ...]:
        """The runs whose test predictions are on disk."""
        return tuple(run for run in self.runs if run.predictions is not None and run.predictions.ids)

    def _mean(self, read: Callable[[LoadedRun], Any]) -> float | None:
        values = [read(run) for run in self.runs]
        return None if any(value is None for value in values) else float(np.mean(values))


def group_runs(sweep: Sweep) -> tuple[Group, ...]:
    """The groups of a sweep in the order in which result.json first names them; seeds ascending."""
    members: dict[str, list[LoadedRun]] = {}
    for run in sweep.runs:
        members.setdefault(run.run.group, []).append(run)
    planned: dict[str, int] = {}
    for name in sweep.result.planned:
        planned[name.rpartition("-seed")[0]] = planned.get(name.rpartition("-seed")[0], 0) + 1
    return tuple(
        Group(name, tuple(sorted(runs, key=lambda run: run.run.seed)), max(planned.get(name, 0), len(runs)))
        for name, runs in members.items()
    )


def best_group(groups: tuple[Group, ...], sweep: Sweep) -> Group | None:
    """The group with the best mean validation score; of equals, the one that trains fewer parameters.

    Groups with all their seeds come before groups that still lack some, so that a half-way table does not jump.
    """

    def key(group: Group) -> tuple[bool, float, float]:
        full = len(group.runs) >= group.planned
        return full, selection_score(group.runs, sweep), -(group.cost("trainable_parameters") or 0.0)

    return max(groups, key=key, default=None)


def ranked(groups: tuple[Group, ...], sweep: Sweep) -> tuple[Group, ...]:
    """Groups by mean validation score, best first."""
    return tuple(sorted(groups, key=lambda group: selection_score(group.runs, sweep), reverse=True))


def best_run(runs: Sequence[LoadedRun], sweep: Sweep) -> int:
    """Place of the run with the best validation score; of equals, the first."""
    return max(range(len(runs)), key=lambda place: selection_score(runs[place : place + 1], sweep))


def selection_score(runs: Sequence[LoadedRun], sweep: Sweep) -> float:
    """Mean validation score by which settings are chosen, larger is better (a loss is negated); without one, -inf."""
    chosen = sweep.result.selection
    values: list[Any] = [getattr(run.run.metrics.get(chosen.split), chosen.metric, None) for run in runs]
    if not values or any(value is None for value in values):
        return float("-inf")
    sign = -1.0 if chosen.metric == "loss" else 1.0
    return sign * float(np.mean(values))


def family(group: Group) -> str:
    """Method and targets, the first thing that tells settings apart: "full", "lora qkv"."""
    return group.method if group.method == "full" else f"{group.method} {targets_of(group)}".strip()


def targets_of(group: Group) -> str:
    """The name of a group's LoRA targets, lists resolved to the names that the recipes use."""
    targets = group.setting("tuning", "targets")
    if isinstance(targets, str):
        return targets
    named = {
        frozenset({"query", "value"}): "qv",
        frozenset({"query", "key", "value"}): "qkv",
        frozenset({"query", "key", "value", "dense"}): "qkv+dense",
    }
    chosen = frozenset(targets or ())
    return named.get(chosen, "+".join(sorted(chosen)))


def _within(metric: str, interval: Interval | None) -> Interval | None:
    """A t interval of few seeds may leave the range of a share; the page shows no accuracy above 100 %."""
    if interval is None or metric in ("loss", "mcc"):
        return interval
    return replace(interval, low=max(0.0, interval.low), high=min(1.0, interval.high))
