"""Episodes: one map through definitions, demonstrations and target; nothing shown to itself; the same every time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toy_understanding import toy_example, toy_task
from tunelet.base.errors import DataError
from tunelet.data.audit import comparable
from tunelet.data.understanding.episode_pool import EpisodePool
from tunelet.data.understanding.episodes import (
    EPISODE_REGIMES,
    Episode,
    EpisodeSampler,
    EpisodeSettings,
    RegimeShares,
    first_clause,
)
from tunelet.data.understanding.plain_words import PLAIN_WORDS
from tunelet.data.understanding.regimes import symbols
from tunelet.data.understanding.task import UnderstandingExample

NAMES = ("sun", "rain", "snow", "fog", "hail", "wind", "frost", "acorn")


def pool(*, multi: bool = False, none: str | None = "none", count: int = 60) -> EpisodePool:
    """A pool in which every fifth text stands twice, in another case; an example of no class is in it if multi."""
    draw = np.random.default_rng(int(multi))
    task = toy_task(*NAMES, multi_label=multi, none=none if multi else None)
    examples: list[UnderstandingExample] = []
    for number in range(count):
        least = 0 if none is not None else 1
        chosen = draw.permutation(8)[: int(draw.integers(least, 4)) if multi else 1].tolist()
        text = f"Text {number - 1}" if number % 5 == 4 else f"text {number}"
        examples.append(toy_example(number, text, *(NAMES[i] for i in sorted(chosen))))
    rows = draw.normal(size=(count, 4))
    return EpisodePool(task, examples, rows / np.linalg.norm(rows, axis=1, keepdims=True))


POOLS = [pool(), pool(multi=True), pool(multi=True, none=None)]
SAMPLER = EpisodeSampler(POOLS, EpisodeSettings(), seed=3)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(EPISODE_REGIMES))
def test_one_map_goes_through_the_whole_prompt(number: int, regime: Any) -> None:
    episode = SAMPLER.question(number, regime=regime)
    asked, prompt = episode.asked, episode.asked.prompt
    names = prompt.names
    assert 2 <= asked.classes <= 6 and names.names == asked.task.label_names
    assert len(set(names.shown)) == len(names.shown)
    allowed = {
        "natural": names.names,
        "permuted": names.names,
        "words": set(PLAIN_WORDS) - set(names.names),
        "symbol": symbols(24),
    }[regime]
    assert set(names.shown) <= set(allowed) and (regime != "natural" or names.shown == names.names)
    for occurrence in prompt.occurrences:
        shown = prompt.text[occurrence.start : occurrence.end]
        assert shown == (asked.task.none if occurrence.label == asked.classes else names.shown[occurrence.label])
    right = ", ".join(names.name(name) for name in asked.query.labels) or asked.task.none
    assert prompt.target == right and set(asked.query.labels) <= set(names.names)
    outputs = [text.split("\n")[0] for text in prompt.text.split("Output: ")[1:]]
    said = [", ".join(names.name(name) for name in e.labels) or asked.task.none for e in reversed(episode.shown)]
    assert outputs == said


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_nothing_is_shown_to_itself_or_twice(number: int) -> None:
    episode = SAMPLER.question(number)
    query, said = episode.asked.query, [comparable(e.text) for e in episode.shown]
    assert query.key not in [e.key for e in episode.shown] and comparable(query.text) not in said
    assert len(set(said)) == len(said) <= episode.k <= 5


def facts(episode: Episode) -> tuple[Any, ...]:
    return episode.asked.prompt, episode.asked.query, episode.regime, episode.k


def test_an_episode_is_a_function_of_seed_and_number() -> None:
    again = EpisodeSampler(POOLS, EpisodeSettings(), seed=3)
    assert [facts(e) for e in SAMPLER.batch(2, 4)] == [facts(again.question(n)) for n in (8, 9, 10, 11)]
    other = EpisodeSampler(POOLS, EpisodeSettings(), seed=4)
    assert [facts(e) for e in other.batch(2, 4)] != [facts(e) for e in SAMPLER.batch(2, 4)]


def test_shares_are_as_asked() -> None:
    chosen = EpisodeSettings(regimes=RegimeShares(natural=0, permuted=1, words=0, symbol=0), retrieved=0, shuffle=False)
    drawn = EpisodeSampler(POOLS, chosen, seed=1).batch(0, 120)
    assert {e.regime for e in drawn} == {"permuted"} and not any(e.retrieved for e in drawn)
    assert set(Counter(e.k for e in drawn)) == {0, 1, 2, 3, 4, 5}
    usual = SAMPLER.batch(0, 120)
    orders = [[o.label for o in e.asked.prompt.occurrences if o.part == "definitions"] for e in drawn]
    assert all(order == sorted(order) for order in orders)
    mixed = [[o.label for o in e.asked.prompt.occurrences if o.part == "definitions"] for e in usual]
    assert sum(order != sorted(order) for order in mixed) > 60
    nothing = [e for e in usual if not e.asked.query.labels]
    assert nothing and all(e.asked.task.none == "none" for e in nothing)
    with pytest.raises(DataError, match="all shares are 0"):
        EpisodeSampler(POOLS, EpisodeSettings(regimes=RegimeShares(natural=0, permuted=0, words=0, symbol=0)), seed=1)


def test_the_nearest_are_those_of_a_loop() -> None:
    rows = np.asarray(POOLS[0]._embeddings)
    for query in range(0, 60, 7):
        labels = NAMES[:4]
        texts, expected = {comparable(POOLS[0].examples[query].text)}, list[int]()
        for position in np.argsort(-(rows @ rows[query]), kind="stable").tolist():
            example = POOLS[0].examples[position]
            if comparable(example.text) not in texts and example.labels[0] in labels and len(expected) < 5:
                texts.add(comparable(example.text))
                expected.append(position)
        assert POOLS[0].nearest(query, labels, 5) == expected
    assert len(POOLS[0].nearest(0, NAMES[:1], 50)) <= sum(e.labels == ("sun",) for e in POOLS[0].examples)


def test_a_task_with_few_classes_is_shown_whole_half_the_time() -> None:
    small = EpisodePool(toy_task(*NAMES[:5]), [toy_example(i, f"t{i}", NAMES[i % 5]) for i in range(20)])
    sampler = EpisodeSampler([small], EpisodeSettings(retrieved=0), seed=1)
    whole = sum(e.asked.classes == 5 for e in sampler.batch(0, 200))
    assert 100 < whole < 160  # one half, and a quarter of the rest


def test_a_single_label_task_may_be_asked_with_classes_left_out() -> None:
    drawn = EpisodeSampler(POOLS[:1], EpisodeSettings(open=0.5), seed=1).batch(0, 200)
    opened = [e for e in drawn if e.asked.task.multi_label]
    assert 60 < len(opened) < 140 and all(e.asked.task.none == "none" for e in opened)
    without = [e for e in opened if not e.asked.query.labels]
    assert without and any(e.asked.query.labels for e in opened)
    for episode in without:
        assert episode.asked.prompt.target == "none"
        (own,) = (e for e in POOLS[0].examples if e.key == episode.asked.query.key)
        assert not set(own.labels) & set(episode.asked.task.label_names)
    assert any(not e.labels for episode in opened for e in episode.shown)
    never = EpisodeSampler(POOLS[:1], EpisodeSettings(open=0), seed=1).batch(0, 50)
    assert not any(e.asked.task.multi_label for e in never)


def test_prompts_are_made_to_fit() -> None:
    def count(text: str) -> int:
        return len(text.split())

    sampler = EpisodeSampler(POOLS, EpisodeSettings(), seed=3, count=count, limit=80)
    fitted = [sampler.question(n, k=5) for n in range(40)]
    assert all(count(e.asked.prompt.completed) <= 80 for e in fitted) and any(len(e.shown) < 5 for e in fitted)
    with pytest.raises(DataError, match="without any demonstration"):
        EpisodeSampler(POOLS, EpisodeSettings(), seed=3, count=count, limit=10).question(0)


def test_pools_that_cannot_be_used_are_refused() -> None:
    bare = EpisodePool(toy_task("sun", "rain"), [toy_example(i, f"t{i}", NAMES[i % 2]) for i in range(4)])
    with pytest.raises(DataError, match="task 'sky' has fewer than two classes with examples, or no embeddings"):
        EpisodeSampler([bare], EpisodeSettings(), seed=1)
    with pytest.raises(DataError, match="the nearest are asked for"):
        bare.nearest(0, NAMES[:2], 1)
    with pytest.raises(DataError, match="no task to draw"):
        EpisodeSampler([], EpisodeSettings(), seed=1)
    with pytest.raises(DataError, match="4 examples of task 'sky' have 3 embeddings"):
        EpisodePool(bare.task, bare.examples, np.ones((3, 2)))


def test_first_clauses() -> None:
    assert first_clause("asks for a reason, or a cause") == "asks for a reason"
    assert first_clause("sun, rain") == "sun, rain"
    assert first_clause("it is {a or b} there") == "it is {a or b} there"
