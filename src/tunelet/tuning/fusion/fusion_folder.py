"""The folder of a fusion: its weights with the task's last layer, its experts copied or by reference, `tunelet.json`.

As an adapter folder it is published whole, after it was loaded back, and everything it says is checked at load: files,
labels, base, tokenizer, each expert's content, answers to two probes. An expert is bound by the hash of what it
computes; the same adapter saved again is the same expert. Not here: training a fusion.

Example:
    >>> save_fusion(folder, model, base, task, opened, copy_adapters=True)      # doctest: +SKIP
    >>> loaded = load_fusion(folder)                                            # doctest: +SKIP
    >>> loaded.model(**batch).weights.shape                                     # doctest: +SKIP
    torch.Size([8, 6])
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from tunelet.base.errors import AdapterError, Problem, TrainingError
from tunelet.base.files import MANIFEST, publish_folder, write_json
from tunelet.base.settings import Field, Settings
from tunelet.data.records import Task
from tunelet.models.bases import Base
from tunelet.tuning import checks, manifest, stored
from tunelet.tuning.checks import Refusals
from tunelet.tuning.fusion.adapters import Opened, build_backbone, open_experts
from tunelet.tuning.fusion.attention import Fused, OutputFusion
from tunelet.tuning.fusion.expert_heads import ExpertHeads, output_fusion
from tunelet.tuning.fusion.experts import Expert
from tunelet.tuning.fusion.grouped import ExpertBank
from tunelet.tuning.fusion.layer_fusion import LayerFusion
from tunelet.tuning.fusion.own_head import OwnHead, open_own
from tunelet.tuning.fusion.settings import FusionSettings
from tunelet.tuning.loaded import LoadedAdapter, file_entry, find_base
from tunelet.tuning.manifest import Manifest
from tunelet.tuning.probes import run_probes

WEIGHTS = "fusion.safetensors"
#: folder of copied adapters
ADAPTERS = "adapters"
_COPIED = (stored.CONFIG, stored.WEIGHTS, manifest.NAME, MANIFEST)


class ExpertEntry(Settings):
    """One expert."""

    name: str = Field(description="how it is called")
    path: str = Field(description="its folder, from the fusion's folder")
    copied: bool = Field(description="whether that is a copy inside the fusion's folder")
    sha256: str = Field(description="hex, over what it computes: modules, scalings and factors")


class FusionEntry(Settings):
    """What is fused, and how."""

    settings: FusionSettings = Field(description="of the fusion")
    experts: tuple[ExpertEntry, ...] = Field(min_length=1, description="in their order")
    own: str | None = Field(None, description="the expert that the fusion is added to (`residual: own`)")


class FusionManifest(Manifest):
    """The content of a fusion's `tunelet.json`."""

    fusion: FusionEntry = Field(description="what is fused")


@dataclass(frozen=True, eq=False)
class LoadedFusion(LoadedAdapter):
    """A fusion, ready to answer; to be used as an adapter is.

    Attributes:
        experts: names, in the order of the weights.
        opened: the adapters, with where they lie.
    """

    experts: tuple[str, ...] = ()
    opened: Opened | None = None

    @property
    def fused(self) -> bool:
        """See `LoadedAdapter`."""
        return True


class FusedClassifier(nn.Module):
    """A fusion with what it fuses, from tokens to logits. Its parameters are the fusion's alone.

    Args:
        fusion: over outputs, or inside layers.
        bank: for a fusion over outputs; the plain base is its expert 0. None: it can be saved, but answers nothing.
        own: for `residual: own`.
    """

    def __init__(
        self,
        fusion: OutputFusion | ExpertHeads | LayerFusion,
        bank: ExpertBank | None = None,
        own: OwnHead | None = None,
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self._held = (bank, own)  # no part of the module: experts are never trained, stored or switched with it

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **others: Any) -> Fused:
        """Ids and mask (B, L) to logits and weights; other arguments are not looked at."""
        mask = attention_mask if attention_mask is not None else input_ids.new_ones(input_ids.shape)
        bank, own = self._held
        if isinstance(self.fusion, LayerFusion):
            found: Fused = self.fusion(input_ids, mask)
            return found
        if bank is None:
            raise ValueError("a fusion over outputs was asked without its experts")
        like = next(self.fusion.parameters())
        vectors = bank.all_experts(input_ids, mask).to(like)
        start = None
        if own is not None and self.fusion.settings.residual == "own":
            start = own.vectors(input_ids, mask).to(like)
        fused: Fused = self.fusion(vectors[:, 1:], vectors[:, 0], start)
        return fused

    @property
    def own(self) -> OwnHead | None:
        """What the fusion is added to."""
        return self._held[1]


def build_fused(
    settings: FusionSettings,
    backbone: Any,
    experts: Sequence[Expert],
    *,
    labels: int,
    seed: int = 0,
    own: OwnHead | None = None,
) -> FusedClassifier:
    """An untrained fusion over `experts`; the backbone belongs to it from now on.

    Args:
        own: the target's own adapter, for `residual: own` and `head: expert`.
    """
    if settings.level == "layer":
        return FusedClassifier(LayerFusion(settings, backbone, experts, labels=labels, seed=seed))
    bank = ExpertBank(backbone, experts)
    fusion = output_fusion(settings, width=bank.width, experts=len(experts), labels=labels, seed=seed)
    if own is not None and settings.head == "expert":
        fusion.start_from(own.weight, own.bias)
    return FusedClassifier(fusion, bank, own)


def save_fusion(
    folder: Path,
    model: FusedClassifier,
    base: Base,
    task: Task,
    opened: Opened,
    *,
    copy_adapters: bool = False,
    scores: Mapping[str, Any] | None = None,
) -> FusionManifest:
    """Save a fusion, check it by loading it back, and publish the folder whole.

    Args:
        folder: takes the place of what stands there.
        opened: the experts, in the order in which `model` has them.
        copy_adapters: put copies of the adapters into the folder; else it refers to where they lie.
        scores: metrics to note in the manifest; JSON values.

    Raises:
        TrainingError: a weight is NaN or infinite; nothing is written then.
    """
    folder = Path(folder)
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.fusion.state_dict().items()}
    if broken := stored.not_finite(state):
        raise TrainingError(f"the fusion is not saved: {broken[0]} holds NaN or infinity")
    with publish_folder(folder) as part:
        save_file(state, part / WEIGHTS, metadata={"format": "pt", stored.LABELS: json.dumps(task.label_names)})
        entries: list[ExpertEntry] = []
        for expert, place in zip(opened.experts, opened.folders, strict=True):
            path = f"{ADAPTERS}/{len(entries):02d}"
            if copy_adapters:
                _copy(place, part / path)
            else:
                path = os.path.relpath(place.resolve(), folder.resolve())
            entries.append(ExpertEntry(name=expert.name, path=path, copied=copy_adapters, sha256=expert.sha256))
        settings = model.fusion.settings
        own = model.own if settings.residual == "own" else None
        again, backbone = _assembled(part, settings, base, task, opened.experts, own)
        trained = model.fusion.parameter_count
        frozen = sum(p.numel() for p in backbone.parameters()) + sum(e.parameters for e in opened.experts)
        files = sorted(path for path in part.rglob("*") if path.is_file())
        written = FusionManifest(
            format=manifest.FORMAT,
            kind="adapter",
            method=f"fusion-{settings.level}-{settings.kind}",
            base=manifest.base_entry(base),
            task=manifest.task_entry(task),
            max_length=base.max_length,
            attention="sdpa",
            scaling={},
            trainable_parameters=trained,
            total_parameters=trained + frozen,
            files={path.relative_to(part).as_posix(): file_entry(path) for path in files},
            probes=run_probes(again, base.tokenizer, max_length=base.max_length),
            scores=None if scores is None else dict(scores),
            fusion=FusionEntry(settings=settings, experts=tuple(entries), own=None if own is None else own.name),
        ).sealed()
        write_json(part / manifest.NAME, written.model_dump(mode="json"))
    return written


def load_fusion(
    folder: Path | str,
    *,
    base: str | None = None,
    adapters: Mapping[str, Path | str] | None = None,
    force: bool = False,
) -> LoadedFusion:
    """Load a fusion, checking every thing that its folder says.

    Args:
        folder: one that `save_fusion` wrote.
        base: where the base is, if not where the folder says.
        adapters: name of an expert -> its folder, if not where the fusion's folder says.
        force: go on in spite of a failed check; the problems are listed in `overridden`.

    Raises:
        AdapterError: a check failed; the message names both sides. An adapter that is missing, damaged or of another
            base cannot be forced.
        BaseModelError: the base is not found.
    """
    folder = Path(folder)
    if not (folder / manifest.NAME).is_file():
        raise AdapterError(Problem(f"not a fusion: {manifest.NAME} is not there", folder))
    told = manifest.read_stated(folder, FusionManifest)
    refusals = Refusals(force)
    refusals.refuse(checks.file_problems(folder, told))
    _, notes = stored.read_tensors(folder / WEIGHTS)
    refusals.refuse(checks.label_problems(folder, told, stored.labels_in(notes), WEIGHTS))
    known = find_base(folder, told, base)
    refusals.refuse(checks.base_problems(folder, told, known))
    places = _places(folder, told.fusion.experts, adapters or {})
    opened = open_experts(places, known, build_backbone(known))
    refusals.refuse(_changed(told.fusion.experts, opened))
    own = None
    if told.fusion.settings.residual == "own":
        if told.fusion.own not in places:
            message = f"found {told.fusion.own!r}, expected one of {', '.join(places)}"
            raise AdapterError(Problem(message, folder / manifest.NAME, field="fusion.own"))
        own = open_own(told.fusion.own, places[told.fusion.own], told.to_task(), base=base, force=force)
    model, _ = _assembled(folder, told.fusion.settings, known, told.to_task(), opened.experts, own)
    refusals.refuse(checks.seal_problems(folder, told))
    texts = [probe.text for probe in told.probes]
    now = run_probes(model, known.tokenizer, max_length=told.max_length, texts=texts)
    refusals.refuse(checks.probe_problems(folder, told, now))
    return LoadedFusion(
        model, known.tokenizer, told.to_task(), told.max_length, known, told, opened.warnings, refusals.overridden,
        tuple(expert.name for expert in opened.experts), opened,
    )  # fmt: skip


def gather(loaded: LoadedFusion, folder: Path | str) -> FusionManifest:
    """Save a loaded fusion with copies of its adapters: a folder that can go anywhere, whatever it referred to before.

    Each copy stays a LoRA adapter that PEFT loads by itself. The whole is none: which update a text gets hangs on the
    text, so that no single update, and no merged weight, gives its answers.

    Args:
        loaded: before `tuning.inference.for_inference` changed it.
        folder: takes the place of what stands there.

    Raises:
        AdapterError: `loaded` was forced in spite of a failed check.
    """
    if loaded.overridden or loaded.base is None or loaded.manifest is None or loaded.opened is None:
        told = "; ".join(loaded.overridden) or "it was not loaded from a folder"
        raise AdapterError(Problem(f"this fusion is not stored again: {told}", Path(folder)))
    if not isinstance(loaded.model, FusedClassifier):
        raise AdapterError(Problem(f"found a {type(loaded.model).__name__}, expected a fusion", Path(folder)))
    return save_fusion(
        Path(folder),
        loaded.model,
        loaded.base,
        loaded.task,
        loaded.opened,
        copy_adapters=True,
        scores=loaded.manifest.scores,
    )


def _assembled(
    folder: Path,
    settings: FusionSettings,
    base: Base,
    task: Task,
    experts: Sequence[Expert],
    own: OwnHead | None = None,
) -> tuple[FusedClassifier, Any]:
    """What the files of `folder` give over a backbone of their own, and that backbone."""
    tensors, _ = stored.read_tensors(folder / WEIGHTS)
    backbone = build_backbone(base)
    model = build_fused(settings, backbone, experts, labels=len(task.label_names), own=own)
    try:
        model.fusion.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise AdapterError(Problem(f"the weights do not fit the fusion: {error}", folder / WEIGHTS)) from error
    return model.eval(), backbone


def _copy(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for name in _COPIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def _places(folder: Path, entries: Sequence[ExpertEntry], given: Mapping[str, Path | str]) -> dict[str, Path]:
    """Where each expert lies."""
    names = [entry.name for entry in entries]
    problems = [
        Problem(f"the fusion has no expert {name!r}; it has {', '.join(names)}", folder, field="adapters")
        for name in given
        if name not in names
    ]
    places = {entry.name: Path(given.get(entry.name, folder / entry.path)) for entry in entries}
    problems += [
        Problem(
            f"the adapter of the expert {name!r} is not there",
            place,
            hint=f"it was moved: say where with --expert {name}=FOLDER, or adapters={{{name!r}: folder}}",
        )
        for name, place in places.items()
        if not place.is_dir()
    ]
    if problems:
        raise AdapterError(problems)
    return places


def _changed(entries: Sequence[ExpertEntry], opened: Opened) -> list[Problem]:
    """Experts that are not what they were when the fusion was trained."""
    return [
        Problem(
            f"the expert {entry.name!r} computes something else than when the fusion was trained: its sha256 was "
            f"{entry.sha256}, now it is {expert.sha256}",
            place,
            hint="put the adapter of the training back, or train the fusion again",
        )
        for entry, expert, place in zip(entries, opened.experts, opened.folders, strict=True)
        if entry.sha256 != expert.sha256
    ]
