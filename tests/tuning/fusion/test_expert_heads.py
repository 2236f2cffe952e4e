"""Fusion over what experts say: even at the start, each text alone, whole experts left out while training."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from tunelet.base.errors import InputError
from tunelet.tuning.fusion.attention import OutputFusion
from tunelet.tuning.fusion.expert_heads import ExpertHeads, output_fusion, uneven
from tunelet.tuning.fusion.settings import FusionSettings

WIDTH, LABELS = 12, 3


def head_of(experts: int = 3, *, learned: bool = True, **more: Any) -> ExpertHeads:
    """`learned`: with numbers in place of the zeros that it starts with."""
    chosen = FusionSettings.model_validate({"kind": "heads", "query": "task", "heads": 2, **more})
    head = ExpertHeads(chosen, width=WIDTH, experts=experts, labels=LABELS, seed=1)
    if learned:
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in (head.says, head.query.weight, head.base.weight):
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return head.eval()


def vectors(batch: int, experts: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    drawn = torch.randn((batch, experts + 1, WIDTH), generator=torch.Generator().manual_seed(seed))
    return drawn[:, 1:], drawn[:, 0]


def test_it_starts_even_and_says_nothing() -> None:
    fused = head_of(learned=False)(*vectors(4))
    assert torch.equal(fused.logits, torch.zeros(4, LABELS))
    torch.testing.assert_close(fused.weights, torch.full((4, 3), 1 / 3))
    assert fused.heads.shape == (4, 2, 1, 3)


def test_even_weights_make_a_linear_layer_on_all_vectors_side_by_side() -> None:
    head = head_of(temperature=1e6)
    e, base = vectors(5)
    beside = torch.cat([head.norm_experts(e), head.norm_base(base)[:, None]], 1).flatten(1)  # (B, (K + 1) H)
    weight = torch.cat([*head.says, head.base.weight], 1)
    torch.testing.assert_close(head(e, base).logits, beside @ weight.T, atol=1e-3, rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(batch=st.integers(1, 6), experts=st.integers(1, 5), seed=st.integers(0, 99))
def test_an_answer_does_not_hang_on_who_else_is_in_the_batch(batch: int, experts: int, seed: int) -> None:
    head = head_of(experts)
    e, base = vectors(batch, experts, seed)
    whole = head(e, base)
    torch.testing.assert_close(whole.weights.sum(1), torch.ones(batch))
    for row in range(batch):
        alone = head(e[row : row + 1], base[row : row + 1])
        torch.testing.assert_close(alone.logits[0], whole.logits[row])
        torch.testing.assert_close(alone.weights[0], whole.weights[row])


def test_each_expert_and_the_base_change_the_answer_of_their_text_alone() -> None:
    head = head_of()
    e, base = vectors(4)
    before = head(e, base).logits
    for expert in range(4):
        changed, other = e.clone(), base.clone()
        (other if expert == 3 else changed[:, expert])[2] += torch.linspace(-1, 1, WIDTH)
        after = head(changed, other).logits
        assert (after[2] - before[2]).abs().max() > 1e-4
        assert torch.equal(after[[0, 1, 3]], before[[0, 1, 3]])


def test_whole_experts_are_left_out_in_training_alone() -> None:
    head = head_of(dropout=0.5, temperature=1e6)
    e, base = vectors(1)
    e, base = e.expand(4000, -1, -1), base.expand(4000, -1)
    with torch.no_grad():
        expected = head(e, base).logits[0]
        torch.manual_seed(0)
        drawn = head.train()(e, base).logits
    assert len(drawn.unique(dim=0)) == 2**3
    torch.testing.assert_close(drawn.mean(0), expected, atol=0.6, rtol=0.05)


def test_uneven_weights_cost_up_to_the_logarithm_of_their_number() -> None:
    assert uneven(torch.full((2, 4), 0.25)).item() == pytest.approx(0, abs=1e-6)
    assert uneven(torch.eye(4)).item() == pytest.approx(math.log(4), rel=1e-5)


def test_what_costs_unevenness_makes_attention_even() -> None:
    found = []
    e, base = vectors(64)
    gold = (e[:, 1, 0] > 0).long()  # the second expert alone knows
    for weight in (0.0, 20.0):
        head = head_of(learned=False, dropout=0.0).train()
        optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
        for _ in range(60):
            fused = head(e, base)
            optimizer.zero_grad()
            (torch.nn.functional.cross_entropy(fused.logits, gold) + weight * uneven(fused.weights)).backward()
            optimizer.step()
        assert all(parameter.grad is not None for parameter in head.parameters())
        found.append(head(e, base).weights.mean(0)[1].item())
    assert found[0] > 0.4 > found[1]


def test_the_settings_choose_which_fusion() -> None:
    sizes = {"width": WIDTH, "experts": 2, "labels": LABELS, "seed": 1}
    made = output_fusion(FusionSettings(kind="heads", query="task", heads=2), **sizes)
    assert isinstance(made, ExpertHeads)
    assert made.parameter_count == 2 * 2 * WIDTH + 2 * (WIDTH * WIDTH + WIDTH) + 3 * LABELS * WIDTH + LABELS
    assert isinstance(output_fusion(FusionSettings(heads=2), **sizes), OutputFusion)


def test_nothing_else_draws_from_another_s_random_numbers() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one = head_of(learned=False)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(one.key.weight, head_of(learned=False).key.weight)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"kind": "heads"}, "goes with query: task"),
    ({"kind": "heads", "query": "task", "head": "expert"}, "with residual: own alone"),
    ({"kind": "heads", "query": "task", "inner": 8}, "inner: null"),
    ({"kind": "mean", "evenness": 1.0}, "evenness is for"),
    ({"level": "layer", "evenness": 1.0}, "evenness is for"),
    ({"evenness": -1.0}, "evenness"),
]


@pytest.mark.parametrize(("given_", "told"), WRONG)
def test_settings_that_do_not_go_together_are_told(given_: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        FusionSettings.model_validate(given_)


class TestBesideTheOwnAdapter:
    SEEN = torch.randn((4, WIDTH), generator=torch.Generator().manual_seed(8))

    def test_its_layer_s_answers_are_added(self) -> None:
        head, (e, base) = head_of(residual="own", head="expert"), vectors(4)
        weight, bias = torch.randn(LABELS, WIDTH), torch.randn(LABELS)
        head.start_from(weight, bias)
        expected = head_of()(e, base).logits + self.SEEN @ weight.T + bias
        torch.testing.assert_close(head(e, base, self.SEEN).logits, expected)

    def test_while_training_it_is_left_out_for_some_texts(self) -> None:
        head = head_of(residual="own", learned=False, dropout=0.5).train()
        head.start_from(torch.zeros(LABELS, WIDTH), torch.ones(LABELS))
        torch.manual_seed(1)
        said = head(*vectors(400), self.SEEN.repeat(100, 1)).logits
        assert {0.0, 2.0} == {*said.unique().tolist()}
        assert said[:, 0].mean().item() == pytest.approx(1.0, abs=0.15)

    def test_what_cannot_be_is_told(self) -> None:
        with pytest.raises(InputError, match=r"needs vectors \(4, 12\) of the own adapter, found None"):
            head_of(residual="own")(*vectors(4))
        with pytest.raises(InputError, match="no layer to start"):
            head_of().start_from(torch.zeros(LABELS, WIDTH), None)
        with pytest.raises(InputError, match="take head: fresh"):
            head_of(residual="own").start_from(torch.zeros(LABELS + 1, WIDTH), None)


def test_wrong_shapes_are_told() -> None:
    with pytest.raises(InputError, match=r"expected \(3, 12\) experts and width"):
        head_of()(*vectors(2, experts=2))
    with pytest.raises(InputError, match="5 heads do not divide the width 12"):
        head_of(heads=5)
