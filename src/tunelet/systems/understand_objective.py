"""Loss and evaluation of `understand`, as the loop wants them: prompts under the batch's label names.

All prompts of a batch show classes under one map (`systems.understand_batches`): definitions, demonstrations and
target. The order of the definitions is drawn for each prompt or batch, so that names cannot be told by place; between
none and five demonstrations are drawn from the most similar training examples. Validation, of the source alone, shows
true names. Not here: which model (`systems.understand_models`), asking tasks (`systems.understand_evaluation`).

Example:
    >>> objective = PromptObjective(model, told, ranking, batches, validation, settings)        # doctest: +SKIP
    >>> objective.loss(model, objective.batch(batches.next())).backward()                       # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tunelet.base.streams import derive_seed
from tunelet.data.understanding.demonstrations import Ranking
from tunelet.data.understanding.prompt import shuffled_order
from tunelet.data.understanding.task import UnderstandingExample, UnderstandingTask
from tunelet.evaluation.understanding import AnswerScores, score_answers
from tunelet.models.evaluating import evaluating
from tunelet.models.prompt_model import PromptModel
from tunelet.systems.understand_batches import Drawn, TuningBatches
from tunelet.systems.understand_questions import Places, Question, by_length, make_question


@dataclass
class PromptObjective:
    """Loss and evaluation of one source.

    Attributes:
        model: reads prompts; what trains is inside it.
        task: the source.
        train, validation: its examples.
        near: ranks the training examples for each of both.
        batches: say which names a batch has.
        seed: of the run.
        limit: tokens of a prompt, beside the model's own room.
        size: questions of a batch of validation.
        speech: whether queries are sound.
        with_loss: whether validation computes the loss, too.
        places: of the prompt that the sound of a query takes.
        alike: whether the prompts of a batch, and those of validation, have their definitions in one order.
    """

    model: PromptModel
    task: UnderstandingTask
    train: Sequence[UnderstandingExample]
    validation: Sequence[UnderstandingExample]
    near: Ranking
    batches: TuningBatches
    seed: int
    limit: int
    size: int = 64
    speech: bool = False
    with_loss: bool = False
    places: Places | None = None
    alike: bool = False

    def __post_init__(self) -> None:
        self._asked: list[Question] | None = None

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        """Tensors of the prompts of training examples."""
        drawn = self.batches.of(indices)
        questions = self.questions(indices, drawn or self.batches.outside())
        if drawn is not None:
            for question in questions:
                self.batches.prompts.add(len(question.asked.prompt.demonstrations), len(question.dropped))
        return self.model.encode([question.asked for question in questions])

    def questions(self, indices: np.ndarray, drawn: Drawn) -> list[Question]:
        """The prompts of training examples in a batch."""
        found, here = [], (drawn.number,) if self.alike else ()
        for index in indices.tolist():
            query = self.train[index]
            found.append(
                make_question(
                    self.model,
                    self.task,
                    query,
                    self.near.for_tuning(query, seed=self.seed, epoch=drawn.epoch),
                    limit=self.limit,
                    names=drawn.names,
                    order=self._order(self.seed, "tuning", drawn.epoch, *(here or query.key)),
                    speech=self.speech,
                    places=self.places,
                )
            )
        return found

    def loss(self, model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Mean loss of the answers."""
        return self.model.loss(batch)

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        """Accuracy and F1 on validation, under true names, and the loss where it chooses."""
        scores = self.score(model)
        found = {"accuracy": scores.accuracy, "macro_f1": scores.macro_f1, "weighted_f1": scores.weighted_f1}
        return {**found, "loss": self.validation_loss(model)} if self.with_loss else found

    def score(self, model: torch.nn.Module) -> AnswerScores:
        """Scores of the answers to the validation examples."""
        questions = self.validation_questions()
        labels: list[tuple[str, ...] | None] = [None] * len(questions)
        with evaluating(model):
            for places in by_length(questions):
                asked = [questions[place].asked for place in places]
                for place, answer in zip(places, self.model.answer(asked), strict=True):
                    labels[place] = answer.labels
        return score_answers(
            [one.labels for one in self.validation], labels, self.task.label_names, multi_label=self.task.multi_label
        )

    def validation_loss(self, model: torch.nn.Module) -> float:
        """Mean loss of the answers to the validation examples."""
        questions = self.validation_questions()
        device, total = next(model.parameters()).device, 0.0
        with evaluating(model):
            for places in by_length(questions, self.size):
                batch = self.model.encode([questions[place].asked for place in places])
                here = {k: value.to(device) if isinstance(value, Tensor) else value for k, value in batch.items()}
                total += float(self.model.loss(here)) * len(places)
        return total / len(questions)

    def validation_questions(self) -> list[Question]:
        """The prompts of the validation examples: true names, and the same draws at every evaluation."""
        if self._asked is None:
            seed = derive_seed(self.seed, "validation")
            self._asked = [
                make_question(
                    self.model,
                    self.task,
                    query,
                    self.near.for_tuning(query, seed=seed, epoch=0),
                    limit=self.limit,
                    order=self._order(seed, *(() if self.alike else query.key)),
                    speech=self.speech,
                    places=self.places,
                )
                for query in self.validation
            ]
        return self._asked

    def _order(self, seed: int, *purpose: str | int) -> tuple[int, ...]:
        return shuffled_order(len(self.task.labels), seed, *purpose)

    def names(self, indices: np.ndarray) -> list[str]:
        """Keys of training examples."""
        return ["/".join(self.train[int(index)].key) for index in indices]
