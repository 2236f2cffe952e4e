"""The prompt of a query of `understand`: demonstrations in an order, definitions in another, as many as fit.

Not here: which demonstrations (`data.understanding.demonstrations`), asking (`systems.understand_evaluation`).

Example:
    >>> question = make_question(model, task, query, shown, limit=512)          # doctest: +SKIP
    >>> question.tokens, question.dropped                                       # doctest: +SKIP
    (231, ())
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tunelet.base.streams import numpy_stream
from tunelet.data.understanding.asked import Asked
from tunelet.data.understanding.fitting import fit_prompt
from tunelet.data.understanding.prompt import shuffled_order
from tunelet.data.understanding.regimes import LabelMap
from tunelet.data.understanding.task import UnderstandingExample, UnderstandingTask
from tunelet.models.prompt_model import PromptModel
from tunelet.systems.understand_settings import EvaluationSettings, Order

#: questions in one call of a model, which makes batches of them by itself
TOGETHER = 512
Examples = Sequence[UnderstandingExample]
#: places of a prompt that the sound of a query takes
Places = Callable[[UnderstandingExample], int]
#: hears queries together and keeps what it heard
Hear = Callable[[Examples], None]


@dataclass(frozen=True)
class Question:
    """A prompt, its tokens with its target, and the demonstrations that it lost."""

    asked: Asked
    tokens: int
    dropped: tuple[tuple[str, str], ...]


def ordered(shown: Examples, order: Order, query: UnderstandingExample, seed: int) -> tuple[Examples, bool]:
    """Demonstrations as `build_prompt` takes them, and whether the first of them comes last."""
    if order != "shuffled":
        return shown, order == "nearest-last"
    drawn = numpy_stream(seed, "order of demonstrations", *query.key).permutation(len(shown)).tolist()
    return [shown[place] for place in drawn], True


def definitions_order(
    task: UnderstandingTask, query: UnderstandingExample, settings: EvaluationSettings, seed: int
) -> tuple[int, ...] | None:
    """Order of the definitions in the prompt of a query; None: canonical."""
    if settings.definitions == "canonical":
        return None
    purpose = (task.name, *query.key) if settings.definitions == "query" else (task.name,)
    return shuffled_order(len(task.labels), seed, "evaluation", *purpose)


def make_question(
    model: PromptModel,
    task: UnderstandingTask,
    query: UnderstandingExample,
    shown: Examples,
    *,
    limit: int,
    names: LabelMap | None = None,
    order: Sequence[int] | None = None,
    speech: bool = False,
    text: str | None = None,
    nearest_last: bool = True,
    places: Places | None = None,
) -> Question:
    """The prompt of a query, with as many of the demonstrations as fit.

    Args:
        limit: tokens of a prompt, beside the model's own room.
        places: how many the sound of a query takes.
        names, order, speech, text, nearest_last: as `fit_prompt` takes them.

    Raises:
        DataError: it does not fit even without demonstrations.
    """
    room = limit if model.room is None else min(limit, model.room)
    fitted = fit_prompt(
        task,
        query,
        shown,
        limit=room,
        count=model.count,
        reserve=places(query) if speech and places is not None else 0,
        names=names,
        order=order,
        speech=speech,
        text=text,
        nearest_last=nearest_last,
    )
    return Question(Asked(task, fitted.prompt, query), fitted.tokens, fitted.dropped)


def by_length(questions: Sequence[Question], size: int = TOGETHER) -> Iterator[list[int]]:
    """Places of the questions in parts of `size`, the longest first."""
    order = sorted(range(len(questions)), key=lambda place: -questions[place].tokens)
    yield from (order[start : start + size] for start in range(0, len(order), size))
