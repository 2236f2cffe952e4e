"""A model of `understand` as runs see it: what is wanted of one, what an opened one can do, how it is asked in context.

Not here: opening one (`understand_models`), the ways (`understand_ways`).

Example:
    >>> asking_of(Way(0)).answers
    'constrained'
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelet.data.understanding.asked import Asked
from tunelet.models.in_context.settings import Asking
from tunelet.models.prompt_model import Answer, PromptModel
from tunelet.models.sentence_embedder import SentenceEmbedder
from tunelet.models.settings import ModelSettings
from tunelet.systems.understand_hearing import Ears
from tunelet.systems.understand_questions import Places
from tunelet.systems.understand_settings import UnderstandModelSettings
from tunelet.systems.understand_ways import Way
from tunelet.training.events import Observer, ignore
from tunelet.tuning.settings import TuningSettings
from tunelet.tuning.tuned import Tuned


@dataclass(frozen=True)
class Wanted:
    """What a run wants of a model.

    Attributes:
        model, tuning: sections of the recipe.
        start: folder of the meta-trained base, or None.
        train_heads: see `StartSettings`.
        seed: of the run.
        ears: folder of the encoder that the model hears with, or None.
        cache: folder for what runs share.
        embedder: of the recipe's sentence encoder, to be shared where the base is the same.
        observer: told of long work.
        interrupted: asked during long work.
    """

    model: UnderstandModelSettings
    tuning: TuningSettings
    start: Path | None
    train_heads: bool
    seed: int
    cache: Path
    ears: Path | None = None
    embedder: SentenceEmbedder | None = None
    observer: Observer = ignore
    interrupted: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Opened:
    """A model.

    Attributes:
        model: reads prompts; training changes it.
        module: what holds its parameters where nothing is tuned.
        prepare: makes it ready to train, for so many steps.
        save: what was trained, to a folder.
        answering: asks it in a way. None of the ways changes the model.
        places: of a prompt that the sound of a query takes.
        fast: whether the fast path may compute it.
        ears: what it hears with, where that is a part of its own; None: it hears by itself, or not at all.
        held_in_bf16: to be told that frozen weights are bf16 from now on, so that it computes under autocast whenever.
    """

    model: PromptModel
    module: Any
    prepare: Callable[[TuningSettings, int], Tuned]
    save: Callable[[Path, Tuned], None]
    answering: Callable[[PromptModel, Sequence[Asked], Way], list[Answer]]
    places: Places | None = None
    fast: bool = True
    ears: Ears | None = None
    held_in_bf16: Callable[[], None] = lambda: None


def base_settings(settings: UnderstandModelSettings) -> ModelSettings:
    """The part of the section that names a base."""
    return ModelSettings(**{key: getattr(settings, key) for key in ModelSettings.model_fields})


def ask_in_context(model: Any, questions: Sequence[Asked], way: Way) -> list[Answer]:
    """Ask a model of `models.in_context` in a way."""
    found: list[Answer] = model.answer(questions, asking_of(way))
    return found


def asking_of(way: Way) -> Asking:
    """What `models.in_context` calls the way."""
    calibrated = way.answers == "calibrated"
    return Asking(
        answers="constrained" if calibrated or way.answers == "constrained" else way.answers,
        calibrated=calibrated,
        lora_scale=way.lora_scale,
    )
