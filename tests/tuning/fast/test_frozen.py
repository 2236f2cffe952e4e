"""What frozen layers give, held over the epochs: the same training, and no frozen layer computed twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from toy_tuned import toy_loaded, tuned_on
from tunelet.models.bases import Base
from tunelet.training.memory import saved_activations
from tunelet.tuning.fast import engine as engine_module
from tunelet.tuning.fast import frozen
from tunelet.tuning.fast.frozen import FrozenStates, Ids
from tunelet.tuning.tuned import Tuned

LAYERS, HIDDEN = 4, 16
TEXTS = [np.array([2, *range(4 + i, 4 + i + 1 + i % 5), 3]) for i in range(12)]
#: all dropout that may act above the frozen layers
OPTIONS = {"layers": [2, 3], "dropout": 0.2, "frozen_dropout": False, "targets": "qkv+dense"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return toy_loaded(tmp_path_factory.mktemp("base"), layers=LAYERS, hidden=HIDDEN)


def padded(texts: Sequence[Ids], length: int | None = None) -> dict[str, Tensor]:
    ids = np.zeros((len(texts), length or max(map(len, texts))), dtype=np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy((ids > 0).astype(np.int64))}


def ready(base: Base, **options: Any) -> tuple[Tuned, str]:
    tuned = tuned_on(base, engine="fast", **{**OPTIONS, **options})
    assert tuned.use_fast_path(torch.float32, seed=1) == ""
    why_not = tuned.hold_frozen(TEXTS)
    tuned.model.train()
    return tuned, why_not


def trained(tuned: Tuned, steps: int) -> list[float]:
    """Losses; every step takes other texts, in another order and padding."""
    optimizer = tuned.optimizer(learning_rate=0.01)
    losses = []
    for step in range(steps):
        torch.manual_seed(step)
        rows = np.random.default_rng(step).permutation(len(TEXTS))[:5]
        loss = torch.nn.functional.cross_entropy(
            tuned.model(**padded([TEXTS[row] for row in rows], 7 + step % 2)).logits, torch.from_numpy(rows % 3)
        )
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("budget", [0, 700, 2000, 1 << 20])
def test_training_is_the_same_whatever_is_held(base: Base, budget: int) -> None:
    plain, _ = ready(base, frozen_cache_mb=0)
    held, why_not = ready(base)
    assert why_not == "" and held.engine is not None and plain.engine is not None and plain.engine.frozen is None
    assert held.engine.hold(TEXTS, budget) == ""
    kept = held.engine.frozen.kept if held.engine.frozen else 0
    assert (kept == 0, kept == len(TEXTS)) == (budget == 0, budget == 1 << 20)
    expected, found = trained(plain, 12), trained(held, 12)
    assert max(abs(a - b) for a, b in zip(expected, found, strict=True)) < 1e-5
    assert expected[0] - expected[-1] > 0.01
    ends = plain.trainable_state()
    assert all((ends[name] - tensor).abs().max() < 1e-4 for name, tensor in held.trainable_state().items())


def test_the_second_epoch_computes_no_frozen_layer(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned, _ = ready(base)
    run: list[int] = []
    inner = engine_module.run_layer

    def watched(layer: Any, *arguments: Any, **named: Any) -> Tensor:
        run.append(layer.index)
        return inner(layer, *arguments, **named)

    monkeypatch.setattr(engine_module, "run_layer", watched)
    for texts in (TEXTS[:6], TEXTS[6:]):
        tuned.model(**padded(texts))
    assert {0, 1} < set(run)
    run.clear()
    for texts in (TEXTS[3:9], TEXTS[:3], TEXTS[9:]):
        tuned.model(**padded(texts))
    assert run == [2, 3] * 3
    run.clear()
    tuned.model.eval()
    tuned.model(**padded(TEXTS[:3]))
    assert run == [0, 1, 2, 3]  # evaluations are computed as ever


def test_a_resumed_run_takes_the_same_bits_whatever_it_saw_first(base: Base) -> None:
    whole, again = ready(base)[0], ready(base)[0]
    for texts in ([TEXTS[0], TEXTS[7]], TEXTS[2:9]):
        whole.model(**padded(texts))
    inputs = padded(TEXTS[1:6])
    found = []
    for tuned in (whole, again):
        torch.manual_seed(3)
        found.append(tuned.model(**inputs).logits)
    assert found[0].equal(found[1])
    assert whole.state_dict()["values"]["engine"].keys() == again.state_dict()["values"]["engine"].keys()


def test_frozen_layers_keep_nothing_for_the_backward_pass(base: Base) -> None:
    inputs = padded(TEXTS[:6])

    def kept(**options: Any) -> int:
        model = ready(base, **options)[0].model
        return saved_activations(lambda: model(**inputs).logits.sum(), model)

    top = kept(layers=[3], frozen_dropout=True)  # dropout and all: three frozen layers, then none
    assert kept(layers=[2, 3], frozen_dropout=True) > top
    assert top == kept(layers=[3], frozen_dropout=False, frozen_cache_mb=0) == kept(layers=[3], frozen_dropout=False)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"frozen_dropout": True}, "dropout acts in the frozen layers"),
        ({"layers": [0, 3]}, "no layer at the bottom is frozen"),
        ({"bias": "all"}, "no layer at the bottom is frozen"),
        ({"frozen_cache_mb": 0}, "tuning.frozen_cache_mb is 0"),
    ],
)
def test_why_nothing_is_held(base: Base, options: dict[str, Any], reason: str) -> None:
    tuned, why_not = ready(base, **options)
    assert why_not == reason
    assert tuned.engine is not None and tuned.engine.frozen is None


def test_peft_holds_nothing(tmp_path: Path) -> None:
    tuned = tuned_on(toy_loaded(tmp_path), engine="peft")
    assert tuned.hold_frozen(TEXTS) == "the fast path is not used"


def test_what_is_unfrozen_later_is_computed_and_gets_its_gradient(base: Base) -> None:
    tuned, _ = ready(base)
    tuned.model(**padded(TEXTS))
    block = tuned.model.get_base_model().bert.encoder.layer[0]  # type: ignore[operator]
    block.output.LayerNorm.bias.requires_grad_(True)
    tuned.model(**padded(TEXTS)).logits.square().sum().backward()
    assert block.output.LayerNorm.bias.grad is not None


def test_first_used_under_inference_mode_it_serves_training(base: Base) -> None:
    tuned, _ = ready(base)
    with torch.inference_mode():
        tuned.model(**padded(TEXTS))
    tuned.model(**padded(TEXTS)).logits.sum().backward()


def test_it_is_counted_with_what_the_engine_holds_before_it_is_filled(base: Base) -> None:
    engine = ready(base)[0].engine
    assert engine is not None and engine.frozen is not None
    total = sum(tensor.nbytes for tensor in engine.tensors())
    store = engine.frozen.tensors()
    engine.frozen = None
    assert total - sum(tensor.nbytes for tensor in engine.tensors()) == 4 * HIDDEN * sum(map(len, TEXTS))
    assert sum(tensor.nbytes for tensor in store) == 4 * HIDDEN * sum(map(len, TEXTS))


class TestStates:
    """Of a made-up encoder: a token's state is its id, its place and the length of its text."""

    def states(self, texts: Sequence[Ids], budget: int = 1 << 20) -> tuple[FrozenStates, list[int]]:
        asked: list[int] = []

        def compute(ids: Tensor, mask: Tensor) -> Tensor:
            asked.append(len(ids))
            place = torch.arange(ids.shape[1]).expand_as(ids)
            return torch.stack([ids, place, mask.sum(1, keepdim=True).expand_as(ids)], -1).float()

        return FrozenStates(texts, compute, depth=1, like=torch.empty(0, 3), budget=budget, pad_id=0), asked

    @settings(deadline=None, max_examples=60)
    @given(
        texts=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1, max_size=9),
        budget=st.integers(0, 400),
        extra=st.integers(0, 3),
        data=st.data(),
    )
    def test_real_tokens_have_their_states_in_any_batch(
        self, texts: list[list[int]], budget: int, extra: int, data: st.DataObject
    ) -> None:
        held, _ = self.states([np.array(text) for text in texts], budget)
        assert sum(12 * len(text) for text in set(map(tuple, texts))) <= budget or held.kept < held.texts
        for _ in range(3):
            rows = data.draw(st.lists(st.sampled_from([*texts, [7, 7, 8]]), min_size=1, max_size=5))
            inputs = padded([np.array(row) for row in rows], max(map(len, rows)) + extra)
            found = held.states(inputs["input_ids"], inputs["attention_mask"])
            assert found.shape == (len(rows), max(map(len, rows)) + extra, 3)
            for row, text in enumerate(rows):
                expected = [[token, place, len(text)] for place, token in enumerate(text)]
                assert found[row, : len(text)].tolist() == expected
        assert sum(tensor.nbytes for tensor in held.tensors()) <= budget

    def test_a_group_is_computed_once_and_others_when_they_are_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(frozen, "GROUP", 4)
        held, asked = self.states([np.array(text) for text in ([1], [2], [3, 3], [4, 4], [5, 5, 5], [1])])
        assert (held.texts, held.kept) == (5, 5)
        inputs = padded([np.array([2])])
        for _ in range(2):
            held.states(inputs["input_ids"], None)
        assert asked == [2]  # [1] and [2]; [3, 3] would make it six tokens
        held.states(**padded([np.array([5, 5, 5]), np.array([4, 4])]))
        assert asked == [2, 2, 1]

    def test_a_row_that_is_padded_on_the_left_is_computed(self) -> None:
        held, asked = self.states([np.array([1, 2])])
        held.states(torch.tensor([[0, 1, 2]]), torch.tensor([[0, 1, 1]]))
        assert asked == [1] and held.kept == 1
