"""The folder of an adapted audio language model: what `tuning.folder` is for classifiers.

It holds PEFT's files, which PEFT loads over the same base, and `tunelet.json`, which also knows the processor. It is
published only after it was loaded back over the fp32 base. The probes are two sentences, each read and each behind a
sound: the mean log P of their tokens, in nats. Not here: training, asking (`models.in_context.processor`).

Example:
    >>> save_processor_model(folder, tuned, base, model)                            # doctest: +SKIP
    >>> load_processor_model(folder).model.answer(questions)                        # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunelet.base.errors import AdapterError, Problem
from tunelet.base.files import publish_folder, write_json
from tunelet.base.settings import Field, Settings
from tunelet.data.audio import RATE
from tunelet.models.bases import Base
from tunelet.models.in_context.audio_language import build_audio_language, load_processor, processor_digest
from tunelet.models.in_context.processor import ProcessorModel
from tunelet.models.in_context.sound import Samples
from tunelet.tuning import checks, manifest, stored
from tunelet.tuning.attach import attach_stored
from tunelet.tuning.checks import Refusals
from tunelet.tuning.loaded import file_entry, find_base, refuse_no_adapter
from tunelet.tuning.manifest import Stated
from tunelet.tuning.probes import PROBE_TEXTS, Probe
from tunelet.tuning.trainable import trainable_table
from tunelet.tuning.tuned import Tuned


class ProcessorEntry(Settings):
    """What makes text and sound to what the model takes."""

    sha256: str = Field(description="hex sha256 of how it hears, of its marks and of its chat")
    chat: bool = Field(description="asked in its chat template")


class ProcessorManifest(Stated):
    """The content of an audio language model's `tunelet.json`."""

    processor: ProcessorEntry = Field(description="of the base")


@dataclass(frozen=True, eq=False)
class LoadedProcessorModel:
    """An adapted audio language model, ready to answer.

    Attributes:
        model: fp32, on the CPU, in evaluation mode.
        max_length: longest prompt in tokens.
        base: what it was tuned over.
        manifest: what the folder says.
        overridden: problems that ``force`` ignored.
    """

    model: ProcessorModel
    max_length: int
    base: Base
    manifest: ProcessorManifest
    overridden: tuple[str, ...] = ()


def save_processor_model(
    folder: Path, tuned: Tuned, base: Base, model: ProcessorModel, *, scores: Mapping[str, Any] | None = None
) -> ProcessorManifest:
    """Save what was trained, check it by loading it back, and publish the folder whole.

    Args:
        folder: takes the place of what stands there.
        base: the base that `tuned` was built on; its fp32 weights are read again for the check.
        model: asks it; how it does is noted.
        scores: metrics to note in the manifest; JSON values.

    Raises:
        TrainingError: a tensor holds NaN or infinity; nothing is written then.
        ValueError: the whole model was trained.
    """
    attention = str(getattr(tuned.model.config, "_attn_implementation", None) or "sdpa")
    counts = trainable_table(tuned.model)
    with publish_folder(Path(folder)) as part:
        stored.write_adapter(part, tuned.export(), base_name=base.portable_name, labels=())
        copy = _over(base, part, attention, model.processor, model.chat, Refusals(force=False))
        written = ProcessorManifest(
            format=manifest.FORMAT,
            kind="adapter",
            method=tuned.settings.method,
            base=manifest.base_entry(base),
            processor=ProcessorEntry(sha256=processor_digest(model.processor), chat=model.chat),
            max_length=base.max_length,
            attention=attention,
            scaling=checks.scalings(copy.model),
            trainable_parameters=counts.trainable,
            total_parameters=counts.total,
            files={path.name: file_entry(path) for path in sorted(part.iterdir())},
            probes=_probes(copy),
            scores=None if scores is None else dict(scores),
        ).sealed()
        write_json(part / manifest.NAME, written.model_dump(mode="json"))
    return written


def load_processor_model(folder: Path | str, *, base: str | None = None, force: bool = False) -> LoadedProcessorModel:
    """Load a folder that `save_processor_model` wrote, checking every thing it says.

    Args:
        base: where the base is, if not where the folder says: hub name or folder.
        force: go on in spite of a failed check; the problems are listed in `overridden`.

    Raises:
        AdapterError: a check failed, or the folder holds no such model of ours.
        BaseModelError: the base is not found.
    """
    folder = Path(folder)
    refuse_no_adapter(folder)
    if not (folder / manifest.NAME).is_file():
        hint = "an adapter of plain PEFT does not say how its model is asked"
        raise AdapterError(Problem(f"no {manifest.NAME} in this folder", folder, hint=hint))
    refusals = Refusals(force)
    told = manifest.read_stated(folder, ProcessorManifest)
    refusals.refuse(checks.file_problems(folder, told))
    known = find_base(folder, told, base)
    processor = load_processor(known)
    refusals.refuse([*checks.base_problems(folder, told, known), *_processor_problems(folder, told, known, processor)])
    model = _over(known, folder, told.attention, processor, told.processor.chat, refusals)
    refusals.refuse(checks.scaling_problems(folder, told, model.model))
    refusals.refuse(checks.seal_problems(folder, told))
    refusals.refuse(checks.probe_problems(folder, told, _probes(model)))
    return LoadedProcessorModel(model, told.max_length, known, told, refusals.overridden)


def _over(base: Base, folder: Path, attention: str, processor: Any, chat: bool, refusals: Refusals) -> ProcessorModel:
    """The adapter in `folder` over its base."""
    tensors, _ = stored.read_tensors(folder / stored.WEIGHTS)
    model, _ = attach_stored(build_audio_language(base, attention=attention), folder, tensors, refusals)
    return ProcessorModel(model, processor, chat=chat)


def _processor_problems(folder: Path, told: ProcessorManifest, base: Base, processor: Any) -> list[Problem]:
    found = processor_digest(processor)
    if found == told.processor.sha256:
        return []
    wanted = told.processor.sha256
    message = f"the processor of the training has sha256 {wanted[:16]}, that of {base.name!r} has {found[:16]}"
    return [Problem(message, folder / manifest.NAME, field="processor.sha256", hint="give the base of the training")]


def _probes(model: ProcessorModel) -> tuple[Probe, ...]:
    """Each text read, and behind a sound."""
    return tuple(
        Probe(text=text, logits=(model.chance(text), model.chance(text, _sweep(place))))
        for place, text in enumerate(PROBE_TEXTS)
    )


def _sweep(place: int) -> Samples:
    """Half a second that goes up, or twice as fast."""
    seconds = np.arange(RATE // 2) / RATE
    return (0.2 * np.sin(2 * np.pi * (200 + 600 * (place + 1) * seconds) * seconds)).astype(np.float32)
