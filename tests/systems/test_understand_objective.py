"""Prompts that `understand` tunes on and asks: one map a batch, true names in evaluation, never the query itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toy_understanding import toy_example, toy_task
from tunelet.base.errors import ResumeError
from tunelet.data.batching import LengthBucketBatches
from tunelet.data.understanding.asked import Asked
from tunelet.data.understanding.demonstrations import DemonstrationPool
from tunelet.data.understanding.regimes import LabelNames, Regime
from tunelet.models.prompt_model import Answer
from tunelet.systems.understand_batches import TuningBatches
from tunelet.systems.understand_evaluation import Asker, Shown
from tunelet.systems.understand_objective import PromptObjective
from tunelet.systems.understand_questions import by_length
from tunelet.systems.understand_settings import EvaluationSettings
from tunelet.systems.understand_ways import Way

TASK = toy_task("sun", "rain", "snow")
WORDS = {"sun": "bright", "rain": "wet", "snow": "cold"}


class Words(torch.nn.Module):
    """A bag of words that keeps what it was asked: a `PromptModel` without sense."""

    hears = False

    def __init__(self, room: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(64))
        self.room = room
        self.asked: list[Asked] = []

    def count(self, text: str) -> int:
        return len(text.split())

    def encode(self, questions: Sequence[Asked]) -> dict[str, Any]:
        self.asked += questions
        ids = [[len(word) % 64 for word in q.prompt.text.split()][:64] for q in questions]
        padded = torch.zeros(len(ids), 64, dtype=torch.long)
        for row, one in enumerate(ids):
            padded[row, : len(one)] = torch.tensor(one)
        return {"input_ids": padded, "attention_mask": (padded > 0).long()}

    def loss(self, batch: dict[str, Any]) -> torch.Tensor:
        return self.weight[batch["input_ids"]].mean() ** 2

    def answer(self, questions: Sequence[Asked]) -> list[Answer]:
        self.asked += questions
        return [Answer((q.task.label_names[len(q.query.text) % 3],)) for q in questions]


def examples(count: int, split: str = "train", start: int = 0) -> list[Any]:
    names = list(WORDS)
    return [
        toy_example(i, f"{WORDS[names[i % 3]]} {'very ' * (i % 4)}day {start + i}", names[i % 3], split=split)
        for i in range(count)
    ]


def objective(regime: Regime, *, seed: int = 1, size: int = 4, count: int = 24, room: int | None = None,
              pool: int | None = None) -> PromptObjective:  # fmt: skip
    train, validation = examples(count), examples(6, "validation", 100)
    vectors = np.random.default_rng(0).normal(size=(count + 6, 8))
    near = DemonstrationPool(train, vectors[:count]).rank([*train, *validation], vectors)
    order = LengthBucketBatches(np.ones(count), size, seed)
    batches = TuningBatches(order, LabelNames(regime, TASK.label_names, pool=pool), seed)
    return PromptObjective(Words(room), TASK, train, validation, near, batches, seed, limit=10_000)


@pytest.mark.parametrize("regime", ["regular", "symbol", "random"])
def test_one_map_serves_definitions_demonstrations_and_target_of_a_batch(regime: Regime) -> None:
    made = objective(regime)
    for number in range(12):
        model: Any = made.model
        model.asked.clear()
        made.batch(made.batches.next())
        maps = {asked.prompt.names for asked in model.asked}
        assert len(maps) == 1
        (names,) = maps
        assert names == LabelNames(regime, TASK.label_names).draw(seed=1, epoch=number // 6, batch=number % 6)
        for asked in model.asked:
            text = asked.prompt.text
            for label in TASK.labels:
                assert f"- {names.name(label.name)}: {label.definition}\n" in text
            assert asked.prompt.target == names.name(asked.query.labels[0])
            shown = {one.key: one for one in made.train}
            for part in asked.prompt.parts:
                if part.example is not None:
                    right = names.name(shown[part.example].labels[0])
                    assert asked.prompt.part_text(part).endswith(f"Output: {right}\n\n")
    assert made.batches.maps.to_json()["batches"] == 12


def test_maps_are_uniform_over_an_epoch() -> None:
    made = objective("random", size=1, count=3000)
    drawn = Counter(made.batches.of(made.batches.next()).names.shown for _ in range(3000))  # type: ignore[union-attr]
    assert len(drawn) == 6
    # chi-square with 5 degrees of freedom: above 20.5 in one of a thousand
    assert sum((count - 500) ** 2 / 500 for count in drawn.values()) < 20.5


def test_definitions_are_shuffled_and_demonstrations_vary_from_none_to_five() -> None:
    made = objective("regular", count=60)
    model: Any = made.model
    for _ in range(30):
        made.batch(made.batches.next())
    orders = Counter(
        tuple(o.label for o in asked.prompt.occurrences if o.part == "definitions") for asked in model.asked
    )
    shown = Counter(len(asked.prompt.demonstrations) for asked in model.asked)
    assert len(orders) == 6 and set(shown) == {0, 1, 2, 3, 4, 5}
    assert made.batches.prompts.demonstrations == sum(k * count for k, count in shown.items())


def test_prompts_of_a_batch_can_begin_alike() -> None:
    made = objective("random", count=60)
    made.alike = True
    beginnings = []
    for _ in range(30):
        indices = made.batches.next()
        drawn = made.batches.of(indices)
        assert drawn is not None
        prompts = [question.asked.prompt for question in made.questions(indices, drawn)]
        assert len({prompt.text[: prompt.prefix_end] for prompt in prompts}) == 1
        beginnings.append(tuple(o.label for o in prompts[0].occurrences if o.part == "definitions"))
    assert len(set(beginnings)) == 6  # each batch draws an order of its own
    asked = [question.asked.prompt for question in made.validation_questions()]
    assert len({prompt.text[: prompt.prefix_end] for prompt in asked}) == 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["regular", "random"]))
def test_the_query_is_never_shown_to_itself(seed: int, regime: Regime) -> None:
    made = objective(regime, seed=seed, count=12)
    model: Any = made.model
    for _ in range(3):
        made.batch(made.batches.next())
    for asked in [*model.asked, *(question.asked for question in made.validation_questions())]:
        shown = [asked.prompt.part_text(part) for part in asked.prompt.parts if part.kind == "demonstration"]
        assert asked.query.key not in asked.prompt.demonstrations
        assert not any(text.startswith(f"Text: {asked.query.text}\n") for text in shown)


def test_validation_shows_true_names_and_is_always_the_same() -> None:
    made = objective("random")
    first = [question.asked.prompt.text for question in made.validation_questions()]
    made.evaluate(made.model)  # type: ignore[arg-type]
    assert all(question.asked.prompt.names.fixed == 3 for question in made.validation_questions())
    again = objective("symbol")
    assert [question.asked.prompt.text for question in again.validation_questions()] == first
    metrics = made.evaluate(made.model)  # type: ignore[arg-type]
    assert set(metrics) == {"accuracy", "macro_f1", "weighted_f1"}
    made.with_loss = True
    assert made.evaluate(made.model)["loss"] == 0  # type: ignore[arg-type]


def test_batches_go_on_where_they_were_saved_and_keep_their_counts() -> None:
    whole, part = objective("random", room=60), objective("random", room=60)
    model: Any = whole.model
    for made, steps in ((whole, 9), (part, 4)):
        for _ in range(steps):
            made.batch(made.batches.next())
    model.asked.clear()
    state = json.loads(json.dumps(part.batches.state_dict()))
    resumed = objective("random", room=60)
    resumed.batch(resumed.batches._order.next())  # a batch of nobody counts for nothing
    resumed.batches.load_state_dict(state)
    for _ in range(5):
        resumed.batch(resumed.batches.next())
    assert resumed.batches.state_dict() == whole.batches.state_dict()
    assert resumed.batches.prompts.dropped > 0
    for broken in ({**state, "prompts": {}}, {key: state[key] for key in ("order", "maps")}):
        with pytest.raises(ResumeError):
            resumed.batches.load_state_dict(broken)


def test_a_batch_that_was_only_measured_is_not_counted() -> None:
    made = objective("random")
    before = made.batches.state_dict()
    made.batch(np.arange(4))
    assert made.batches.state_dict() == before


def asker(model: Any, **more: Any) -> Asker:
    pool, test = examples(20), examples(9, "test", 200)
    vectors = np.random.default_rng(1).normal(size=(29, 8))
    known = DemonstrationPool(pool, vectors[:20])
    shown = Shown(known, known.rank(test, vectors[20:], near=5))
    return Asker(model, TASK, test, shown, EvaluationSettings(**more), 3, 10_000, lambda m, asked, way: m.answer(asked))


@pytest.mark.parametrize("demonstrations", ["retrieved", "random"])
def test_asking_shows_true_names_k_demonstrations_and_a_shuffled_order(demonstrations: Any) -> None:
    model = Words()
    found = asker(model).ask(Way(4, demonstrations=demonstrations))
    assert found.scores.n == 9
    assert [row["id"] for row in found.rows()] == [str(i) for i in range(9)]
    orders = set()
    for question in found.questions:
        prompt = question.asked.prompt
        assert prompt.names.fixed == 3 and len(prompt.demonstrations) == 4 and not question.dropped
        orders.add(tuple(o.label for o in prompt.occurrences if o.part == "definitions"))
    assert len(orders) > 1
    # the same prompts for another model, and in another call
    again = asker(Words()).ask(Way(4, demonstrations=demonstrations))
    assert [q.asked.prompt.text for q in again.questions] == [q.asked.prompt.text for q in found.questions]


def test_orders_turn_or_shuffle_the_same_demonstrations() -> None:
    last, first, any_ = (
        asker(Words()).ask(Way(5, order=order)) for order in ("nearest-last", "nearest-first", "shuffled")
    )
    shuffled = 0
    for one, other, third in zip(last.questions, first.questions, any_.questions, strict=True):
        keys = one.asked.prompt.demonstrations
        assert other.asked.prompt.demonstrations == keys[::-1]
        assert set(third.asked.prompt.demonstrations) == set(keys)
        shuffled += third.asked.prompt.demonstrations not in (keys, keys[::-1])
    assert shuffled


def test_definitions_can_keep_one_order_for_a_task() -> None:
    for way, distinct in (("task", 1), ("canonical", 1)):
        found = asker(Words(), definitions=way).ask(Way(0))
        orders = {tuple(o.label for o in q.asked.prompt.occurrences) for q in found.questions}
        assert len(orders) == distinct
    assert orders == {(0, 1, 2)}


def test_what_does_not_fit_is_dropped_and_told() -> None:
    found = asker(Words(room=75)).ask(Way(5))
    lost = [len(question.dropped) for question in found.questions]
    assert any(lost) and all(q.tokens <= 75 for q in found.questions)
    assert [row["dropped"] for row in found.rows()] == lost
    places = [place for part in by_length(found.questions, 4) for place in part]
    assert sorted(places) == list(range(9))
