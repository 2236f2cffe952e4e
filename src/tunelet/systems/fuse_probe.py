"""Stand-ins for what a `fuse` run has only after hours: adapters and vectors of the right shapes, for timing a step.

Not here: the forecast (`systems.fuse_forecast`).

Example:
    >>> fake_objective(64, 6, 384, ("sad", "glad"), own=False).vectors["train"].shape
    torch.Size([64, 7, 384])
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from tunelet.base.streams import torch_stream
from tunelet.data.limits import spread
from tunelet.data.records import Task
from tunelet.models.bases import Base
from tunelet.systems.fuse_objective import VectorObjective
from tunelet.systems.fuse_recipe import FuseData, Sections
from tunelet.systems.fuse_training import adapted_names
from tunelet.tuning.fusion.adapters import build_backbone
from tunelet.tuning.fusion.experts import Expert, LowRank
from tunelet.tuning.fusion.grouped import ExpertBank
from tunelet.tuning.fusion.vectors import compute_with

#: texts of each task that are timed
TEXTS = 24


def fake_experts(chosen: Sections, names: Sequence[str], task: Task, base: Base) -> tuple[Expert, ...]:
    """Adapters with small random factors, of the modules and the rank that the recipe trains."""
    backbone, rank = build_backbone(base), chosen.experts.tuning.r
    stream = torch_stream(0, "forecast")
    modules = adapted_names(base, task, chosen.experts.tuning)
    found = []
    for name in names:
        updates = {}
        for module in modules:
            outputs, inputs = backbone.get_submodule(module).weight.shape
            a, b = (torch.randn(shape, generator=stream) * 0.01 for shape in ((rank, inputs), (outputs, rank)))
            updates[module] = LowRank(a, b, 1.0)
        found.append(Expert(name, updates, f"forecast-{name}"))
    return tuple(found)


def fake_objective(examples: int, experts: int, width: int, labels: tuple[str, ...], *, own: bool) -> VectorObjective:
    """Random vectors of so many training texts, with labels in turn."""
    stream = torch_stream(0, "forecast")
    vectors = torch.randn((examples, experts + 1, width), generator=stream)
    return VectorObjective(
        {"train": vectors},
        {"train": torch.arange(examples) % len(labels)},
        labels,
        [str(number) for number in range(examples)],
        own={"train": vectors[:, 0]} if own else None,
    )


def vector_seconds(chosen: Sections, data: FuseData, base: Base) -> tuple[float, int]:
    """Seconds for a text under an adapter, over texts of all tasks; and bytes of a bank of all adapters."""
    task = data.tasks[chosen.cell.target].task
    names = [name for name in data.tasks]
    members = fake_experts(chosen, names[:2], task, base)
    backbone = build_backbone(base)
    weights = sum(p.numel() for p in backbone.parameters())
    merged = sum(backbone.get_submodule(name).weight.numel() for name in members[0].updates)
    bank = ExpertBank(backbone, members)
    compute = compute_with(bank, base.tokenizer, max_length=chosen.model.max_length)
    texts = [one.text for dataset in data.tasks.values() for one in spread(dataset.splits["train"], TEXTS)]
    asked = range(len(bank.experts))
    compute(texts[:8], asked)  # first use of every kernel
    began = time.perf_counter()
    compute(texts, asked)
    return (time.perf_counter() - began) / (len(texts) * len(asked)), 4 * (weights + len(names) * merged)
