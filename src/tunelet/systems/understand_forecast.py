"""What an `understand` sweep will cost: its base, its tunings, and all that is asked, from a few of each.

Prompts are timed as text and on a model that nothing has trained; what sound adds is not in the forecast. Nothing is
kept. Not here: how it is shown (`cli`).

Example:
    >>> stages(data, recipe.runs)[-1].seconds           # doctest: +SKIP
    5120.4
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from tunelet.base.files import digest
from tunelet.data.understanding.demonstrations import DemonstrationPool
from tunelet.systems import understand_base
from tunelet.systems.checking import StageCheck
from tunelet.systems.recipes import LoadedRecipe, PlannedRun
from tunelet.systems.settling import settled
from tunelet.systems.training_run import steps_of
from tunelet.systems.understand_data import UnderstandData
from tunelet.systems.understand_evaluation import Asker, Shown, asked_in
from tunelet.systems.understand_material import Material
from tunelet.systems.understand_models import KINDS
from tunelet.systems.understand_opened import Opened, Wanted
from tunelet.systems.understand_recipe import sections
from tunelet.systems.understand_settings import CONTROLS
from tunelet.systems.understand_start import start_key
from tunelet.systems.understand_tuning import make_ready
from tunelet.systems.understand_ways import Way, ways_of
from tunelet.training.events import ignore

#: prompts of a task that are timed at the least and the most demonstrations; steps of a tuning
PROMPTS, STEPS = 8, 2


def stages(data: UnderstandData, runs: Sequence[PlannedRun]) -> list[StageCheck]:
    """The stages of a recipe's runs, in order."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        found = _bases(data, runs)
        kinds: dict[str, list[PlannedRun]] = {}
        for run in runs:
            if sections(run).approach.regime not in CONTROLS:
                kinds.setdefault(digest(sections(run).model.model_dump(mode="json")), []).append(run)
        for members in kinds.values():
            tuned = [run for run in members if sections(run).approach.tunes]
            if tuned:
                found.append(_tuning(data, tuned, place))
            found.append(_asking(data, members, place))
        return found


def _bases(data: UnderstandData, runs: Sequence[PlannedRun]) -> list[StageCheck]:
    found = []
    for key, start in data.starts.items():
        if start.data is None:
            continue
        seeds = {run.seed for run in runs if start_key(sections(run).base, sections(run).model) == key}
        times = len(seeds) if start.settings.own_seed else 1
        asked = LoadedRecipe(
            "understand-base", "base", "", start.data.settings, (start.stage_of(min(seeds)).run(),), {}
        )
        (run,) = settled(asked).runs
        estimate = understand_base.prepare(start.data, None, ignore).forecast(run)
        what = "meta-training" if times == 1 else f"meta-training, {times} times"
        found.append(StageCheck("base", what, None, estimate.memory.total, times * estimate.seconds))
    return found


def _opened(data: UnderstandData, run: PlannedRun, place: Path) -> Opened:
    chosen = sections(run)
    return KINDS[chosen.model.kind](Wanted(chosen.model, chosen.tuning, None, False, run.seed, place))


def _tuning(data: UnderstandData, runs: Sequence[PlannedRun], place: Path) -> StageCheck:
    chosen = sections(runs[0])
    opened, source = _opened(data, runs[0], place), data.names[chosen.cell.source]
    told = data.tasks[source]
    # a few examples do: what is timed is a step
    few = replace(told, train=told.train[: 4 * chosen.training.batch.size], validation=told.validation[:1])
    material = Material(replace(data, tasks={source: few}), None)
    as_text = replace(chosen, approach=chosen.approach.model_copy(update={"query": "text"}))
    ready = make_ready(opened, source, material, as_text, runs[0].seed, place / "run", "forecast")
    loop = ready.loop
    times = [_timed(lambda: loop.accelerator.backward(loop.loss(ready.batches.next()))) for _ in range(STEPS)]
    steps = sum(_steps(data, run) for run in runs)
    memory = sum(p.numel() * p.element_size() for p in ready.tuned.model.parameters())
    # the first is slower than all that follow
    seconds = min(times) * chosen.training.batch.accumulate * steps
    return StageCheck("tuning", f"{len(runs)} runs, validation aside", steps, memory, seconds)


def _steps(data: UnderstandData, run: PlannedRun) -> int:
    training = sections(run).training
    examples = len(data.tasks[data.names[sections(run).cell.source]].train)
    return steps_of(training, math.ceil(examples / training.batch.size))


def _asking(data: UnderstandData, runs: Sequence[PlannedRun], place: Path) -> StageCheck:
    chosen = sections(runs[0])
    opened = _opened(data, runs[0], place)
    opened.module.to("cuda" if torch.cuda.is_available() else "cpu")
    opened.module.eval()
    seconds, prompts = 0.0, 0
    shown = data.settings.k
    for name in data.asked:
        told = data.tasks[name]
        some = Shown(DemonstrationPool(told.pool[:200]), None)
        items = [one for one in told.test if one.text.strip()]
        asker = Asker(opened.model, told.task, items[:PROMPTS], some, chosen.evaluation, 1, chosen.model.max_length,
                      lambda model, asked, way: model.answer(asked))  # fmt: skip
        cost: dict[int, float] = {}
        for k in {min(shown), max(shown)} if items else ():
            cost[k] = _timed(partial(asker.ask, Way(k, demonstrations="random"))) / len(items[:PROMPTS])
        for run in runs:
            own = sections(run)
            for way in ways_of(data.settings, own.evaluation, hears=own.model.hears, tuned=own.approach.tunes):
                count = len(asked_in(told.test, way)) or len(told.test) * (way.query == "speech")
                prompts += count
                seconds += count * _between(cost, way.k) if cost else 0.0
    memory = sum(p.numel() * p.element_size() for p in opened.module.parameters())
    return StageCheck("asking", f"{prompts:,} prompts of {len(runs)} runs, as text", None, memory, seconds)


def _between(cost: dict[int, float], k: int) -> float:
    """Seconds of a prompt with k demonstrations, on the line between those that were timed."""
    least, most = min(cost), max(cost)
    share = 0.0 if least == most else (k - least) / (most - least)
    return cost[least] + share * (cost[most] - cost[least])


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
