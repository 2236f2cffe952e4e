"""Several models computed together: what each would compute alone, with the base held once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fast_models import assert_same_gradients, batch, classifier, engine_of, loss_of, stir
from tunelet.tuning.fast import attention
from tunelet.tuning.fast.engine import draw_number
from tunelet.tuning.fast.group import FastGroup

DROPOUT = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.1}
KINDS: dict[str, dict[str, Any]] = {
    "qv": {"targets": "qv", "rank": 2, "dropout": 0.3},
    "qv of rank 2 again": {"targets": "qv", "rank": 2, "dropout": 0.3},
    "qkv": {"targets": "qkv", "rank": 3, "dropout": 0.3},
    "all": {"targets": "all", "rank": 4, "dropout": 0.1},
    "all without dropout": {"targets": "all", "rank": 4, "dropout": 0.0},
    "all of rank 1": {"targets": "all", "rank": 1, "dropout": 0.3},
}


def models(kinds: list[str], dtype: torch.dtype = torch.float32, *, shared: bool = True, **changes: Any) -> list[Any]:
    """Models over one base, each with an adapter and a head of its own, each on the fast path."""
    made = []
    for number, kind in enumerate(kinds):
        model = classifier(**KINDS[kind], **{**DROPOUT, **changes})
        torch.manual_seed(100 + number)
        stir(model)
        engine_of(model, dtype, seed=number % 2, shared_masks=shared)
        made.append(model)
    return made


def engines(made: list[Any]) -> list[Any]:
    return [model.get_base_model().bert.forward.__self__ for model in made]


def alone(model: Any, seed: int, inputs: dict[str, Tensor]) -> Tensor:
    torch.manual_seed(seed)
    return loss_of(model, inputs)


def together(group: FastGroup, made: list[Any], seeds: list[int], inputs: dict[str, Tensor]) -> list[Tensor]:
    numbers, states = [], []
    for seed in seeds:
        torch.manual_seed(seed)
        numbers.append(draw_number())
        states.append(torch.get_rng_state())
    losses = []
    with group.joint(range(len(made)), numbers):
        for model, state in zip(made, states, strict=True):
            torch.set_rng_state(state)
            losses.append(loss_of(model, inputs))
    return losses


def gradients(model: Any) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad and p.grad is not None}


def compare(
    kinds: list[str], inputs: dict[str, Tensor], make: Callable[..., list[Any]] = models, **changes: Any
) -> FastGroup:
    apart, joined = make(kinds, **changes), make(kinds, **changes)
    group = FastGroup(engines(joined))
    seeds = [7 + 3 * number for number in range(len(kinds))]
    losses = together(group, joined, seeds, inputs)
    torch.stack(losses).sum().backward()
    for model, own, seed, loss in zip(apart, joined, seeds, losses, strict=True):
        expected = alone(model, seed, inputs)
        expected.backward()
        torch.testing.assert_close(loss, expected, atol=2e-5, rtol=2e-5)
        assert_same_gradients(gradients(own), gradients(model), tolerance=1e-4)
    return group


@pytest.mark.parametrize("shape", [(1, 1, False), (3, 7, True), (4, 9, False)], ids=str)
@pytest.mark.parametrize("shared", [True, False], ids=["one mask", "a mask each"])
def test_a_group_computes_what_each_model_computes_alone(shape: tuple[int, int, bool], shared: bool) -> None:
    rows, length, padded = shape
    compare(list(KINDS), batch(rows, length, padded=padded), shared=shared)


@settings(max_examples=12, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=4),
    rows=st.integers(1, 4),
    length=st.integers(1, 9),
    padded=st.booleans(),
)
def test_any_models_any_batch(kinds: list[str], rows: int, length: int, padded: bool) -> None:
    compare(kinds, batch(rows, length, padded=padded))


def test_scores_in_pieces_have_the_masks_that_they_have_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "PIECE", 3 * 20 * 20)  # 3 of the 12 groups of a model, 36 of all
    compare(["qkv", "all", "qv"], batch(3, 20, padded=True))


def test_a_single_model_of_a_group_answers_and_trains_alone() -> None:
    apart, joined = models(["qkv", "all"]), models(["qkv", "all"])
    FastGroup(engines(joined))
    inputs = batch(3, 7, padded=True)
    for model, own in zip(apart, joined, strict=True):
        torch.testing.assert_close(alone(own, 5, inputs), alone(model, 5, inputs), atol=2e-5, rtol=2e-5)
        model.eval(), own.eval()
        with torch.inference_mode():
            torch.testing.assert_close(own(**inputs).logits, model(**inputs).logits, atol=2e-5, rtol=2e-5)


def test_evaluation_inside_a_joint_pass_is_alone() -> None:
    made = models(["qkv", "all"])
    group = FastGroup(engines(made))
    inputs = batch(3, 7, padded=True)
    made[1].eval()
    with torch.no_grad():
        expected = made[1](**inputs).logits
    with group.joint([0, 1], [1, 2]), torch.no_grad():
        torch.testing.assert_close(made[1](**inputs).logits, expected)


def test_part_of_a_group_goes_on_without_the_rest() -> None:
    kinds = ["qv", "qkv", "all"]
    apart, joined = models(kinds), models(kinds)
    group = FastGroup(engines(joined))
    inputs = batch(2, 6, padded=True)
    torch.manual_seed(9)
    number = draw_number()
    state = torch.get_rng_state()
    with group.joint([0, 2], [number, number]):
        for index in (0, 2):
            torch.set_rng_state(state)
            found = loss_of(joined[index], inputs)
            torch.testing.assert_close(found, alone(apart[index], 9, inputs), atol=2e-5, rtol=2e-5)


def test_the_base_is_held_once() -> None:
    made = models(list(KINDS))
    FastGroup(engines(made))
    first = {p.data_ptr() for p in made[0].get_base_model().bert.parameters() if not p.requires_grad}
    for model in made[1:]:
        pooler = model.get_base_model().bert.pooler
        own = {p.data_ptr() for p in pooler.parameters()}
        frozen = {p.data_ptr() for p in model.get_base_model().bert.parameters() if not p.requires_grad}
        assert frozen - own <= first


def test_a_step_of_one_optimiser_changes_one_model() -> None:
    made = models(["qkv", "qkv"])
    group = FastGroup(engines(made))
    inputs = batch(2, 5, padded=False)
    before = [loss.item() for loss in together(group, made, [1, 2], inputs)]
    with torch.no_grad():
        for name, parameter in made[1].named_parameters():
            if ".lora_B." in name:
                parameter.mul_(3.0)
    after = [loss.item() for loss in together(group, made, [1, 2], inputs)]
    assert after[0] == before[0] and after[1] != before[1]


def test_bf16_groups_stay_near() -> None:
    kinds = ["qkv", "all"]
    inputs = batch(3, 7, padded=True)
    exact, rough = models(kinds), models(kinds, torch.bfloat16)
    group = FastGroup(engines(rough))
    for model, loss in zip(exact, together(group, rough, [4, 4], inputs), strict=True):
        assert loss.item() == pytest.approx(alone(model, 4, inputs).item(), abs=0.5, rel=0.05)


REFUSED: dict[str, tuple[Callable[[], list[Any]], str]] = {
    "another base": (lambda: [*models(["qkv"]), *_of_seed(5)], "frozen weights in layer 0"),
    "another dropout": (lambda: [*models(["qkv"]), *models(["qkv"], hidden_dropout_prob=0.4)], "another dropout"),
    "masks shared otherwise": (lambda: [*models(["qkv"]), *models(["qkv"], shared=False)], "shares dropout masks"),
    "full fine-tuning": (lambda: [*models(["qkv"]), *_full()], "embeddings train"),
    "another type": (lambda: [*models(["qkv"]), *models(["qkv"], torch.bfloat16)], "another type"),
    "a bias that trains": (lambda: [*models(["qkv"]), *_with_bias()], "weights or biases of the base train"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_computed_together_is_refused(case: str) -> None:
    make, sentence = REFUSED[case]
    made = make()
    own = [(model.get_base_model() if hasattr(model, "get_base_model") else model).bert for model in made]
    with pytest.raises(ValueError, match=rf"model 2 of the group: .*{sentence}"):
        FastGroup([backbone.forward.__self__ for backbone in own])


def test_different_batches_in_a_joint_pass_are_refused() -> None:
    made = models(["qkv", "qv"])
    group = FastGroup(engines(made))
    with group.joint([0, 1], [1, 2]):
        made[0](**batch(2, 5, padded=False))
        with pytest.raises(RuntimeError, match="different batches"):
            made[1](**batch(2, 5, padded=False))


def _of_seed(seed: int) -> list[Any]:
    model = classifier("qkv", seed=seed, **DROPOUT)
    engine_of(model)
    return [model]


def _full() -> list[Any]:
    model = classifier("full", **DROPOUT)
    engine_of(model)
    return [model]


def _with_bias() -> list[Any]:
    model = classifier("qkv", **DROPOUT)
    model.get_base_model().bert.encoder.layer[1].output.dense.bias.requires_grad_(True)
    engine_of(model)
    return [model]
