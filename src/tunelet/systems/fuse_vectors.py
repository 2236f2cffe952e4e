"""Vectors of a task's texts for `fuse`: computed once for all runs of a sweep, then read from disk.

Not here: the cache (`tuning.fusion.vectors`), what trains on the vectors (`systems.fuse_kinds`).

Example:
    >>> vectors_of(dataset, experts, base, 64, place)["train"].shape        # doctest: +SKIP
    torch.Size([256, 7, 384])
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tunelet.data.records import Dataset
from tunelet.models.bases import Base
from tunelet.systems.fuse_experts import Place
from tunelet.training.events import Note
from tunelet.tuning.fusion.adapters import build_backbone
from tunelet.tuning.fusion.experts import Expert, make_base
from tunelet.tuning.fusion.grouped import ExpertBank
from tunelet.tuning.fusion.own_head import OwnHead
from tunelet.tuning.fusion.vectors import Source, VectorCache, Vectors, compute_with


def vectors_of(dataset: Dataset, members: list[Expert], base: Base, max_length: int, place: Place) -> dict[str, Tensor]:
    """By split, (N, K + 1, H), the plain base first; what is on disk is not computed again."""
    banks: list[ExpertBank] = []  # one is built only if a vector is missing

    def compute(texts: Any, numbers: Any) -> Tensor:
        if not banks:
            banks.append(ExpertBank(build_backbone(base), members))
        return compute_with(banks[0], base.tokenizer, max_length=max_length)(texts, numbers)

    found = _cache(base, max_length, place).vectors(_texts(dataset), [make_base(), *members], compute)
    return _split(dataset, found, "vectors", place)


def own_vectors(dataset: Dataset, own: OwnHead, base: Base, max_length: int, place: Place) -> dict[str, Tensor]:
    """By split, (N, H): what the last layer of the target's own adapter sees."""
    column = Expert(f"{own.name}, its last layer", {}, own.sha256)
    compute = own.compute(base.tokenizer, max_length=max_length)
    found = _cache(base, max_length, place).vectors(_texts(dataset), [column], compute)
    return {split: rows[:, 0] for split, rows in _split(dataset, found, "vectors of the own adapter", place).items()}


def _cache(base: Base, max_length: int, place: Place) -> VectorCache:
    return VectorCache(place.cache / "vectors", Source(base.fingerprint, base.tokenizer_sha256, max_length))


def _texts(dataset: Dataset) -> list[str]:
    return [one.text for rows in dataset.splits.values() for one in rows]


def _split(dataset: Dataset, found: Vectors, what: str, place: Place) -> dict[str, Tensor]:
    if found.computed:
        place.observer(Note(f"{what}: {found.computed:,} computed, {found.found:,} on disk"))
    parts = torch.split(found.vectors, [len(rows) for rows in dataset.splits.values()])
    return dict(zip(dataset.splits, parts, strict=True))
