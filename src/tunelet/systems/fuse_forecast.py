"""What a sweep of `fuse` will cost, by stage: experts and vectors, which its runs share, and what methods train.

Each kind of training is timed for a few of its own steps, once for a target, and scaled to the steps that a run
plans; no expert is trained for it, random updates and vectors of the same shapes take their place. Loading bases,
saving folders and the report are not counted. Not here: how a step is timed (`training.estimate`).

Example:
    >>> Forecasts(data).stages(recipe.runs, context.base)[0].what           # doctest: +SKIP
    '24 adapters'
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunelet.models.bases import Base
from tunelet.systems import classify
from tunelet.systems.checking import StageCheck
from tunelet.systems.fuse_columns import columns_of, pairs_of
from tunelet.systems.fuse_experts import ExpertPlan, Experts, Place, plan_expert, trained_experts
from tunelet.systems.fuse_folders import adapters_in
from tunelet.systems.fuse_kinds import in_layers, several
from tunelet.systems.fuse_lengths import Lengths, lengths_of, scaled, time_loop, time_on_texts
from tunelet.systems.fuse_probe import fake_experts, fake_objective, vector_seconds
from tunelet.systems.fuse_recipe import FuseData, Sections, sections, with_steps
from tunelet.systems.fuse_training import Work, on_vectors
from tunelet.systems.recipes import PlannedRun
from tunelet.training.estimate import Estimate
from tunelet.training.settings import TrainingSettings
from tunelet.tuning.fusion.adapters import Opened, build_backbone
from tunelet.tuning.fusion.expert_heads import output_fusion
from tunelet.tuning.fusion.settings import FusionSettings

#: what is said of a run that finds its training among the experts
SHARED = "single: its training is the target's expert, and counted there."


@dataclass
class Forecasts:
    """Forecasts of the runs of a recipe; what was timed once is not timed again.

    Attributes:
        data: all tasks.
    """

    data: FuseData
    _timed: dict[Any, tuple[Estimate, Lengths]] = field(default_factory=dict)

    def of(self, run: PlannedRun, base: Base) -> Estimate:
        """A run's own training."""
        chosen = sections(run)
        if chosen.approach.method == "single":
            found = self._expert(plan_expert(chosen.cell.target, chosen, run.seed), chosen, base)
            return replace(
                found, trust=SHARED, train_seconds=0.0, evaluation_seconds=0.0, seconds_low=0.0, seconds_high=0.0
            )
        key = (chosen.cell.target, repr([part for name, part in vars(chosen).items() if name != "cell"]))
        lengths = self._lengths(chosen, run.seed)
        if key not in self._timed:
            self._timed[key] = self._measure(run, base), lengths
        return scaled(*self._timed[key], lengths)

    def stages(self, runs: Sequence[PlannedRun], base_of: Callable[[PlannedRun], Base]) -> list[StageCheck]:
        """What all runs need together, each shared thing once."""
        plans: dict[Any, tuple[ExpertPlan, PlannedRun]] = {}
        for run in runs:
            chosen = sections(run)
            for plan in self._plans(chosen, run.seed):
                plans.setdefault((plan, repr(chosen.experts), repr(chosen.model)), (plan, run))
        found = []
        if plans:
            costs = [self._expert(plan, sections(run), base_of(run)) for plan, run in plans.values()]
            steps = sum(self._expert_lengths(plan, sections(run)).steps for plan, run in plans.values())
            memory = max(cost.memory.total for cost in costs)
            seconds = sum(cost.seconds for cost in costs)
            found.append(StageCheck("experts", f"{len(plans)} adapters", steps, memory, seconds))
        columns = columns_of(runs, self.data)
        if columns:
            first = next(run for run in runs if sections(run).approach.method in ("fusion", "merge"))
            each, memory = vector_seconds(sections(first), self.data, base_of(first))
            pairs = pairs_of(columns, self.data)
            told = f"{pairs:,} pairs of text and adapter"
            found.append(StageCheck("vectors", told, None, memory, pairs * each))
        own = [run for run in runs if sections(run).approach.method != "single"]
        if own:
            costs = [self.of(run, base_of(run)) for run in own]
            steps = sum(self._lengths(sections(run), run.seed).steps for run in own)
            memory, seconds = max(cost.memory.total for cost in costs), sum(cost.seconds for cost in costs)
            found.append(StageCheck("methods", f"{len(own)} runs", steps, memory, seconds, in_groups=True))
        return found

    def _plans(self, chosen: Sections, seed: int) -> list[ExpertPlan]:
        """The experts that a run needs trained."""
        method, target = chosen.approach.method, chosen.cell.target
        if method == "single":
            return [plan_expert(target, chosen, seed)]
        if method not in ("fusion", "merge"):
            return []
        names = trained_experts(chosen, self.data.tasks, from_folder=chosen.experts.folder is not None)
        return [plan_expert(name, chosen, seed) for name in names]

    def _expert(self, plan: ExpertPlan, chosen: Sections, base: Base) -> Estimate:
        key = ("expert", plan.task, repr(chosen.model), repr(chosen.experts))
        lengths = self._expert_lengths(plan, chosen)
        if key not in self._timed:
            dataset = plan.dataset(self.data)
            settings = plan.settings(chosen, len(dataset.splits["train"]))
            context = classify.Context(dataset, None, {chosen.model: base})
            found = context.forecast(PlannedRun("forecast", plan.seed, settings))
            self._timed[key] = found, replace(lengths, evaluations=max(1, int(lengths.evaluations - self._end(plan))))
        return scaled(*self._timed[key], lengths)

    def _expert_lengths(self, plan: ExpertPlan, chosen: Sections) -> Lengths:
        examples = self._count(plan.task, plan.size)
        training = plan.settings(chosen, examples)["training"]
        if not isinstance(training, TrainingSettings):
            raise TypeError("expected the sections of `classify`")
        lengths = lengths_of(training, examples)
        return replace(lengths, evaluations=lengths.evaluations + self._end(plan))

    def _end(self, plan: ExpertPlan) -> float:
        """An expert's last scoring, of validation and test, in evaluations."""
        sizes = self.data.tasks[plan.task].sizes
        return (sizes["validation"] + sizes["test"]) / sizes["validation"]

    def _count(self, task: str, size: int | None) -> int:
        there = len(self.data.tasks[task].splits["train"])
        return there if size is None else min(size, there)

    def _lengths(self, chosen: Sections, seed: int) -> Lengths:
        own = self._count(chosen.cell.target, chosen.cell.size)
        if chosen.approach.method in ("shared", "joint"):
            others = [name for name in self.data.tasks if name != chosen.cell.target]
            whole = own + sum(self._count(name, chosen.experts.limit) for name in others)
            return lengths_of(chosen.training, whole)
        return lengths_of(with_steps(chosen.training, chosen.experts.least_steps, own), own)

    def _measure(self, run: PlannedRun, base: Base) -> Estimate:
        """Time some steps of a run."""
        chosen = sections(run)
        dataset = self.data.of(chosen.cell.target, chosen.cell.size, run.seed)
        examples, method = len(dataset.splits["train"]), chosen.approach.method
        joined = method in ("shared", "joint")
        training = chosen.training if joined else with_steps(chosen.training, chosen.experts.least_steps, examples)
        chosen = replace(chosen, training=training)
        if method == "full":
            context = classify.Context(dataset, None, {chosen.model: base})
            parts = {"model": chosen.model, "tuning": chosen.tuning, "training": training}
            return context.forecast(PlannedRun("forecast", run.seed, parts))
        with tempfile.TemporaryDirectory() as folder:
            work, place = Work(chosen, run.seed, Path(folder), "forecast"), Place(Path(folder) / "cache")
            if joined:
                trial = several(work, self.data, dataset, base, place)
                return time_on_texts(trial.loop, trial.frozen)
            experts = fake_experts(chosen, self._names(chosen), dataset.task, base)
            if method == "fusion" and chosen.fusion.level == "layer":
                count = sum(p.numel() for p in build_backbone(base).parameters())
                trial = in_layers(work, dataset, Experts(Opened(experts, (), ()), count), base, place)
                return time_on_texts(trial.loop, trial.frozen)
            merges = method == "merge"
            settings = FusionSettings(kind="mean", dropout=chosen.fusion.dropout) if merges else chosen.fusion
            count = 1 if merges else len(experts)
            width, labels = int(base.config.hidden_size), dataset.task.label_names
            own = settings.residual == "own"
            objective = fake_objective(min(examples, 8 * training.batch.size), count, width, labels, own=own)
            module = output_fusion(settings, width=width, experts=count, labels=len(labels), seed=run.seed)
            loop = on_vectors(module, objective, work)
            found = time_loop(loop, len, lengths_of(training, examples), len(dataset.splits["validation"]))
        frozen = sum(p.numel() for p in build_backbone(base).parameters()) + sum(e.parameters for e in experts)
        return replace(found, parameters=found.trainable + frozen)

    def _names(self, chosen: Sections) -> list[str]:
        """All experts of a fusion."""
        folder = chosen.experts.folder
        there = (
            []
            if folder is None or not chosen.approach.other_experts
            else [name for name in adapters_in(folder) if name != chosen.cell.target]
        )
        return [*there, *trained_experts(chosen, self.data.tasks, from_folder=folder is not None)]
