"""An audio language model behind its processor as a model of `understand`: opened, tuned by PEFT, stored.

Adapters go into its language model alone, whatever of the same names its encoder of sound has. Not here: the model
(`models.in_context.processor`), its folder (`tuning.processor_folder`).

Example:
    >>> opened = open_processor(wanted)                                                 # doctest: +SKIP
    >>> opened.model.answer(questions)[0].labels                                        # doctest: +SKIP
    ('joy',)
"""

from __future__ import annotations

from pathlib import Path

from tunelet.base.files import digest
from tunelet.data.understanding.task import UnderstandingExample
from tunelet.models.bases import load_base
from tunelet.models.in_context.audio_language import (
    build_audio_language,
    language_path,
    load_processor,
    processor_digest,
)
from tunelet.models.in_context.processor import ProcessorModel
from tunelet.systems.understand_opened import Opened, Wanted, ask_in_context, base_settings
from tunelet.systems.understand_settings import UnderstandModelSettings
from tunelet.tuning.methods import prepare
from tunelet.tuning.own_modules import checkpoint_layers
from tunelet.tuning.processor_folder import save_processor_model
from tunelet.tuning.settings import TuningSettings
from tunelet.tuning.targets import targets_within
from tunelet.tuning.tuned import Tuned


def open_processor(wanted: Wanted) -> Opened:
    """The model, without an adapter.

    Raises:
        BaseModelError: the base is no audio language model with its processor, or cannot be read.
    """
    settings = wanted.model
    base = load_base(base_settings(settings))
    whole = build_audio_language(base, attention=settings.attention)
    model = ProcessorModel(whole, load_processor(base), chat=settings.chat)
    known: dict[tuple[Path | None, tuple[float, float] | None], int] = {}

    def ready(tuning: TuningSettings, steps: int) -> Tuned:
        path = language_path(whole)
        paths = targets_within(whole.get_submodule(path), path, tuning.targets, tuning.layers)
        chosen = tuning.model_copy(update={"targets": paths, "layers": None})
        tuned = prepare(whole, chosen, total_steps=steps, seed=wanted.seed)
        if tuning.gradient_checkpointing:
            checkpoint_layers(tuned.model)
        model.model = tuned.model
        return tuned

    def save(folder: Path, tuned: Tuned) -> None:
        save_processor_model(folder, tuned, base, model)

    def places(query: UnderstandingExample) -> int:
        key = (query.audio, query.seconds)
        if key not in known:
            known[key] = model.places(query)
        return known[key]

    def held() -> None:
        model.autocast = "bf16"

    return Opened(model, model, ready, save, ask_in_context, places, fast=False, held_in_bf16=held)


def processor_fingerprint(settings: UnderstandModelSettings) -> tuple[str, str]:
    """Name and fingerprint of a base with its processor."""
    base = load_base(base_settings(settings))
    return base.name, digest([base.fingerprint, base.tokenizer_sha256, processor_digest(load_processor(base))])
