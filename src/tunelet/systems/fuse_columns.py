"""Which texts a sweep of `fuse` needs under which adapters, so that its pairs can be counted before one is computed.

Not here: computing them (`systems.fuse_vectors`).

Example:
    >>> columns = columns_of(recipe.runs, data)             # doctest: +SKIP
    >>> pairs_of(columns, data)                             # doctest: +SKIP
    151204
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunelet.systems.fuse_experts import plan_expert, trained_experts
from tunelet.systems.fuse_folders import adapters_in
from tunelet.systems.fuse_recipe import FuseData, Sections, sections
from tunelet.systems.recipes import PlannedRun

#: a target, its training size, and the seed of the draw
Draw = tuple[str, int | None, int]


def columns_of(runs: Sequence[PlannedRun], data: FuseData) -> dict[Any, set[Draw]]:
    """What stands for an adapter (or its merge with others, or its last layer) -> the draws whose texts it is asked."""
    found: dict[Any, set[Draw]] = {}
    for run in runs:
        chosen = sections(run)
        method, fusion = chosen.approach.method, chosen.fusion
        if method not in ("fusion", "merge") or (method == "fusion" and fusion.level == "layer"):
            continue
        draw = (chosen.cell.target, chosen.cell.size, run.seed)
        members = _members(chosen, data, run.seed)
        columns = ["base", ("merged", *members)] if method == "merge" else ["base", *members]
        if method == "fusion" and fusion.residual == "own":
            columns.append(("last layer", plan_expert(chosen.cell.target, chosen, run.seed), repr(chosen.experts)))
        for column in columns:
            found.setdefault((column, repr(chosen.model)), set()).add(draw)
    return found


def pairs_of(columns: dict[Any, set[Draw]], data: FuseData) -> int:
    """Pairs of a text and an adapter; a text that two draws share counts once."""
    texts: dict[Draw, set[str]] = {}
    held: dict[str, set[str]] = {}
    count = 0
    for draws in columns.values():
        for draw in draws:
            if draw not in texts:
                texts[draw] = {one.text for one in data.of(*draw).splits["train"]}
            if draw[0] not in held:
                splits = data.tasks[draw[0]].splits
                held[draw[0]] = {one.text for split in ("validation", "test") for one in splits[split]}
        count += len(set().union(*(texts[draw] for draw in draws), *(held[target] for target, _, _ in draws)))
    return count


def _members(chosen: Sections, data: FuseData, seed: int) -> list[Any]:
    """The adapters of a run; equal ones are one."""
    folder = chosen.experts.folder
    there = [] if folder is None else [name for name in adapters_in(folder) if name != chosen.cell.target]
    trained = trained_experts(chosen, data.tasks, from_folder=folder is not None)
    plans = [plan_expert(name, chosen, seed) for name in trained]
    return [*((folder, name) for name in there), *((plan, repr(chosen.experts)) for plan in plans)]
