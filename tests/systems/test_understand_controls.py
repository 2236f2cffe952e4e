"""The controls of `understand` against direct computations."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from toy_understanding import toy_example, toy_task
from tunelet.systems.understand_controls import by_definition, definition_answers, definition_texts, neighbour_answer

TASK = toy_task("a", "b", "c")
SEVERAL = toy_task("a", "b", "c", multi_label=True, none="none")
_SIMILAR = st.floats(-1, 1, allow_nan=False).map(lambda x: round(x, 3))


@given(st.integers(0, 10_000))
def test_the_nearest_definition_is_the_largest_cosine(seed: int) -> None:
    stream = np.random.default_rng(seed)
    queries, definitions = stream.normal(size=(4, 5)), stream.normal(size=(3, 5))
    found = definition_answers(TASK, by_definition(queries, definitions))
    for query, answer in zip(queries, found, strict=True):
        cosines = [float(query @ d / np.linalg.norm(query) / np.linalg.norm(d)) for d in definitions]
        assert answer.labels == (TASK.label_names[int(np.argmax(cosines))],)
        assert np.allclose(answer.scores if answer.scores is not None else [], cosines)


@given(st.lists(st.tuples(st.sampled_from("abc"), _SIMILAR), min_size=1, max_size=7))
def test_neighbours_vote_and_the_more_similar_decide_a_tie(votes: list[tuple[str, float]]) -> None:
    shown = [toy_example(i, f"t{i}", name) for i, (name, _) in enumerate(votes)]
    answer = neighbour_answer(TASK, shown, [similar for _, similar in votes])
    counts = Counter(name for name, _ in votes)
    sums = {name: sum(s for n, s in votes if n == name) for name in counts}
    most = max(counts.values())
    best = max(sums[name] for name in counts if counts[name] == most)
    assert answer.labels is not None
    (chosen,) = answer.labels
    assert counts[chosen] == most and np.isclose(sums[chosen], best)


def test_several_classes_need_more_than_half() -> None:
    shown = [toy_example(0, "x", "a", "b"), toy_example(1, "y", "a"), toy_example(2, "z")]
    assert neighbour_answer(SEVERAL, shown, [0.5, 0.4, 0.3]).labels == ("a",)
    half = [toy_example(0, "x", "a"), toy_example(1, "y", "b")]
    assert neighbour_answer(SEVERAL, half, [0.5, 0.4]).labels == ("a",)
    assert neighbour_answer(SEVERAL, [toy_example(0, "x")], [0.9]).labels == ()
    without = toy_task("a", "b", "c", multi_label=True)
    assert neighbour_answer(without, half, [0.2, 0.2]).labels == ("a",)


def test_a_definition_is_told_with_its_name_and_without_braces() -> None:
    assert definition_texts(TASK)[0] == "a: the sky has it, kind 0"
