"""The ways in which a task is asked: demonstrations, their order, text or speech, kinds of answers, scales of LoRA.

A cell of the table is a task and a way. The first value of each list in the recipe is the main one; every other varies
alone, with the rest at the first, and for the first kind of query. Ways that would ask the same prompt twice are left
out: nothing is to be retrieved or ordered where nothing is shown. Not here: asking (`systems.understand_evaluation`).

Example:
    >>> data = UnderstandDataSettings(tasks=["snips"], k=[0, 2])
    >>> settings = EvaluationSettings(orders=["nearest-last", "shuffled"])
    >>> [way.name for way in ways_of(data, settings, hears=False, tuned=True)]
    ['k0-text', 'k2-text', 'k2-text-shuffled']
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tunelet.systems.understand_settings import (
    AnswerKind,
    Demonstrations,
    EvaluationSettings,
    Order,
    Query,
    UnderstandDataSettings,
)


@dataclass(frozen=True)
class Way:
    """One way to ask a task.

    Attributes:
        k: demonstrations.
        query: what is asked about.
        cascade: speech, asked as the text that a recogniser heard.
        demonstrations, order, answers, lora_scale: see `EvaluationSettings`.
        main: whether each of these is the recipe's first.
    """

    k: int
    query: Query = "text"
    cascade: bool = False
    demonstrations: Demonstrations = "retrieved"
    order: Order = "nearest-last"
    answers: AnswerKind = "constrained"
    lora_scale: float | None = None
    main: bool = True

    @property
    def name(self) -> str:
        """The name of its file."""
        parts = [f"k{self.k}", "cascade" if self.cascade else self.query]
        usual = Way(self.k)
        parts += [
            str(getattr(self, key))
            for key in ("demonstrations", "order", "answers")
            if getattr(self, key) != getattr(usual, key)
        ]
        return "-".join([*parts, *([] if self.lora_scale is None else [f"lora{self.lora_scale:g}"])])

    def to_json(self) -> dict[str, Any]:
        """Its part of a cell."""
        return dict(vars(self))


def ways_of(
    data: UnderstandDataSettings, evaluation: EvaluationSettings, *, hears: bool, tuned: bool, control: bool = False
) -> list[Way]:
    """All ways of a run, in order.

    Args:
        hears: whether the model has ears.
        tuned: whether something was tuned; without, there is no LoRA to scale.
        control: the run has no model of prompts: it is asked in the main way alone, and hears nothing.
    """
    first = Way(
        0,
        demonstrations="retrieved" if control else evaluation.demonstrations[0],
        order="nearest-last" if control else evaluation.orders[0],
        answers="constrained" if control else evaluation.answers[0],
        lora_scale=evaluation.lora_scale[0] if tuned else None,
    )
    found: list[Way] = []
    for number, (query, cascade) in enumerate(_queries(data, hears and not control)):
        for k in data.k:
            main = replace(first, k=k, query=query, cascade=cascade)
            found.append(main)
            if number == 0 and not control:
                found += _varied(main, evaluation, tuned)
    return found


def _queries(data: UnderstandDataSettings, hears: bool) -> Iterator[tuple[Query, bool]]:
    for query in data.query:
        if query == "text" or hears:
            yield query, False
    if data.cascade:
        yield "speech", True


def _varied(main: Way, evaluation: EvaluationSettings, tuned: bool) -> Iterator[Way]:
    if main.k >= 1:
        for demonstrations in evaluation.demonstrations[1:]:
            yield replace(main, demonstrations=demonstrations, main=False)
    if main.k >= 2:
        for order in evaluation.orders[1:]:
            yield replace(main, order=order, main=False)
    for answers in evaluation.answers[1:]:
        yield replace(main, answers=answers, main=False)
    for scale in evaluation.lora_scale[1:] if tuned else ():
        yield replace(main, lora_scale=scale, main=False)
