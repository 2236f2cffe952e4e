"""Two answers without a model of prompts, which any such model has to beat: neighbours, and the nearest definition.

    definition  the class whose name and definition are most similar to the query, by cosine of sentence vectors
    knn         the class that most of the k most similar examples have; of equally many, the one whose examples are
                more similar in sum; k = 0 is `definition`

In a multi-label task, `knn` gives each class that more than half of the examples have (of exactly half, if they are
more similar than the others in sum), and `definition` one class. Not here: sentence vectors
(`models.sentence_embedder`).

Example:
    >>> import numpy as np
    >>> by_definition(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.2]])).argmax(1)
    array([1])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tunelet.data.understanding.demonstrations import Embeddings
from tunelet.data.understanding.prompt import one_line
from tunelet.data.understanding.task import MENTION, UnderstandingExample, UnderstandingTask
from tunelet.models.prompt_model import Answer


def definition_texts(task: UnderstandingTask) -> list[str]:
    """A text for each class: its name and its definition."""
    return [one_line(f"{label.name}: {MENTION.sub(lambda m: m[1], label.definition)}") for label in task.labels]


def by_definition(queries: Embeddings, definitions: Embeddings) -> NDArray[np.float64]:
    """(Q, C) cosines of queries (Q, D) with definitions (C, D)."""
    return np.asarray(_unit(queries) @ _unit(definitions).T, np.float64)


def definition_answers(task: UnderstandingTask, cosines: NDArray[np.float64]) -> list[Answer]:
    """The class of the largest cosine of each row."""
    return [Answer((task.label_names[int(row.argmax())],), row) for row in cosines]


def neighbour_answer(
    task: UnderstandingTask, neighbours: Sequence[UnderstandingExample], similarities: Sequence[float]
) -> Answer:
    """What the neighbours of a query say.

    Args:
        neighbours: at least one.
        similarities: cosine of each with the query.

    Returns:
        An answer whose scores are votes, with the similarities as the part behind the point.
    """
    votes = np.zeros(len(task.labels))
    sums = np.zeros(len(task.labels))
    for one, similarity in zip(neighbours, similarities, strict=True):
        for name in one.labels:
            votes[task.positions[name]] += 1
            sums[task.positions[name]] += similarity
    total = float(sum(similarities))
    # a cosine is at most 1, so the sums, made small, never outweigh a vote
    scores = votes + sums / (4 * (len(neighbours) + 1))
    if not task.multi_label:
        return Answer((task.label_names[int(scores.argmax())],), scores)
    half = len(neighbours) / 2
    chosen = [
        name
        for name, vote, own in zip(task.label_names, votes, sums, strict=True)
        if vote > half or (vote == half and own > total - own)
    ]
    if not chosen and task.none is None:
        chosen = [task.label_names[int(scores.argmax())]]
    return Answer(tuple(chosen), scores)


def _unit(rows: Embeddings) -> Embeddings:
    unit: Embeddings = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
