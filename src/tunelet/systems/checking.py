"""What `tunelet check` finds: is the recipe right, are the data right, what will each kind of run cost.

Not here: how it is shown (`cli`), how a step is timed (`training.estimate`).

Example:
    >>> checked = check(tunelet.systems.classify, recipe, data)      # doctest: +SKIP
    >>> checked.seconds                                                             # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from tunelet.systems.recipes import LoadedRecipe, PlannedRun
from tunelet.systems.sweep import Context, System
from tunelet.training.estimate import Estimate
from tunelet.training.events import ignore


class Forecasting(Context, Protocol):
    """A context that can also say what a run will cost."""

    def forecast(self, run: PlannedRun) -> Estimate:
        """Time a few steps of `run`; writes nothing."""


@dataclass(frozen=True)
class GroupCheck:
    """One group of runs.

    Attributes:
        name: of the group.
        seeds: how many runs it has.
        like: the group whose forecast stands for this one, because both train the same parameters.
        estimate: forecast of one run, or None if it was not asked for.
    """

    name: str
    seeds: int
    like: str
    estimate: Estimate | None


@dataclass(frozen=True)
class StageCheck:
    """Work of a sweep that is told apart from others.

    Attributes:
        name: of the stage.
        what: what is done, and how often.
        steps: of all its trainings together; None where nothing trains.
        memory: bytes of a step of its largest training, or of what it holds.
        seconds: all of it.
        in_groups: whether the groups' own forecasts hold these seconds already.
    """

    name: str
    what: str
    steps: int | None
    memory: int
    seconds: float
    in_groups: bool = False


@dataclass(frozen=True)
class Checked:
    """What was found.

    Attributes:
        data: the key ``data`` of result.json.
        findings: (severity, message) of the audit.
        groups: in the recipe's order.
        stages: of a system whose runs share work; none of others.
    """

    data: dict[str, Any]
    findings: list[tuple[str, str]]
    groups: list[GroupCheck]
    stages: list[StageCheck] = field(default_factory=list)

    @property
    def seconds(self) -> float | None:
        """All runs together, and what they share once, without early stopping; None without forecasts."""
        if any(group.estimate is None for group in self.groups):
            return None
        alone = sum(group.estimate.seconds * group.seeds for group in self.groups if group.estimate is not None)
        return alone + sum(stage.seconds for stage in self.stages if not stage.in_groups)

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        groups = [
            {"name": g.name, "seeds": g.seeds, "like": g.like, "estimate": g.estimate and g.estimate.to_json()}
            for g in self.groups
        ]
        return {
            "data": self.data,
            "findings": [list(f) for f in self.findings],
            "groups": groups,
            "stages": [asdict(stage) for stage in self.stages],
            "seconds": self.seconds,
        }


def check(system: System, recipe: LoadedRecipe, data: Any, *, estimate: bool = True) -> Checked:
    """Audit `data`, which `recipe` reads, and forecast one run of each kind.

    Groups that differ in learning rates alone are of one kind: they train the same parameters in the same way.

    Raises:
        InputError: the recipe's data or base cannot be used.
    """
    context = system.prepare(data, None, ignore)
    findings = [(finding["severity"], finding["message"]) for finding in context.audit()["findings"]]
    kinds: dict[str, tuple[str, Estimate | None]] = {}
    groups: list[GroupCheck] = []
    for name in recipe.groups:
        runs = [run for run in recipe.runs if run.group == name]
        kind = _kind(runs[0])
        if kind not in kinds:
            forecast = getattr(context, "forecast", None)
            kinds[kind] = (name, forecast(runs[0]) if estimate and forecast is not None else None)
        groups.append(GroupCheck(name, len(runs), *kinds[kind]))
    stages = getattr(context, "stages", None)
    return Checked(
        context.data_facts(), findings, groups, stages(recipe.runs) if estimate and stages is not None else []
    )


def _kind(run: PlannedRun) -> str:
    sections = {key: section.model_dump() for key, section in run.settings.items()}
    for key in ("learning_rate", "head_learning_rate", "weight_decay"):
        sections.get("training", {}).pop(key, None)
    return repr(sections)
