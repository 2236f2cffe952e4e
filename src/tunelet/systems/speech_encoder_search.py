"""The search for words of a speech encoder: its language model, and its weights, which validation chooses.

The language model is built from more text than is spoken: all of the sources, but for what is held out; the words of a
dictionary stand in it once, so that a name which no text holds may be heard. Not here: the
search itself (`models.speech.word_search`), how texts are drawn (`speech_encoder_data`).

Example:
    >>> search = make_search(settings, data, objective, learner, cache)                 # doctest: +SKIP
    >>> searched(objective, learner, search, "test").rate                               # doctest: +SKIP
    0.15
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunelet.base.files import digest
from tunelet.data.homophone_sources import installed
from tunelet.data.homophones import load_pronunciations
from tunelet.evaluation.transcripts import WordErrors, word_errors
from tunelet.models.evaluating import evaluating
from tunelet.models.ngram.model import NGram
from tunelet.models.speech.small import CHARACTERS
from tunelet.models.speech.word_search import SearchWeights, WordSearch
from tunelet.systems.speech_encoder_data import SpeechData
from tunelet.systems.speech_encoder_objective import HearingObjective, Learner, batches_of, padded
from tunelet.systems.speech_encoder_settings import WordSearchSettings
from tunelet.training.events import Note, Observer, ignore

# To be raised when the same texts and settings give another language model.
_VERSION = 1
#: seconds of sound, padding included, that are heard at once
_HEARD = 120


def make_search(
    settings: WordSearchSettings,
    data: SpeechData,
    objective: HearingObjective,
    learner: Learner,
    cache: Path,
    observer: Observer = ignore,
) -> WordSearch | None:
    """The search of a trained encoder, or None if the recipe wants none.

    Args:
        cache: folder in which language models are kept.

    Raises:
        MissingExtraError: the library of the search is not installed.
    """
    if not settings.order:
        return None
    language = _language(settings, data, cache, observer)
    loaded = WordSearch(language, SearchWeights(beam=settings.beam))
    heard = letters(objective, learner, "validation")
    found = []
    for weight, score in itertools.product(settings.weights, settings.word_scores):
        search = loaded.weighing(SearchWeights(weight, score, settings.beam))
        errors = _errors(objective.clips["validation"].texts, search.texts(heard))
        found.append((errors.rate, -weight, -score, search))
        observer(Note(f"search with weight {weight:g}, {score:g} a word: validation WER {errors.rate:.1%}"))
    return min(found, key=lambda one: one[:3])[-1]


def searched(objective: HearingObjective, learner: Learner, search: WordSearch | None, split: str) -> Any:
    """Word errors of the search on a held-out split with its noise, or None without one: counts as in run.json."""
    if search is None:
        return None
    return _errors(objective.clips[split].texts, search.texts(letters(objective, learner, split))).to_json()


def letters(objective: HearingObjective, learner: Learner, split: str) -> list[NDArray[np.float32]]:
    """Scores of the characters of each clip, see `SmallSpeechEncoder.character_scores`, with the noise of the split."""
    clips, device = objective.clips[split], next(learner.parameters()).device
    found: dict[int, NDArray[np.float32]] = {}
    for rows in batches_of(clips.lengths, _HEARD):
        made = padded([objective.held_out(split, row) for row in rows])
        with evaluating(learner):
            heard = learner.encoder(made["waveforms"].to(device), made["lengths"].to(device))
            found |= zip(rows, learner.encoder.character_scores(heard), strict=True)
    return [found[row] for row in range(len(clips))]


def _language(settings: WordSearchSettings, data: SpeechData, cache: Path, observer: Observer) -> NGram:
    said = settings.model_dump(include={"order", "minimum_count", "prune", "dictionary"}, mode="json")
    key = digest([_VERSION, data.sha256, said, None if settings.dictionary is None else installed()])
    path = cache / f"language-{key[:16]}.safetensors"
    if not path.is_file():
        texts = [*data.written(), *_words(settings)]
        observer(Note(f"a language model of {settings.order} words from {len(texts):,} texts"))
        cache.mkdir(parents=True, exist_ok=True)
        prune = settings.prune[: settings.order]
        NGram.build(texts, settings.order, minimum_count=settings.minimum_count, prune=prune).save(path)
    return NGram.load(path)


def _words(settings: WordSearchSettings) -> list[str]:
    """Words of the dictionary, as often as a word must stand in the texts: as texts of one word."""
    if settings.dictionary is None:
        return []
    known = {*CHARACTERS} - {" "}
    return sorted(word for word in load_pronunciations(None) if known.issuperset(word)) * settings.minimum_count


def _errors(texts: Sequence[str], said: Sequence[str]) -> WordErrors:
    pairs = zip(texts, said, strict=True)
    return sum((word_errors(text, heard) for text, heard in pairs), WordErrors())
