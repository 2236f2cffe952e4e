"""The examples of a task, as episodes draw from them: by class, at random, or the nearest. Not here: what is drawn.

Similarity is the cosine of embeddings that the caller brings. All of it is within some of the task's classes: of a
single-label task only their examples count, of a multi-label task an example has those of its classes that are among
them, and may have none.

Example:
    >>> from tunelet.data.records import Label
    >>> from tunelet.data.understanding.task import TaskData
    >>> task = UnderstandingTask("t", "T", "What is it?", (Label("a", "an a"), Label("b", "a b")), TaskData("t"))
    >>> examples = [UnderstandingExample(str(i), text, (text[0],), "train") for i, text in enumerate(["a", "b", "bb"])]
    >>> EpisodePool(task, examples, np.array([[1, 0], [0, 1], [0.1, 1]])).nearest(0, ("a", "b"), 1)
    [2]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunelet.base.errors import DataError, Problem
from tunelet.data.audit import comparable
from tunelet.data.understanding.task import UnderstandingExample, UnderstandingTask


class EpisodePool:
    """A task with examples.

    Args:
        task: with all its classes.
        examples: of one or several splits, with texts.
        embeddings: (N, D) rows of length one; None where `nearest` is not used.

    Attributes:
        labels: names of the classes that have an example, in canonical order.

    Raises:
        DataError: the numbers of examples and rows differ.
    """

    def __init__(
        self,
        task: UnderstandingTask,
        examples: Sequence[UnderstandingExample],
        embeddings: NDArray[np.floating[Any]] | None = None,
    ) -> None:
        if embeddings is not None and len(embeddings) != len(examples):
            message = f"{len(examples)} examples of task {task.name!r} have {len(embeddings)} embeddings"
            raise DataError(Problem(message))
        self.task, self.examples = task, tuple(examples)
        self._embeddings = None if embeddings is None else np.ascontiguousarray(embeddings, dtype=np.float32)
        has = np.zeros((len(examples), len(task.labels)), dtype=np.bool_)
        for row, example in enumerate(self.examples):
            has[row, [task.positions[name] for name in example.labels]] = True
        self._has = has  # (N, C)
        self.labels = tuple(name for name, count in zip(task.label_names, has.sum(0), strict=True) if count)
        # equal texts have one number, so that none is shown to itself or twice
        texts: dict[str, int] = {}
        numbers = [texts.setdefault(comparable(example.text), len(texts)) for example in self.examples]
        self._text = np.array(numbers, dtype=np.int64)

    @property
    def embedded(self) -> bool:
        """Whether `nearest` can be asked."""
        return self._embeddings is not None

    def of(self, task: UnderstandingTask) -> EpisodePool:
        """The same examples of another task with the same classes."""
        return EpisodePool(task, self.examples, self._embeddings)

    def example(self, position: int, labels: Sequence[str]) -> UnderstandingExample:
        """An example with those of its classes that are among `labels`."""
        found = self.examples[position]
        kept = tuple(name for name in found.labels if name in labels)
        return found if kept == found.labels else replace(found, labels=kept)

    def draw(self, labels: Sequence[str], stream: np.random.Generator, none: float) -> int:
        """Position of an example of one of `labels`, each class as often; with chance `none` one without any of them.

        A single-label task, or one without a word for none, has no such example.
        """
        has = self._has[:, self._columns(labels)]
        column = int(stream.integers(has.shape[1]))
        chance, place = stream.random(), stream.random()
        rows = np.flatnonzero(has[:, column])
        if self.task.multi_label and self.task.none is not None and chance < none:
            without = np.flatnonzero(~has.any(1))
            rows = without if len(without) else rows
        return int(rows[int(place * len(rows))])

    def random(self, query: int, labels: Sequence[str], k: int, stream: np.random.Generator, none: float) -> list[int]:
        """Positions of at most k examples, drawn as `draw` does; no text twice, none the query's."""
        found: list[int] = []
        taken = {int(self._text[query])}
        for _ in range(4 * k):
            if len(found) == k:
                break
            position = self.draw(labels, stream, none)
            if int(self._text[position]) not in taken:
                taken.add(int(self._text[position]))
                found.append(position)
        return found

    def nearest(self, query: int, labels: Sequence[str], k: int, *, empty: bool = False) -> list[int]:
        """Positions of the k examples of `labels` that are most like the query, the most alike first.

        Args:
            empty: whether examples without any of the classes count, in a multi-label task with a word for none.
        """
        if self._embeddings is None:
            raise DataError(Problem(f"task {self.task.name!r} has no embeddings, and the nearest are asked for"))
        if not k:
            return []
        scores = self._embeddings @ self._embeddings[query]
        if not (empty and self.task.multi_label and self.task.none is not None):
            scores[~self._has[:, self._columns(labels)].any(1)] = -np.inf
        scores[self._text == self._text[query]] = -np.inf
        wanted = 2 * k
        while True:
            wanted = min(wanted, len(scores))
            best = np.argpartition(-scores, wanted - 1)[:wanted]
            best = best[np.lexsort((best, -scores[best]))]
            found: dict[int, int] = {}
            for position in best[scores[best] > -np.inf].tolist():
                found.setdefault(int(self._text[position]), position)
            if len(found) >= k or wanted == len(scores):
                return list(found.values())[:k]
            wanted *= 4  # repeated texts took places

    def _columns(self, labels: Sequence[str]) -> list[int]:
        return [self.task.positions[name] for name in labels]
