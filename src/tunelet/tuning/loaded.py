"""A loaded adapter, and loading one from its folder with every check. Not here: fusions of several, and saving
(`folder`).

Example:
    >>> load_one(folder).task.label_names                   # doctest: +SKIP
    ('sadness', 'joy')
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from tunelet.base.errors import AdapterError, BaseModelError, Problem
from tunelet.base.files import MANIFEST, read_json, sha256_file
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
from tunelet.tuning.whole import labels_in_config, tokenizer_of


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


def load_one(folder: Path | str, *, base: str | None = None, force: bool = False) -> LoadedAdapter:
    """What `folder.load_adapter` does for a folder that holds one adapter, or one whole model."""
    folder = Path(folder)
    refuse_no_adapter(folder)
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


def file_entry(path: Path) -> manifest.FileEntry:
    """A file of a folder, as its manifest lists it."""
    return manifest.FileEntry(sha256=sha256_file(path), bytes=path.stat().st_size)


def _load_model(folder: Path, told: Manifest, refusals: Refusals) -> LoadedAdapter:
    refusals.refuse(checks.label_problems(folder, told, labels_in_config(folder), "config.json"))
    tokenizer = checked_tokenizer(folder, told, refusals)
    model = load_whole(folder, told.attention, refusals)
    return _answering(folder, told, model, tokenizer, None, refusals)


def checked_tokenizer(folder: Path, told: manifest.Stated, refusals: Refusals) -> Any:
    """The tokenizer of a folder that holds a whole model, whose tensors are looked at, too.

    Raises:
        AdapterError: it is another than the manifest says, or a tensor is damaged or holds NaN.
    """
    with quiet_transformers():
        tokenizer, found = tokenizer_of(folder)
    if found != told.base.tokenizer_sha256:
        refusals.refuse([checks.tokenizer_problem(folder, told, str(folder), found)])
    for name in told.files:
        if name.endswith(".safetensors"):
            stored.read_tensors(folder / name)
    return tokenizer


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
