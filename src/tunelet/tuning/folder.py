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
from pathlib import Path
from typing import Any

from torch import nn

from tunelet.base.errors import AdapterError, Problem, TrainingError
from tunelet.base.files import folder_bytes, publish_folder, write_json
from tunelet.data.records import Task
from tunelet.models.bases import Base
from tunelet.models.classifier import build_classifier
from tunelet.tuning import checks, manifest, stored
from tunelet.tuning.attach import attach_stored, load_whole
from tunelet.tuning.checks import Refusals
from tunelet.tuning.loaded import LoadedAdapter, file_entry, load_one, refuse_no_adapter
from tunelet.tuning.manifest import Manifest
from tunelet.tuning.probes import run_probes
from tunelet.tuning.trainable import trainable_table
from tunelet.tuning.tuned import Tuned
from tunelet.tuning.whole import write_whole


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
        from tunelet.tuning.fusion.fusion_folder import load_fusion  # few folders are fusions, and it reads much

        return load_fusion(folder, base=base, adapters=adapters, force=force)
    if adapters:
        hint = "only a fusion has experts that can lie elsewhere"
        raise AdapterError(Problem("this folder holds one adapter", folder, field="adapters", hint=hint))
    return load_one(folder, base=base, force=force)


def adapter_bytes(folder: Path) -> int:
    """Size of the folder on disk, in bytes: weights, configs, manifests."""
    return folder_bytes(folder)


def _load_back(part: Path, base: Base, task: Task, attention: str, *, whole: bool) -> nn.Module:
    """What the files of `part` give, loaded as a stranger would."""
    refusals = Refusals(force=False)
    if whole:
        return load_whole(part, attention, refusals)
    tensors, _ = stored.read_tensors(part / stored.WEIGHTS)
    model: nn.Module
    model, _ = attach_stored(build_classifier(base, task, attention=attention), part, tensors, refusals)
    return model
