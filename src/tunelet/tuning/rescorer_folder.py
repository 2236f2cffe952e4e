"""The folder of a [CLS] scorer: PEFT's files with the head, or the whole model, and `tunelet.json`; checked at load.

It is the adapter folder of `tuning.folder` for a model with one number in place of labels. Under full fine-tuning the
backbone, the head and the tokenizer are stored. Not here: weights between scorers, n-gram models (`systems.rescore`).

Example:
    >>> save_rescorer(folder, tuned, base)                          # doctest: +SKIP
    >>> load_rescorer(folder).model(input_ids=ids).logits.shape     # doctest: +SKIP
    torch.Size([8, 1])
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn
from transformers import AutoConfig, AutoModel

from tunelet.base.errors import AdapterError, Problem, TrainingError
from tunelet.base.files import publish_folder, write_json
from tunelet.base.settings import Field, Settings
from tunelet.models.bases import Base
from tunelet.models.fingerprint import backbone_prefix
from tunelet.models.quiet import quiet_transformers
from tunelet.models.rescorer import HEAD, RescorerForSequenceClassification, build_rescorer
from tunelet.models.vocabulary import whole_model
from tunelet.tuning import checks, manifest, stored
from tunelet.tuning.attach import attach_stored
from tunelet.tuning.checks import Refusals
from tunelet.tuning.loaded import file_entry, find_base
from tunelet.tuning.probes import run_probes
from tunelet.tuning.trainable import trainable_table
from tunelet.tuning.tuned import Tuned
from tunelet.tuning.whole import tokenizer_of

#: What the one output is called where a list of labels is expected.
OUTPUT = ("score",)


class RescorerEntry(Settings):
    """What the scorer is for."""

    head: str = Field(description="module that gives the number")
    meaning: str = Field(description="what the number is")


class RescorerManifest(manifest.Stated):
    """The content of a scorer's `tunelet.json`."""

    rescorer: RescorerEntry = Field(description="what it does")


@dataclass(frozen=True, eq=False)
class LoadedRescorer:
    """A scorer over its base, ready to score.

    Attributes:
        model: fp32, on the CPU, in evaluation mode.
        tokenizer: fast tokenizer of the base.
        manifest: what the folder says of itself.
    """

    model: nn.Module
    tokenizer: Any
    manifest: RescorerManifest


def save_rescorer(folder: Path, tuned: Tuned, base: Base) -> RescorerManifest:
    """Save what was trained, check it by loading it back, and publish the folder whole.

    Args:
        folder: takes the place of what stands there.
        base: the base that `tuned` was built on; its fp32 weights are read again for the check.

    Raises:
        TrainingError: a tensor holds NaN or infinity; nothing is written then.
    """
    attention = str(getattr(tuned.model.config, "_attn_implementation", None) or "sdpa")
    counts = trainable_table(tuned.model)
    with publish_folder(Path(folder)) as part:
        if tuned.is_whole_model:
            _write_whole(part, tuned.model, base)
            copied = _load_whole(part, attention)
        else:
            stored.write_adapter(part, tuned.export(), base_name=base.portable_name, labels=OUTPUT)
            copied = _attach(part, base, attention, Refusals(force=False))
        written = RescorerManifest(
            format=manifest.FORMAT,
            kind="model" if tuned.is_whole_model else "adapter",
            method=tuned.settings.method,
            base=manifest.base_entry(base),
            max_length=base.max_length,
            attention=attention,
            scaling=checks.scalings(copied),
            trainable_parameters=counts.trainable,
            total_parameters=counts.total,
            files={
                path.relative_to(part).as_posix(): file_entry(path)
                for path in sorted(part.rglob("*"))
                if path.is_file()
            },
            probes=run_probes(copied, base.tokenizer, max_length=base.max_length),
            scores=None,
            rescorer=RescorerEntry(head=HEAD, meaning="added to the first-pass score, higher is better"),
        ).sealed()
        write_json(part / manifest.NAME, written.model_dump(mode="json"))
    return written


def load_rescorer(folder: Path, *, base: str | None = None, force: bool = False) -> LoadedRescorer:
    """Load a scorer, checking every thing that its folder says: files, base, tokenizer, scaling, answers.

    Args:
        folder: one that `save_rescorer` wrote.
        base: where the base is, if not where the folder says.
        force: go on in spite of a failed check.

    Raises:
        AdapterError: a check failed; the message names both sides.
        BaseModelError: the base is not found.
    """
    folder = Path(folder)
    if not (folder / manifest.NAME).is_file():
        raise AdapterError(Problem(f"not a scorer: {manifest.NAME} is not there", folder))
    told = manifest.read_stated(folder, RescorerManifest)
    refusals = Refusals(force)
    refusals.refuse(checks.file_problems(folder, told))
    if told.kind == "model":
        with quiet_transformers():
            tokenizer, found = tokenizer_of(folder)
        if found != told.base.tokenizer_sha256:
            refusals.refuse([checks.tokenizer_problem(folder, told, str(folder), found)])
        model = _load_whole(folder, told.attention)
    else:
        known = find_base(folder, told, base)
        refusals.refuse(checks.base_problems(folder, told, known))
        tokenizer, model = known.tokenizer, _attach(folder, known, told.attention, refusals)
        refusals.refuse(checks.scaling_problems(folder, told, model))
    refusals.refuse(checks.seal_problems(folder, told))
    texts = [probe.text for probe in told.probes]
    now = run_probes(model, tokenizer, max_length=told.max_length, texts=texts)
    refusals.refuse(checks.probe_problems(folder, told, now))
    return LoadedRescorer(model, tokenizer, told)


def _attach(folder: Path, base: Base, attention: str, refusals: Refusals) -> nn.Module:
    tensors, _ = stored.read_tensors(folder / stored.WEIGHTS)
    model: nn.Module
    model, _ = attach_stored(build_rescorer(base, attention=attention), folder, tensors, refusals)
    return model


def _write_whole(folder: Path, model: nn.Module, base: Base) -> None:
    """Write model.safetensors, config.json and the tokenizer's files."""
    whole = whole_model(model)
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in whole.state_dict().items()}
    if broken := stored.not_finite(state):
        raise TrainingError(f"the model is not saved: {broken[0]} holds NaN or infinity")
    save_file(state, folder / stored.MODEL_WEIGHTS, metadata={"format": "pt"})
    tokenizer = copy.deepcopy(base.tokenizer)
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    with quiet_transformers():
        whole.config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _load_whole(folder: Path, attention: str) -> nn.Module:
    """The whole model in a folder, fp32, in evaluation mode.

    Raises:
        AdapterError: weights are missing, too many, or do not fit the config.
    """
    tensors, _ = stored.read_tensors(folder / stored.MODEL_WEIGHTS)
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            pooled = {"add_pooling_layer": False} if not any(".pooler." in name for name in tensors) else {}
            backbone = AutoModel.from_config(config, attn_implementation=attention, **pooled)
        model = RescorerForSequenceClassification(backbone, backbone_prefix(config) or "backbone")
        model.load_state_dict(tensors, strict=True)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise AdapterError(Problem(f"the scorer cannot be loaded: {error}", folder)) from error
    return model.eval()
