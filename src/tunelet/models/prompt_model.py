"""What every model that answers prompts can do, whatever it is inside. Not here: any such model.

Three kinds are built on it: an encoder with an answer slot that points at class names (`models.prefix`), a causal
language model (`models.in_context`), and one that hears speech (`models.speech`). A system tunes and asks all of them
in the same way.

Example:
    >>> batch = model.encode(questions)                         # doctest: +SKIP
    >>> model.loss(batch).backward()                            # doctest: +SKIP
    >>> model.answer(questions)[0].labels                       # doctest: +SKIP
    ('positive',)
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tunelet.data.understanding.asked import Asked


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model says to one question.

    Attributes:
        labels: true names of the classes in canonical order; empty is the answer that no class fits; None: what the
            model wrote means nothing.
        scores: (C,) fp64, one number for each class in canonical order, the higher the likelier; a single-label
            answer is the highest. None where the model wrote freely.
        text: what it wrote, where it wrote freely.
    """

    labels: tuple[str, ...] | None
    scores: NDArray[np.float64] | None = None
    text: str | None = None


@runtime_checkable
class PromptModel(Protocol):
    """A `torch.nn.Module` that reads prompts and answers with classes.

    Attributes:
        room: places that a prompt may take with its answer; None: any number.
        hears: whether prompts may have a place for speech.
    """

    room: int | None
    hears: bool

    def count(self, text: str) -> int:
        """Tokens of a text, as `data.understanding.fitting.fit_prompt` wants to know them."""
        ...

    def encode(self, questions: Sequence[Asked]) -> dict[str, Any]:
        """Tensors of a batch of questions, of one task or several; ``attention_mask`` (B, T) tells the real places.

        Raises:
            DataError: a prompt is longer than `room`, or its sound cannot be read.
        """
        ...

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """Mean loss of the answers of a batch of `encode`: a scalar with a gradient.

        Raises:
            DataError: a question has no known answer.
        """
        ...

    def answer(self, questions: Sequence[Asked]) -> list[Answer]:
        """Answers among the classes of each question's task, in order; the batch's composition changes none."""
        ...


def remembering(model: Any) -> AbstractContextManager[None]:
    """Within the block no weight of a `PromptModel` changes, and it may keep what prompts share from call to call."""
    kept: AbstractContextManager[None] = model.remembering() if hasattr(model, "remembering") else nullcontext()
    return kept
