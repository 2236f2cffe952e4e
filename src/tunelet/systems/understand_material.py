"""What the runs of an `understand` recipe share: vectors of sentences, rankings, sound, and what was heard in it.

All of it depends on data and settings alone, so it is made once, kept in memory, and on disk where it is dear.
Not here: models (`systems.understand_models`), reading data (`systems.understand_data`).

Example:
    >>> material = Material(data, Path("cache"))                                # doctest: +SKIP
    >>> material.shown("snips").of(material.test("snips")[0], Way(2), 1)        # doctest: +SKIP
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tunelet.base.errors import DataError, Problem
from tunelet.data.recognisers.batch import Recognised, recognise
from tunelet.data.spoken import SpokenExample
from tunelet.data.spoken_clips import ClipsMade
from tunelet.data.understanding.demonstrations import NEAR, DemonstrationPool, Embeddings, Ranking
from tunelet.data.understanding.task import UnderstandingExample
from tunelet.models.bases import load_base
from tunelet.models.prompt_model import Answer
from tunelet.models.sentence_embedder import SentenceEmbedder
from tunelet.models.settings import ModelSettings
from tunelet.systems.understand_controls import (
    by_definition,
    definition_answers,
    definition_texts,
    neighbour_answer,
)
from tunelet.systems.understand_data import UnderstandData
from tunelet.systems.understand_evaluation import Shown, asked_in
from tunelet.systems.understand_hearing import Ears
from tunelet.systems.understand_settings import RunRegime
from tunelet.systems.understand_ways import Way
from tunelet.training.events import Note, Observer, ignore
from tunelet.tuning.fusion.adapters import build_backbone

Examples = tuple[UnderstandingExample, ...]


class Material:
    """See the top of the file.

    Args:
        data: the recipe's.
        cache: folder for what is kept.
        observer: told of long work.
        interrupted: asked while sound is made or recognised.

    Attributes:
        embedder: of sentences.
        seconds: spent on vectors and sound, so far.
    """

    def __init__(
        self,
        data: UnderstandData,
        cache: Path | None,
        observer: Observer = ignore,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.data, self.cache, self.observer, self.interrupted = data, cache, observer, interrupted
        self.embedder = SentenceEmbedder(load_base(ModelSettings(base=data.settings.encoder)))
        self.seconds = 0.0
        self._sound: dict[tuple[str, str], Examples] = {}
        self._shown: dict[str, Shown] = {}
        self._near: dict[str, Ranking] = {}
        self._by_ears: dict[tuple[str, str], Ranking] = {}

    @property
    def embedder_parameters(self) -> int:
        """Numbers in the sentence encoder."""
        return sum(parameter.numel() for parameter in build_backbone(self.embedder.base).parameters())

    def examples(self, task: str, part: str) -> Examples:
        """Examples of a task, with sound and what was heard where queries are speech."""
        told = self.data.tasks[task]
        found: Examples = getattr(told, part)
        if "speech" not in self.data.settings.query:
            return found
        if (task, part) not in self._sound:
            began = time.perf_counter()
            self._sound[task, part] = self._heard(self._spoken(found, task, part), task, part)
            self.seconds += time.perf_counter() - began
        return self._sound[task, part]

    def test(self, task: str) -> Examples:
        """The examples of a task that are asked."""
        return self.examples(task, "test")

    def shown(self, task: str, ears: Ears | None = None) -> Shown:
        """What may be shown before the queries of a task.

        Args:
            ears: what the model that is asked hears with: whoever has only sound has nothing else to search by. What it
                heard is compared as vectors, which are nearer to the text than letters; as letters where the sentence
                encoder is of another base.
        """
        shown = self._by_text(task)
        spoken = [one for one in self.test(task) if one.audio is not None]
        if ears is None or shown.by_text is None or not spoken or "speech" not in self.data.settings.query:
            return shown
        key = (task, ears.key)
        if key not in self._by_ears:
            began = time.perf_counter()
            self.observer(Note(f"hearing {len(spoken):,} test examples of {task}, to choose what is shown"))
            ears.hear(spoken)
            if ears.embedder is not None and ears.embedder.base.fingerprint == self.embedder.base.fingerprint:
                vectors = ears.embedder.embed_vectors(ears.vectors(spoken))
            else:
                vectors = self._vectors(ears.write(spoken))
            self._by_ears[key] = shown.pool.rank(spoken, vectors, near=max(self.data.settings.k))
            self.seconds += time.perf_counter() - began
        return replace(shown, by_ears=self._by_ears[key])

    def _by_text(self, task: str) -> Shown:
        if task not in self._shown:
            began = time.perf_counter()
            told, test = self.data.tasks[task], self.test(task)
            most = max(self.data.settings.k)
            if not most:
                self._shown[task] = Shown(DemonstrationPool(told.pool), None)
                return self._shown[task]
            pool = DemonstrationPool(told.pool, self._vectors([one.text for one in told.pool]))
            texts = pool.rank(test, self._vectors([one.text for one in test]), near=most)
            heard = [one for one in test if one.heard is not None]
            by_heard = None
            if self.data.settings.cascade and heard:
                # the query is still known by its own text, so that a copy of it is not shown
                by_heard = pool.rank(heard, self._vectors([str(one.heard) for one in heard]), near=most)
            self._shown[task] = Shown(pool, texts, by_heard)
            self.seconds += time.perf_counter() - began
        return self._shown[task]

    def near(self, task: str) -> Ranking:
        """The most similar training examples of a source, for each of its training and validation examples."""
        if task not in self._near:
            began = time.perf_counter()
            told = self.data.tasks[task]
            queries = (*told.train, *told.validation)
            vectors = self._vectors([one.text for one in queries])
            pool = DemonstrationPool(told.train, vectors[: len(told.train)])
            self._near[task] = pool.rank(queries, vectors, near=NEAR)
            self.seconds += time.perf_counter() - began
        return self._near[task]

    def answers_without_model(
        self, task: str, way: Way, regime: RunRegime
    ) -> list[tuple[UnderstandingExample, Answer, Examples]]:
        """Queries of a task with what a control says to them, and the examples that it went by."""
        told = self.data.tasks[task].task
        queries = asked_in(self.test(task), way)
        vectors = self._vectors([str(one.heard) if way.cascade else one.text for one in queries])
        nearest = definition_answers(told, by_definition(vectors, self._vectors(definition_texts(told))))
        if regime == "definition" or not way.k:
            return [(query, answer, ()) for query, answer in zip(queries, nearest, strict=True)]
        found, shown = [], self.shown(task)
        for query, vector, otherwise in zip(queries, vectors, nearest, strict=True):
            neighbours = shown.of(query, way, 0)
            similar = self._vectors([one.text for one in neighbours]) @ vector
            answer = neighbour_answer(told, neighbours, similar.tolist()) if neighbours else otherwise
            found.append((query, answer, neighbours))
        return found

    def _vectors(self, texts: Sequence[str]) -> Embeddings:
        """(N, D), rows of length one."""
        if self.cache is None or len(texts) < 64:
            rows = self.embedder.embed(texts)
        else:
            rows = self.embedder.stored(
                texts, self.cache / "vectors", lambda count: self.observer(Note(f"vectors of {count:,} sentences"))
            )
        # a text without a token has no direction; nothing is similar to it
        return np.where(np.any(rows != 0, axis=1, keepdims=True), rows, 1 / np.sqrt(rows.shape[1]))

    def _spoken(self, examples: Examples, task: str, part: str) -> Examples:
        """The examples; those without sound spoken, where the recipe wants that."""
        if not self.data.settings.speak or all(one.audio is not None for one in examples):
            return examples
        from tunelet.data.speaking import TEST_VOICES, TRAIN_VOICES, VALIDATION_VOICES
        from tunelet.data.understanding.spoken import speak_examples

        if self.cache is None:
            raise DataError(Problem("sound is to be made, and there is no folder for it", field="data.speak"))
        voices = {"train": TRAIN_VOICES, "validation": VALIDATION_VOICES, "test": TEST_VOICES}[part]
        self.observer(Note(f"speaking {len(examples):,} {part} examples of {task}"))
        made = speak_examples(
            examples,
            folder=self.cache / "spoken",
            voices=voices,
            workers=self.data.settings.workers,
            observer=self._tenths(f"speaking {task}"),
            interrupted=self.interrupted,
        )
        sounds = {one.key: one.audio for one in made.examples}
        return tuple(replace(one, audio=sounds.get(one.key, one.audio)) for one in examples)

    def _heard(self, examples: Examples, task: str, part: str) -> Examples:
        """The examples with what was heard, for a cascade."""
        settings = self.data.settings
        missing = [one for one in examples if one.audio is not None and one.heard is None]
        if not settings.cascade or part != "test" or not missing:
            return examples
        if any(one.seconds is not None for one in missing):
            message = f"sound of {task!r} is cut out of longer files, which the recogniser does not do"
            raise DataError(Problem(message, field="data.cascade", hint="give the task a field `heard`"))
        self.observer(Note(f"recognising {len(missing):,} test examples of {task}"))
        given = [SpokenExample("/".join(one.key), one.audio) for one in missing if one.audio is not None]
        cache = None if self.cache is None else self.cache / "nbest"
        lists = recognise(
            given,
            settings.recogniser,
            cache=cache,
            workers=settings.workers,
            observer=self._tenths(f"recognising {task}"),
            interrupted=self.interrupted,
        )
        texts = {one.id: one.hypotheses[0].text for one in lists}
        return tuple(
            one if one.heard is not None else replace(one, heard=texts.get("/".join(one.key))) for one in examples
        )

    def _tenths(self, what: str) -> Callable[[ClipsMade | Recognised], None]:
        """An observer that tells of each tenth of the work, but for what was there already."""
        told = [0]

        def tell(event: ClipsMade | Recognised) -> None:
            share = 10 * event.done // event.total
            fresh = event.made > 0 if isinstance(event, ClipsMade) else not event.cached
            if fresh and share > told[0]:
                self.observer(Note(f"{what}: {event.done:,} of {event.total:,}"))
            told[0] = max(told[0], share)

        return tell
