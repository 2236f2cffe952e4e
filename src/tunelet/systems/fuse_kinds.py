"""The trainings of `fuse` that are more than one task's own: what each needs, trains, scores and leaves.

Not here: the target's own adapter and full fine-tuning (`systems.fuse_experts`), the order of a run (`systems.fuse`).

Example:
    >>> trial = run_trial(work, data, base, place)              # doctest: +SKIP
    >>> trial.loop.total_steps                                  # doctest: +SKIP
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunelet.data.records import Dataset
from tunelet.data.tokens import label_array, tokenise
from tunelet.models.bases import Base
from tunelet.systems.classify_objective import Classification, Scores
from tunelet.systems.fuse_experts import Experts, Place, find_experts
from tunelet.systems.fuse_objective import SeveralTasks, VectorObjective, joined, weights_of
from tunelet.systems.fuse_recipe import FuseData, with_steps
from tunelet.systems.fuse_training import Work, joint_fusion, on_texts, on_vectors, shared_adapter
from tunelet.systems.fuse_vectors import own_vectors, vectors_of
from tunelet.training.events import Note
from tunelet.training.loop import Loop
from tunelet.tuning.folder import save_adapter
from tunelet.tuning.fusion.adapters import build_backbone
from tunelet.tuning.fusion.expert_heads import output_fusion
from tunelet.tuning.fusion.fusion_folder import FusedClassifier, build_fused, save_fusion
from tunelet.tuning.fusion.merged import merge_uniform
from tunelet.tuning.fusion.own_head import OwnHead, open_own
from tunelet.tuning.fusion.settings import FusionSettings


@dataclass(frozen=True)
class Ended:
    """What a trained model says to a split: scores, logits (N, C), and weights (N, K) if it has them."""

    scores: Scores
    logits: np.ndarray
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class Trial:
    """A training that is ready.

    Attributes:
        loop: to be run.
        dataset: of the target, as the cell has it.
        score: the trained model on a split.
        save: leaves what was trained in a folder, and says which; None: it leaves nothing.
        frozen: parameters that do not train: base and experts.
        experts: names, in the order of the weights.
        stages: seconds of what came before: experts' training, vectors.
        from_text: whether `score` starts from texts.
        from_own: whether training starts from what the target's own adapter says, so that this is scored, too.
    """

    loop: Loop
    dataset: Dataset
    score: Callable[[str], Ended]
    save: Callable[[Path], Path | None]
    frozen: int
    experts: tuple[str, ...] = ()
    stages: dict[str, Any] = field(default_factory=dict)
    from_text: bool = True
    from_own: bool = False


def run_trial(work: Work, data: FuseData, base: Base, place: Place) -> Trial:
    """Make ready what the method of a run trains, its experts first."""
    chosen = work.chosen
    dataset = data.of(chosen.cell.target, chosen.cell.size, work.seed)
    if chosen.approach.method in ("shared", "joint"):
        return several(work, data, dataset, base, place)
    training = with_steps(chosen.training, chosen.experts.least_steps, len(dataset.splits["train"]))
    work = replace(work, chosen=replace(chosen, training=training))
    experts = find_experts(chosen, data, work.seed, base, place)
    for warning in experts.opened.warnings:
        place.observer(Note(warning))
    if chosen.approach.method == "fusion" and chosen.fusion.level == "layer":
        return in_layers(work, dataset, experts, base, place)
    return _on_outputs(work, dataset, experts, base, place)


def _on_outputs(work: Work, dataset: Dataset, experts: Experts, base: Base, place: Place) -> Trial:
    """A fusion over pooled vectors, or a new head on the merged adapter's."""
    chosen, merges = work.chosen, work.chosen.approach.method == "merge"
    members = [merge_uniform(experts.opened.experts)] if merges else list(experts.opened.experts)
    settings = FusionSettings(kind="mean", dropout=chosen.fusion.dropout) if merges else chosen.fusion
    began = time.perf_counter()
    vectors = vectors_of(dataset, members, base, chosen.model.max_length, place)
    own = _own(experts, chosen.cell.target, dataset) if settings.needs_own else None
    added = own is not None and settings.residual == "own"
    starts = own_vectors(dataset, own, base, chosen.model.max_length, place) if own is not None and added else None
    seconds = time.perf_counter() - began
    labels = dataset.task.label_names
    gold = {
        split: torch.from_numpy(label_array(rows, dataset.task, split).copy()) for split, rows in dataset.splits.items()
    }
    ids = [one.id for one in dataset.splits["train"]]
    objective = VectorObjective(vectors, gold, labels, ids, chosen.training.label_smoothing, starts, settings.evenness)
    width = vectors["train"].shape[-1]
    module = output_fusion(settings, width=width, experts=len(members), labels=len(labels), seed=work.seed)
    if own is not None and settings.head == "expert":
        module.start_from(own.weight, own.bias)
    loop = on_vectors(module, objective, work)

    def save(folder: Path) -> Path | None:
        if merges:
            return None
        # its experts are not asked here: the folder is loaded back, with experts of its own
        save_fusion(
            folder, FusedClassifier(module.cpu(), None, own), base, dataset.task, experts.opened, copy_adapters=True
        )
        return folder

    return Trial(
        loop,
        dataset,
        lambda split: Ended(*objective.score(module, split)),
        save,
        experts.base_parameters + sum(member.parameters for member in members),
        experts.names,
        {"experts": _trained(experts), "vectors": seconds},
        from_text=False,
        from_own=added and settings.head == "expert",
    )


def _own(experts: Experts, target: str, dataset: Dataset) -> OwnHead:
    """The target's own adapter, with its last layer apart."""
    return open_own(target, experts.stages[target].folder / "adapter", dataset.task)


def in_layers(work: Work, dataset: Dataset, experts: Experts, base: Base, place: Place) -> Trial:
    """A fusion of updates, token by token, in every adapted layer."""
    chosen = work.chosen
    device = "cuda" if torch.cuda.is_available() else "cpu"
    backbone = build_backbone(base, attention=chosen.model.attention).to(device)
    labels = dataset.task.label_names
    module = build_fused(chosen.fusion, backbone, experts.opened.experts, labels=len(labels), seed=work.seed)
    splits = tokenise(dataset, base.tokenizer, chosen.model.max_length, place.cache)
    objective = Classification(splits, labels, base.tokenizer.pad_token_id, chosen.training, chosen.model.max_length)
    loop = on_texts(module, objective, work)

    def score(split: str) -> Ended:
        scores, logits = objective.score(module, split)
        return Ended(scores, logits, weights_of(module, splits[split], objective) if split == "test" else None)

    def save(folder: Path) -> Path:
        save_fusion(folder, module.cpu(), base, dataset.task, experts.opened, copy_adapters=True)
        return folder

    frozen = experts.base_parameters + sum(expert.parameters for expert in experts.opened.experts)
    return Trial(loop, dataset, score, save, frozen, experts.names, {"experts": _trained(experts), "vectors": 0.0})


def several(work: Work, data: FuseData, dataset: Dataset, base: Base, place: Place) -> Trial:
    """One training over all tasks: a shared adapter, or adapters with their fusion."""
    chosen, target = work.chosen, work.chosen.cell.target
    limit, at = chosen.experts.limit, chosen.experts.seed
    seed = work.seed if at is None else at
    tasks = {name: dataset if name == target else data.of(name, limit, seed) for name in data.tasks}
    whole, owners = joined(tasks, target)
    splits = tokenise(whole, base.tokenizer, chosen.model.max_length, place.cache)
    objective = SeveralTasks(
        splits,
        whole.task.label_names,
        base.tokenizer.pad_token_id,
        chosen.training,
        chosen.model.max_length,
        owners,
        list(tasks).index(target),
    )
    joint = chosen.approach.method == "joint"
    loop = (
        joint_fusion(objective, base, whole.task, len(tasks), work)
        if joint
        else shared_adapter(objective, base, whole.task, work)
    )
    model = loop.tuned.model

    def score(split: str) -> Ended:
        scores, logits = objective.score(model, split)
        weights = weights_of(model, splits[split], objective) if joint and split == "test" else None
        return Ended(scores, logits, weights)

    def save(folder: Path) -> Path | None:
        if joint:
            return None
        save_adapter(folder, loop.tuned, base, whole.task)
        return folder

    whole_base = sum(p.numel() for p in build_backbone(base).parameters()) if joint else 0
    frozen = whole_base if joint else sum(p.numel() for p in model.parameters() if not p.requires_grad)
    names = tuple(tasks) if joint else ()
    return Trial(loop, dataset, score, save, frozen, names, {"experts": 0.0, "vectors": 0.0})


def _trained(experts: Experts) -> float:
    """Seconds that training the experts took, whenever that was."""
    return sum(stage.seconds for stage in experts.stages.values())
