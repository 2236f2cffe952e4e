"""The folder of a prefix model: what was trained, over a base or over another such folder; checked at load.

Under full fine-tuning it holds the tensors that trained (``trained.safetensors``), under LoRA PEFT's files; what did
not train is the start's: a base, known by its fingerprint, or the folder of a meta-trained model, known by its seal.
`tunelet.json` says which, and carries the scores of two questions. The folder is published only after it was loaded
back. Not here: training, speech (`PrefixModel.listen`).

Example:
    >>> save_prefix(folder, tuned, base)                                                # doctest: +SKIP
    >>> start = start_from(folder)                                                      # doctest: +SKIP
    >>> tuned = prepare(start.model, TuningSettings(method="lora"), total_steps=80, seed=1)     # doctest: +SKIP
    >>> save_prefix(other, tuned, start.base, start=start)                              # doctest: +SKIP
    >>> load_prefix(other).model.answer(questions)                                      # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from tunelet.base.errors import AdapterError, Problem, TrainingError
from tunelet.base.files import publish_folder, write_json
from tunelet.base.settings import Field, Settings
from tunelet.models.bases import Base
from tunelet.models.prefix.model import PrefixModel, build_prefix, declare_heads
from tunelet.models.sentence_embedder import SentenceEmbedder
from tunelet.tuning import checks, manifest, stored
from tunelet.tuning.attach import attach_stored
from tunelet.tuning.checks import Refusals
from tunelet.tuning.loaded import file_entry, find_base, refuse_no_adapter
from tunelet.tuning.prefix_probes import run_prefix_probes
from tunelet.tuning.trainable import trainable_table
from tunelet.tuning.tuned import Tuned

TRAINED = "trained.safetensors"


class StartEntry(Settings):
    """The folder that the training began from."""

    folder: str = Field(description="where it was, from this folder on")
    fingerprint: str = Field(description="its seal")


class PrefixEntry(Settings):
    """What kind of prefix model it is."""

    matching: bool = Field(description="with the likeness of the query to definitions and demonstrations")
    blocks: bool = Field(description="prompts are read in blocks, so that what queries share is computed once")
    start: StartEntry | None = Field(description="the meta-trained model beneath; null: the plain base")


class PrefixManifest(manifest.Stated):
    """The content of a prefix model's `tunelet.json`."""

    prefix: PrefixEntry = Field(description="what it does")


@dataclass(frozen=True, eq=False)
class PrefixStart:
    """What a tuning begins from.

    Attributes:
        model: plain, fp32, on the CPU; a LoRA of the folder is merged. It is changed by `prepare`.
        base: beneath all of it.
        folder: where it was read.
        fingerprint: its seal.
    """

    model: PrefixModel
    base: Base
    folder: Path
    fingerprint: str

    @property
    def matching(self) -> bool:
        """Whether it has the matching term."""
        return self.model.matching is not None


@dataclass(frozen=True, eq=False)
class LoadedPrefix:
    """A prefix model, ready to answer.

    Attributes:
        model: a `PrefixModel`, or PEFT's model around one, which has its methods; fp32, on the CPU, in evaluation mode.
        base: beneath all of it.
        manifest: what the folder says of itself.
        overridden: problems that ``force`` ignored.
    """

    model: Any
    base: Base
    manifest: PrefixManifest
    overridden: tuple[str, ...] = ()


def save_prefix(
    folder: Path,
    tuned: Tuned,
    base: Base,
    *,
    start: PrefixStart | None = None,
    scores: Mapping[str, Any] | None = None,
) -> PrefixManifest:
    """Save what was trained, check it by loading it back, and publish the folder whole.

    Args:
        folder: takes the place of what stands there.
        base: beneath all of it; its fp32 weights are read again for the check.
        start: what the training began from, where that was a folder.
        scores: metrics to note in the manifest; JSON values.

    Raises:
        TrainingError: a tensor holds NaN or infinity; nothing is written then.
        AdapterError: the start is not what it was.
    """
    model: Any = tuned.model
    attention = str(getattr(model.config, "_attn_implementation", None) or "sdpa")
    matching, counts = model.embedder is not None, trainable_table(tuned.model)
    with publish_folder(Path(folder)) as part:
        if tuned.is_whole_model:
            _write_trained(part, tuned)
        else:
            name = base.portable_name if start is None else str(start.folder)
            stored.write_adapter(part, tuned.export(), base_name=name, labels=())
        under = _under(base, start, model, matching, attention)
        refusals = Refusals(force=False)
        copied = _over(under, part, tuned.is_whole_model, refusals)
        written = PrefixManifest(
            format=manifest.FORMAT,
            kind="model" if tuned.is_whole_model else "adapter",
            method=tuned.settings.method,
            base=manifest.base_entry(base),
            max_length=int(model.room or base.max_length),
            attention=attention,
            scaling=checks.scalings(copied),
            trainable_parameters=counts.trainable,
            total_parameters=counts.total,
            files={
                path.relative_to(part).as_posix(): file_entry(path)
                for path in sorted(part.rglob("*"))
                if path.is_file()
            },
            probes=run_prefix_probes(copied),
            scores=None if scores is None else dict(scores),
            prefix=PrefixEntry(
                matching=matching, blocks=model.blocks, start=None if start is None else _entry(start, Path(folder))
            ),
        ).sealed()
        write_json(part / manifest.NAME, written.model_dump(mode="json"))
    return written


def load_prefix(
    folder: Path | str,
    *,
    base: str | None = None,
    start: Path | None = None,
    embedder: SentenceEmbedder | None = None,
    force: bool = False,
) -> LoadedPrefix:
    """Load a folder that `save_prefix` wrote, checking every thing that it says.

    Args:
        base: where the base is, if not where the folder says.
        start: where the folder beneath is, if not where the folder says.
        embedder: of the same base, to share what it keeps.
        force: go on in spite of a failed check; the problems are listed in `overridden`.

    Raises:
        AdapterError: a check failed; the message names both sides.
        BaseModelError: the base is not found.
    """
    folder = Path(folder)
    told, refusals = _told(folder), Refusals(force)
    refusals.refuse(checks.file_problems(folder, told))
    under: PrefixModel
    if told.prefix.start is None:
        known = find_base(folder, told, base)
        refusals.refuse(checks.base_problems(folder, told, known))
        if embedder is not None and embedder.base.fingerprint != known.fingerprint:
            embedder = None
        under = build_prefix(
            known,
            matching=told.prefix.matching,
            blocks=told.prefix.blocks,
            attention=told.attention,
            embedder=embedder,
        )
    else:
        beneath = start_from(_place(folder, told.prefix.start, start), base=base, embedder=embedder)
        refusals.refuse(_start_problems(folder, told.prefix.start, beneath))
        known, under = beneath.base, beneath.model
    model = _over(under, folder, told.kind == "model", refusals)
    refusals.refuse(checks.scaling_problems(folder, told, model))
    refusals.refuse(checks.seal_problems(folder, told))
    refusals.refuse(checks.probe_problems(folder, told, run_prefix_probes(model)))
    return LoadedPrefix(model, known, told, refusals.overridden)


def start_from(
    folder: Path | str,
    *,
    base: str | None = None,
    train_heads: bool = False,
    embedder: SentenceEmbedder | None = None,
) -> PrefixStart:
    """A folder as what a tuning begins from. Each tuning needs one of its own, for `prepare` changes the model.

    Args:
        train_heads: whether the heads train with an adapter; full fine-tuning trains them in any case.

    Raises:
        AdapterError, BaseModelError: as `load_prefix`.
    """
    found = load_prefix(folder, base=base, embedder=embedder)
    model = found.model
    if not isinstance(model, PrefixModel):
        model = model.merge_and_unload()
    declare_heads(model, fresh=train_heads)
    return PrefixStart(model.eval(), found.base, Path(folder), found.manifest.seal)


def fingerprint_of(folder: Path | str) -> str:
    """By what a prefix folder is known: its seal, which binds all of its files. Nothing is loaded.

    Raises:
        AdapterError: the folder holds no prefix model.
    """
    return _told(Path(folder)).seal


def _told(folder: Path) -> PrefixManifest:
    refuse_no_adapter(folder)
    if not (folder / manifest.NAME).is_file():
        raise AdapterError(Problem(f"not a prefix model: {manifest.NAME} is not there", folder))
    return manifest.read_stated(folder, PrefixManifest)


def _write_trained(folder: Path, tuned: Tuned) -> None:
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tuned.trainable()}
    if broken := stored.not_finite(state):
        raise TrainingError(f"the model is not saved: {broken[0]} holds NaN or infinity")
    save_file(state, folder / TRAINED, metadata={"format": "pt"})


def _under(base: Base, start: PrefixStart | None, model: Any, matching: bool, attention: str) -> PrefixModel:
    """What the training of `model` began from, read again."""
    if start is None:
        return build_prefix(base, matching=matching, blocks=model.blocks, attention=attention, embedder=model.embedder)
    again = start_from(start.folder, base=base.name, embedder=model.embedder)
    if again.fingerprint != start.fingerprint:
        message = f"the folder has the seal {again.fingerprint[:16]}, the training began from {start.fingerprint[:16]}"
        raise AdapterError(Problem(message, start.folder))
    return again.model


def _over(under: PrefixModel, folder: Path, whole: bool, refusals: Refusals) -> nn.Module:
    """What `folder` holds, over the model beneath."""
    if not whole:
        tensors, _ = stored.read_tensors(folder / stored.WEIGHTS)
        model: nn.Module
        model, _ = attach_stored(under, folder, tensors, refusals)
        return model
    tensors, _ = stored.read_tensors(folder / TRAINED)
    own: dict[str, Tensor] = dict(under.named_parameters())
    problems = [
        Problem(
            f"the file holds {name} {tuple(tensor.shape)}, the model on this base has "
            + (f"{tuple(own[name].shape)}" if name in own else "no such tensor"),
            folder / TRAINED,
        )
        for name, tensor in tensors.items()
        if name not in own or own[name].shape != tensor.shape
    ]
    if problems:
        raise AdapterError(problems)
    under.load_state_dict(tensors, strict=False)
    return under.eval()


def _entry(start: PrefixStart, folder: Path) -> StartEntry:
    try:
        place = os.path.relpath(start.folder.resolve(), folder.resolve())
    except ValueError:  # on another drive
        place = str(start.folder.resolve())
    return StartEntry(folder=Path(place).as_posix(), fingerprint=start.fingerprint)


def _place(folder: Path, told: StartEntry, given: Path | None) -> Path:
    place = Path(given) if given is not None else folder.resolve() / told.folder
    if not (place / manifest.NAME).is_file():
        message = f"the meta-trained model beneath (seal {told.fingerprint[:16]}) is not at {place}"
        raise AdapterError(Problem(message, folder / manifest.NAME, field="prefix.start", hint="say where with start="))
    return place


def _start_problems(folder: Path, told: StartEntry, start: PrefixStart) -> list[Problem]:
    if start.fingerprint == told.fingerprint:
        return []
    message = f"was trained over a model with the seal {told.fingerprint[:16]}, {start.folder} has the seal "
    return [Problem(message + start.fingerprint[:16], folder / manifest.NAME, field="prefix.start")]
