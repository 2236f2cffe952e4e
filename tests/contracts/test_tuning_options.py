"""What every option of `tuning` that changes how a model is computed promises: a new option adds a row, not tests."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from toy_tuned import BATCH, TASK, logits, toy_loaded, train, tuned_on
from tunelet.models.bases import Base
from tunelet.tuning.folder import load_adapter, save_adapter
from tunelet.tuning.tuned import Tuned

ENGINES = ("fast", "peft")


@dataclass(frozen=True)
class Case:
    """An option, as a recipe has it, and what it leaves as it is.

    Attributes:
        options: settings of `tuning`.
        without: the settings that train the same without it, to the bit or to rounding; None: it trains another model.
        exact: to the bit.
    """

    options: dict[str, Any]
    without: dict[str, Any] | None
    exact: bool = True

    def __str__(self) -> str:
        return ",".join(self.options)


UPPER = {"layers": [1, 2], "frozen_dropout": False}
CASES = (
    Case({"gradient_checkpointing": True}, {}),
    Case({"gradient_checkpointing": True, "method": "full"}, {"method": "full"}),
    Case({"layers": [1, 2]}, None),
    Case(UPPER, None),
    Case({**UPPER, "frozen_cache_mb": 1}, {**UPPER, "frozen_cache_mb": 0}, exact=False),
    Case({**UPPER, "gradient_checkpointing": True}, UPPER),
)
each_case = pytest.mark.parametrize("case", CASES, ids=str)
each_engine = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return toy_loaded(tmp_path_factory.mktemp("base"), layers=3)


def ready(base: Base, engine: str, options: dict[str, Any]) -> Tuned:
    tuned = tuned_on(base, engine=engine, **{"dropout": 0.2, **options})
    tuned.use_fast_path(torch.float32, seed=1)
    lengths = BATCH["attention_mask"].sum(1)
    tuned.hold_frozen([row[:length].numpy() for row, length in zip(BATCH["input_ids"], lengths, strict=True)])
    return tuned


@each_engine
@pytest.mark.parametrize("case", [case for case in CASES if case.without is not None], ids=str)
def test_it_trains_what_is_trained_without(case: Case, engine: str, base: Base) -> None:
    ends = []
    for options in (case.options, case.without or {}):
        tuned = ready(base, engine, options)
        train(tuned, tuned.optimizer(learning_rate=0.01), range(1, 7))
        ends.append(tuned.trainable_state())
    atol, rtol = (0.0, 0.0) if case.exact else (1e-4, 1e-3)
    for name, tensor in ends[1].items():
        if not name.endswith("key.bias"):  # its gradient is rounding, which Adam makes large
            torch.testing.assert_close(ends[0][name], tensor, msg=name, atol=atol, rtol=rtol)


@each_engine
@each_case
def test_resumed_it_ends_where_it_would_have(case: Case, engine: str, base: Base) -> None:
    whole = ready(base, engine, case.options)
    train(whole, whole.optimizer(learning_rate=0.01), range(1, 9))
    first = ready(base, engine, case.options)
    optimizer = first.optimizer(learning_rate=0.01)
    train(first, optimizer, range(1, 5))
    state = copy.deepcopy((first.trainable_state(), first.state_dict(), optimizer.state_dict()))
    second = ready(base, engine, case.options)
    optimizer = second.optimizer(learning_rate=0.01)
    second.load_trainable_state(state[0])
    second.load_state_dict(state[1])
    optimizer.load_state_dict(state[2])
    train(second, optimizer, range(5, 9))
    ends = second.trainable_state()
    assert [name for name, tensor in whole.trainable_state().items() if not ends[name].equal(tensor)] == []


@each_engine
@each_case
def test_saved_and_loaded_it_answers_the_same(case: Case, engine: str, base: Base, tmp_path: Path) -> None:
    tuned = ready(base, engine, case.options)
    train(tuned, tuned.optimizer(learning_rate=0.01), range(1, 4))
    save_adapter(tmp_path / "a", tuned, base, TASK)
    loaded = load_adapter(tmp_path / "a")
    assert loaded.warnings == loaded.overridden == ()
    torch.testing.assert_close(logits(loaded.model), logits(tuned.model), atol=1e-5, rtol=1e-5)
