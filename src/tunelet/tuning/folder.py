"""The adapter folder: saving it so that it is known to work, loading it so that nothing is taken on trust.

It holds PEFT's files (head included) and `tunelet.json`; under full fine-tuning the whole model and its tokenizer
instead of PEFT's files. An adapter is published only after it was loaded back over the fp32 base; the probes in
`tunelet.json` are that copy's answers. Not here: merging into the base, training.

Example:
    >>> save_adapter(folder, tuned, base, task)             # doctest: +SKIP
    >>> loaded = load_adapter(folder)                       # doctest: +SKIP
    >>> loaded.task.label_names                             # doctest: +SKIP
    ('sadness', 'joy')
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from tunelet.base.errors import AdapterError, BaseModelError, Problem, TrainingError
from tunelet.base.files import MANIFEST, folder_bytes, publish_folder, read_json, sha256_file, write_json
from tunelet.data.records import Task
from tunelet.models.bases import Base, load_base
from tunelet.models.classifier import build_classifier
from tunelet.models.quiet import quiet_transformers
from tunelet.models.settings import ModelSettings
from tunelet.tuning import checks, manifest, plain, stored
from tunelet.tuning.attach import attach_stored, load_whole
from tunelet.tuning.checks import Refusals
from tunelet.tuning.manifest import Manifest
from tunelet.tuning.probes import run_probes
from tunelet.tuning.trainable import trainable_table
from tunelet.tuning.tuned import Tuned
from tunelet.tuning.whole import labels_in_config, tokenizer_of, write_whole


@dataclass(frozen=True, eq=False)
class LoadedAdapter:
    """An adapter over its base, ready to answer.

    Attributes:
        model: fp32, on the CPU, in evaluation mode.
        tokenizer: fast tokenizer of the base.
        task: labels in the order of the outputs.
        max_length: longest input in tokens.
        base: None where the folder holds the whole model.
        manifest: None for a folder that plain PEFT saved.
        warnings: what could not be checked, or had to be assumed.
        overridden: problems that ``force`` ignored.
    """

    model: nn.Module
    tokenizer: Any
    task: Task
    max_length: int
    base: Base | None = None
    manifest: Manifest | None = None
    warnings: tuple[str, ...] = ()
    overridden: tuple[str, ...] = ()

    @property
    def fused(self) -> bool:
        """Whether it is a fusion of several adapters."""
        return False


def save_adapter(
    folder: Path, tuned: Tuned, base: Base, task: Task, *, scores: Mapping[str, Any] | None = None
) -> Manifest:
    """Save what was trained, check it by loading it back, and publish the folder whole.

    Args:
        folder: takes the place of what stands there.
        base: the base that `tuned` was built on; its fp32 weights are read again for the check.
        scores: metrics to note in the manifest; JSON values.

    Returns:
        The manifest that was written.

    Raises:
        TrainingError: a tensor holds NaN or infinity; nothing is written then.
    """
    attention = str(getattr(tuned.model.config, "_attn_implementation", None) or "sdpa")
    counts = trainable_table(tuned.model)
    with publish_folder(Path(folder)) as part:
        if tuned.is_whole_model:
            broken = stored.not_finite(dict(tuned.model.state_dict()))
            if broken:
                raise TrainingError(f"the model is not saved: {broken[0]} holds NaN or infinity")
            write_whole(part, tuned.model, base)
        else:
            stored.write_adapter(part, tuned.export(), base_name=base.portable_name, labels=task.label_names)
        copy = _load_back(part, base, task, attention, whole=tuned.is_whole_model)
        written = Manifest(
            format=manifest.FORMAT,
            kind="model" if tuned.is_whole_model else "adapter",
            method=tuned.settings.method,
            base=manifest.base_entry(base),
            task=manifest.task_entry(task),
            max_length=base.max_length,
            attention=attention,
            scaling=checks.scalings(copy),
            trainable_parameters=counts.trainable,
            total_parameters=counts.total,
            files={
                path.relative_to(part).as_posix(): file_entry(path)
                for path in sorted(part.rglob("*"))
                if path.is_file()
            },
            probes=run_probes(copy, base.tokenizer, max_length=base.max_length),
            scores=None if scores is None else dict(scores),
        ).sealed()
        write_json(part / manifest.NAME, written.model_dump(mode="json"))
    return written


def load_adapter(
    folder: Path | str,
    *,
    base: str | None = None,
    adapters: Mapping[str, Path | str] | None = None,
    force: bool = False,
) -> LoadedAdapter:
    """Load an adapter folder, checking every thing it says: files, labels, base, tokenizer, scaling, answers.

    Args:
        folder: one that `save_adapter` wrote, or one that plain PEFT saved (then what cannot be checked is among the
            `warnings`), or a fusion's, which is a `tuning.fusion.fusion_folder.LoadedFusion` then.
        base: where the base is, if not where the folder says: hub name, folder, or "embedded:minilm".
        adapters: of a fusion alone: name of an expert -> its folder, if not where the fusion's folder says.
        force: go on in spite of a failed check; the problems are listed in `overridden`.

    Raises:
        AdapterError: a check failed; the message names both sides. Damage that leaves nothing to load (a file cut off,
            NaN) cannot be forced.
        BaseModelError: the base is not found.
    """
    folder = Path(folder)
    refuse_no_adapter(folder)
    if manifest.purpose_of(folder) == "fusion":
        from tunelet.tuning.fusion.fusion_folder import load_fusion  # it stands on this module

        return load_fusion(folder, base=base, adapters=adapters, force=force)
    if adapters:
        hint = "only a fusion has experts that can lie elsewhere"
        raise AdapterError(Problem("this folder holds one adapter", folder, field="adapters", hint=hint))
    refusals = Refusals(force)
    if not (folder / manifest.NAME).is_file():
        found = plain.load_plain(folder, base, refusals)
        return LoadedAdapter(
            found.model, found.base.tokenizer, found.task, found.base.max_length, found.base, None, found.warnings,
            refusals.overridden,
        )  # fmt: skip
    told = manifest.read_manifest(folder)
    refusals.refuse(checks.file_problems(folder, told))
    if told.kind == "model":
        return _load_model(folder, told, refusals)
    tensors, notes = stored.read_tensors(folder / stored.WEIGHTS)
    refusals.refuse(checks.label_problems(folder, told, stored.labels_in(notes), stored.WEIGHTS))
    known = find_base(folder, told, base)
    refusals.refuse(checks.base_problems(folder, told, known))
    classifier = build_classifier(known, told.to_task(), attention=told.attention)
    model, _ = attach_stored(classifier, folder, tensors, refusals)
    refusals.refuse(checks.scaling_problems(folder, told, model))
    return _answering(folder, told, model, known.tokenizer, known, refusals)


def adapter_bytes(folder: Path) -> int:
    """Size of the folder on disk, in bytes: weights, configs, manifests."""
    return folder_bytes(folder)


def file_entry(path: Path) -> manifest.FileEntry:
    """A file of a folder, as its manifest lists it."""
    return manifest.FileEntry(sha256=sha256_file(path), bytes=path.stat().st_size)


def _load_back(part: Path, base: Base, task: Task, attention: str, *, whole: bool) -> nn.Module:
    """What the files of `part` give, loaded as a stranger would."""
    refusals = Refusals(force=False)
    if whole:
        return load_whole(part, attention, refusals)
    tensors, _ = stored.read_tensors(part / stored.WEIGHTS)
    model: nn.Module
    model, _ = attach_stored(build_classifier(base, task, attention=attention), part, tensors, refusals)
    return model


def _load_model(folder: Path, told: Manifest, refusals: Refusals) -> LoadedAdapter:
    refusals.refuse(checks.label_problems(folder, told, labels_in_config(folder), "config.json"))
    with quiet_transformers():
        tokenizer, found = tokenizer_of(folder)
    if found != told.base.tokenizer_sha256:
        refusals.refuse([checks.tokenizer_problem(folder, told, str(folder), found)])
    for name in told.files:
        if name.endswith(".safetensors"):
            stored.read_tensors(folder / name)  # refuses NaN and damage
    model = load_whole(folder, told.attention, refusals)
    return _answering(folder, told, model, tokenizer, None, refusals)


def _answering(
    folder: Path, told: Manifest, model: nn.Module, tokenizer: Any, base: Base | None, refusals: Refusals
) -> LoadedAdapter:
    """The last two checks: nothing was edited, and the model answers as it did."""
    refusals.refuse(checks.seal_problems(folder, told))
    texts = [probe.text for probe in told.probes]
    now = run_probes(model, tokenizer, max_length=told.max_length, texts=texts)
    refusals.refuse(checks.probe_problems(folder, told, now))
    return LoadedAdapter(model, tokenizer, told.to_task(), told.max_length, base, told, (), refusals.overridden)


def find_base(folder: Path, told: manifest.Stated, base: str | None) -> Base:
    """The base that a folder needs: where `base` says, or where its manifest does.

    Raises:
        BaseModelError: it is not there.
    """
    revision = told.base.revision if base is None else None
    try:
        return load_base(ModelSettings(base=base or told.base.name, revision=revision, max_length=told.max_length))
    except BaseModelError as error:
        needs = f"the adapter needs the base {told.base.name!r} (fingerprint {told.base.fingerprint[:16]})"
        raise BaseModelError([*error.problems, Problem(needs, folder, hint="say where it is with base=...")]) from error


def refuse_no_adapter(folder: Path) -> None:
    """Refuse a folder that is none, holds no adapter, or lost its `tunelet.json`.

    Raises:
        AdapterError: it is so.
    """
    if not folder.is_dir():
        raise AdapterError(Problem("no such folder", folder, hint="give the folder that a run or PEFT saved"))
    listed = read_json(folder / MANIFEST).get("files", {}) if (folder / MANIFEST).is_file() else {}
    if manifest.NAME in listed and not (folder / manifest.NAME).is_file():
        raise AdapterError(Problem(f"the file is missing; {MANIFEST} lists it", folder / manifest.NAME))
    if not any((folder / name).is_file() for name in (manifest.NAME, stored.CONFIG)):
        message = f"not an adapter: neither {manifest.NAME} nor {stored.CONFIG} is there"
        raise AdapterError(Problem(message, folder, hint="give the folder that a run or PEFT saved"))
