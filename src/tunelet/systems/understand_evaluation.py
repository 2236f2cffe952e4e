"""Asks a model a task in one way: prompts, answers, scores. Not here: which ways there are (`systems.understand_ways`),
or the order of a run (`systems.understand`).

Prompts show true names. For one seed, query and way they are the same whatever the model is, so that runs can be
compared item by item. Queries of like length are asked together; no answer depends on that.

Example:
    >>> asked = Asker(model, told, shown, settings, seed=1, limit=512).ask(way)         # doctest: +SKIP
    >>> asked.scores.macro_f1                                                           # doctest: +SKIP
    0.81
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tunelet.base.errors import DataError, Problem
from tunelet.data.understanding.asked import Asked
from tunelet.data.understanding.demonstrations import DemonstrationPool, Ranking
from tunelet.data.understanding.task import UnderstandingExample, UnderstandingTask
from tunelet.evaluation.understanding import AnswerScores, score_answers
from tunelet.models.prompt_model import Answer, PromptModel
from tunelet.systems.understand_questions import (
    Examples,
    Hear,
    Places,
    Question,
    by_length,
    definitions_order,
    make_question,
    ordered,
)
from tunelet.systems.understand_settings import EvaluationSettings
from tunelet.systems.understand_ways import Way

#: (model, questions, way) -> answers in order
Answering = Callable[[PromptModel, Sequence[Asked], Way], list[Answer]]


@dataclass(frozen=True)
class Shown:
    """What may be shown before the queries of one task.

    Attributes:
        pool: all examples.
        by_text, by_heard, by_ears: rankings by the query's text, by what a recogniser heard of it, and by what the ears
            of the model did; None where nothing is retrieved so. A model whose ears are no part of their own, such as
            SALMONN, is shown what is near to the text, as in the paper.
    """

    pool: DemonstrationPool
    by_text: Ranking | None
    by_heard: Ranking | None = None
    by_ears: Ranking | None = None

    def of(self, query: UnderstandingExample, way: Way, seed: int) -> tuple[UnderstandingExample, ...]:
        """k examples, the most similar first where they are retrieved."""
        if not way.k:
            return ()
        if way.demonstrations == "random":
            return self.pool.random(query, way.k, seed)
        ranking = self.by_heard if way.cascade else self.by_text
        if way.query == "speech" and not way.cascade and self.by_ears is not None:
            ranking = self.by_ears
        if ranking is None:
            raise DataError(Problem("the most similar examples are asked for, and nothing was ranked"))
        return ranking.nearest(query, way.k)


@dataclass(frozen=True)
class CellAnswers:
    """What came of asking a task in one way.

    Attributes:
        questions, answers: in the order of the queries.
        scores: of the answers.
    """

    questions: tuple[Question, ...]
    answers: tuple[Answer, ...]
    scores: AnswerScores

    def rows(self) -> Iterator[dict[str, Any]]:
        """One JSON object for each query."""
        for question, answer in zip(self.questions, self.answers, strict=True):
            yield answer_row(question.asked.query, answer, question.asked.prompt.demonstrations, len(question.dropped))


def answer_row(
    query: UnderstandingExample, answer: Answer, demonstrations: Sequence[tuple[str, str]], dropped: int
) -> dict[str, Any]:
    """What is kept of one answer."""
    row: dict[str, Any] = {
        "id": query.id,
        "split": query.split,
        "labels": list(query.labels),
        "answer": None if answer.labels is None else list(answer.labels),
        "scores": None if answer.scores is None else [float(score) for score in answer.scores],
        "text": answer.text,
        "demonstrations": [list(key) for key in demonstrations],
        "dropped": dropped,
    }
    return row


@dataclass(frozen=True)
class Asker:
    """A model and a task.

    Attributes:
        model: in evaluation mode.
        task: of the queries.
        queries: with their classes.
        shown: what may be shown.
        settings: how it is asked.
        seed: of orders and random demonstrations.
        limit: tokens of a prompt, beside the model's own room.
        answering: how the model is asked in a way.
        places: of the prompt that the sound of a query takes.
        interrupted: asked between batches.
        hear: hears queries together.
    """

    model: PromptModel
    task: UnderstandingTask
    queries: Examples
    shown: Shown
    settings: EvaluationSettings
    seed: int
    limit: int
    answering: Answering
    places: Places | None = None
    interrupted: Callable[[], bool] = lambda: False
    hear: Hear | None = None

    def ask(self, way: Way) -> CellAnswers:
        """Ask everything in one way.

        Raises:
            DataError: a prompt does not fit, or a sound cannot be read.
            KeyboardInterrupt: `interrupted` said so.
        """
        queries = self.asked_in(way)
        if self.hear is not None and way.query == "speech" and not way.cascade:
            self.hear(queries)
        questions = tuple(self.question(query, way) for query in queries)
        answers = self._answers(questions, way)
        scores = score_answers(
            [query.labels for query in queries],
            [answer.labels for answer in answers],
            self.task.label_names,
            multi_label=self.task.multi_label,
        )
        return CellAnswers(questions, tuple(answers), scores)

    def asked_in(self, way: Way) -> list[UnderstandingExample]:
        """The queries that can be asked in a way: those with sound, or with what was heard."""
        return asked_in(self.queries, way)

    def question(self, query: UnderstandingExample, way: Way) -> Question:
        """The prompt of one query."""
        shown, nearest_last = ordered(self.shown.of(query, way, self.seed), way.order, query, self.seed)
        return make_question(
            self.model,
            self.task,
            query,
            shown,
            limit=self.limit,
            order=definitions_order(self.task, query, self.settings, self.seed),
            speech=way.query == "speech" and not way.cascade,
            text=query.heard if way.cascade else None,
            nearest_last=nearest_last,
            places=self.places,
        )

    def _answers(self, questions: Sequence[Question], way: Way) -> list[Answer]:
        answers: list[Answer | None] = [None] * len(questions)
        for places in by_length(questions):
            if self.interrupted():
                raise KeyboardInterrupt
            found = self.answering(self.model, [questions[place].asked for place in places], way)
            for place, answer in zip(places, found, strict=True):
                answers[place] = answer
        return [answer for answer in answers if answer is not None]


def asked_in(queries: Examples, way: Way) -> list[UnderstandingExample]:
    """The queries that can be asked in a way: those with sound, or with what was heard."""
    if way.query == "text":
        return [query for query in queries if query.text.strip()]
    return [query for query in queries if (query.heard if way.cascade else query.audio) is not None]
