"""The kinds of models that `understand` tunes and asks: how each is opened, made ready to train, asked and stored.

    prefix     `models.prefix`: over a base, or over what `understand-base` meta-trained; it may have ears
    causal     `models.in_context.CausalModel`: a causal language model
    salmonn    `models.in_context.HearingModel` over SALMONN's published files (`understand_salmonn`)
    processor  `models.in_context.ProcessorModel`: an audio language model of transformers (`understand_processor`)

Not here: training (`systems.understand_tuning`), what is asked (`systems.understand_evaluation`).

Example:
    >>> opened = KINDS["prefix"](wanted)                                                # doctest: +SKIP
    >>> tuned = opened.prepare(TuningSettings(), 80)                                    # doctest: +SKIP
    >>> opened.model.answer(questions)                                                  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tunelet.data.understanding.asked import Asked
from tunelet.models.bases import load_base
from tunelet.models.in_context.causal import CausalModel
from tunelet.models.language import build_causal_lm
from tunelet.models.prefix.model import build_prefix
from tunelet.models.prompt_model import Answer, PromptModel
from tunelet.models.speech.language_half import lora_scaled
from tunelet.systems.understand_hearing import give_ears
from tunelet.systems.understand_opened import Opened, Wanted, ask_in_context, base_settings
from tunelet.systems.understand_settings import UnderstandModelSettings
from tunelet.systems.understand_ways import Way
from tunelet.tuning.language_folder import save_language_model
from tunelet.tuning.methods import prepare
from tunelet.tuning.own_modules import checkpoint_layers
from tunelet.tuning.prefix_folder import load_prefix, save_prefix, start_from
from tunelet.tuning.settings import TuningSettings
from tunelet.tuning.tuned import Tuned


def open_prefix(wanted: Wanted) -> Opened:
    """A prefix model."""
    settings = wanted.model
    embedder = wanted.embedder
    if wanted.start is not None:
        start = start_from(wanted.start, train_heads=wanted.train_heads, embedder=embedder)
        base, model = start.base, start.model
    else:
        start, base = None, load_base(base_settings(settings))
        if embedder is not None and embedder.base.fingerprint != base.fingerprint:
            embedder = None
        parts = {"matching": settings.matching, "blocks": settings.blocks}
        model = build_prefix(base, **parts, attention=settings.attention, embedder=embedder)
    hearing = wanted.ears, wanted.model.heard_as, wanted.cache, wanted.observer, wanted.interrupted
    ears = give_ears(model, base, *hearing)
    scaled: dict[str, Any] = {}
    stored: list[Path] = []

    def save(folder: Path, tuned: Tuned) -> None:
        save_prefix(folder, tuned, base, start=start)
        stored.append(folder)

    def answering(asked: PromptModel, questions: Sequence[Asked], way: Way) -> list[Answer]:
        if way.lora_scale is None:
            return asked.answer(questions)
        # the fast path knows one scale; what is stored is asked through PEFT's modules
        if "model" not in scaled:
            scaled["model"] = load_prefix(stored[-1], base=base.name, embedder=embedder).model
            give_ears(scaled["model"], base, *hearing)
            scaled["model"].to(next(model.parameters()).device)
        with lora_scaled(scaled["model"], way.lora_scale):
            found: list[Answer] = scaled["model"].answer(questions)
        return found

    def ready(tuning: TuningSettings, steps: int) -> Tuned:
        return prepare(model, tuning, total_steps=steps, seed=wanted.seed)

    return Opened(model, model, ready, save, answering, None if ears is None else ears.places, ears=ears)


def open_causal(wanted: Wanted) -> Opened:
    """A causal language model that reads text."""
    settings = wanted.model
    base = load_base(base_settings(settings))
    model = CausalModel(build_causal_lm(base, attention=settings.attention, seed=wanted.seed), base.tokenizer)

    def ready(tuning: TuningSettings, steps: int) -> Tuned:
        tuned = prepare(model.language, tuning, total_steps=steps, seed=wanted.seed)
        if tuning.gradient_checkpointing:
            checkpoint_layers(tuned.model)
        model.language = tuned.model
        return tuned

    def save(folder: Path, tuned: Tuned) -> None:
        save_language_model(folder, tuned, base, "causal")

    def held() -> None:
        model.autocast = "bf16"

    return Opened(model, model, ready, save, ask_in_context, fast=False, held_in_bf16=held)


def _open_salmonn(wanted: Wanted) -> Opened:
    from tunelet.systems.understand_salmonn import open_salmonn

    made = open_salmonn(wanted.model, wanted.tuning, wanted.seed, wanted.cache)
    model = made.model

    def held() -> None:
        model.speech_text.autocast = "bf16"

    return Opened(model, model, made.prepare, made.save, ask_in_context, made.places, fast=False, held_in_bf16=held)


def _open_processor(wanted: Wanted) -> Opened:
    from tunelet.systems.understand_processor import open_processor

    return open_processor(wanted)


#: kind -> how it is opened
KINDS: dict[str, Callable[[Wanted], Opened]] = {
    "prefix": open_prefix,
    "causal": open_causal,
    "salmonn": _open_salmonn,
    "processor": _open_processor,
}


def fingerprint_of_model(settings: UnderstandModelSettings) -> tuple[str, str]:
    """Name and fingerprint of the weights that a model begins from, without a meta-trained base."""
    if settings.kind == "salmonn":
        from tunelet.systems.understand_salmonn import salmonn_fingerprint

        return Path(str(settings.folder)).name, salmonn_fingerprint(settings)
    if settings.kind == "processor":
        from tunelet.systems.understand_processor import processor_fingerprint

        return processor_fingerprint(settings)
    base = load_base(base_settings(settings))
    return base.name, base.fingerprint
