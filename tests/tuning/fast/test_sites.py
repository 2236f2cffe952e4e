"""Products with updates inside them against the same written out, and reading members off a model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from fast_models import assert_same_gradients, classifier
from tunelet.tuning.fast.members import Member, member_of
from tunelet.tuning.fast.sites import Site

T, K = 11, 6


def member(kind: str, rows: int, seed: int) -> Member:
    """frozen, full, bias (trained alone), lora, lora+bias, lora-fa (A frozen)."""
    generator = torch.Generator().manual_seed(seed)

    def parameter(*shape: int, trains: bool) -> nn.Parameter:
        return nn.Parameter(torch.randn(*shape, generator=generator), requires_grad=trains)

    weight = parameter(rows, K, trains=kind == "full")
    bias = None if kind == "no bias" else parameter(rows, trains=kind == "full" or "bias" in kind)
    if "lora" not in kind:
        return Member(weight, bias)
    a = parameter(2 + seed % 2, K, trains=kind != "lora-fa")
    return Member(weight, bias, a, parameter(rows, len(a), trains=True), 0.5 + seed, 0.25)


def by_autograd(members: list[Member], x: Tensor, masks: list[Tensor]) -> Tensor:
    parts = []
    for index, one in enumerate(members):
        y = linear(x, one.weight, one.bias)
        if one.a is not None and one.b is not None:
            mask = masks[index if len(masks) > 1 else 0] if masks else torch.ones(())
            y = y + one.scaling * linear(linear(x * mask, one.a), one.b)
        parts.append(y)
    return torch.cat(parts, 1)


def refreshed(site: Site) -> Site:
    for place, parameter, factor in site.copies():
        place.copy_(parameter.detach() * factor)
    return site


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("need_dx", [True, False])
@pytest.mark.parametrize(
    "kinds",
    [
        ["frozen"],
        ["no bias"],
        ["full"],
        ["lora"],
        ["lora-fa"],
        ["lora+bias"],
        ["lora", "frozen", "lora"],
        ["lora", "lora", "lora"],
        ["full", "full", "full"],
        ["frozen", "bias", "lora-fa"],
        ["full", "lora", "lora-fa"],
    ],
    ids="-".join,
)
def test_a_site_is_its_members_side_by_side(kinds: list[str], need_dx: bool, shared: bool, masked: bool) -> None:
    members = [member(kind, 3 + index, index) for index, kind in enumerate(kinds)]
    site = refreshed(Site(members, torch.float32, shared_masks=shared))
    assert site.masks == (0 if not site.rank else 1 if shared else len(members))
    x = torch.randn(T, K, requires_grad=True)
    masks = [(torch.rand(T, K) > 0.25) / 0.75 for _ in range(site.masks if masked else 0)]
    dy = torch.randn(T, site.outputs)
    expected = by_autograd(members, x, masks)
    expected.backward(dy)
    with torch.no_grad():
        y, a = site.forward(x, masks)
        kept = x if site.needs_input else None
        dx, gradients = site.backward(dy, kept, a, masks, need_dx=need_dx)
    torch.testing.assert_close(y, expected.detach())
    assert (dx is None) is not need_dx
    if dx is not None:
        torch.testing.assert_close(dx, x.grad)
    assert len(gradients) == len(site.parameters)
    found = {str(index): gradient for index, gradient in enumerate(gradients)}
    assert_same_gradients(
        found, {str(i): p.grad for i, p in enumerate(site.parameters) if p.grad is not None}, tolerance=1e-5
    )


def test_where_nothing_needs_the_input_it_is_not_asked_for() -> None:
    needs = {kind: Site([member(kind, 3, 0)], torch.float32, shared_masks=True).needs_input for kind in KINDS}
    assert needs == {"frozen": False, "bias": False, "lora-fa": False, "lora": True, "full": True}


KINDS = ("frozen", "bias", "lora-fa", "lora", "full")


def test_frozen_weights_are_held_once_where_the_type_is_the_same() -> None:
    one = member("lora", 3, 0)
    before = one.weight.detach().clone()
    site = Site([one], torch.float32, shared_masks=True)
    assert one.weight.equal(before)
    assert one.weight.untyped_storage().data_ptr() == site.weight.untyped_storage().data_ptr()
    other = member("full", 3, 0)
    held = Site([other], torch.float32, shared_masks=True)
    assert other.weight.untyped_storage().data_ptr() != held.weight.untyped_storage().data_ptr()
    assert Site([member("lora", 3, 0)], torch.bfloat16, shared_masks=True).weight.dtype == torch.bfloat16


def test_copies_follow_what_trains_and_nothing_else() -> None:
    one, two = member("lora", 3, 0), member("frozen", 4, 1)
    site = refreshed(Site([one, two], torch.float32, shared_masks=True))
    with torch.no_grad():
        one.a.fill_(2.0)  # type: ignore[union-attr]
        one.b.fill_(3.0)  # type: ignore[union-attr]
    refreshed(site)
    assert site.factor.eq(2.0).all()
    assert site.weight[:3, K:].eq(3.0 * one.scaling).all()
    assert site.weight[3:, K:].eq(0.0).all()


class TestMembers:
    def first(self, **options: Any) -> tuple[Any, Any]:
        model = classifier("qv", **options)
        return model, model.get_base_model().bert.encoder.layer[0].attention.self.query

    def test_a_plain_layer(self) -> None:
        layer = nn.Linear(3, 2)
        found = member_of(layer)
        assert found is not None and found.weight is layer.weight and found.rank == 0 and found.in_force

    def test_a_layer_with_lora(self) -> None:
        _, query = self.first(dropout=0.3, rank=4)
        found = member_of(query)
        assert found is not None
        assert (found.rank, found.scaling, found.dropout) == (4, 2.0, 0.3)
        assert found.a is query.lora_A["default"].weight and found.weight is query.base_layer.weight

    def test_rslora_has_its_own_scaling(self) -> None:
        found = member_of(self.first(lora={"use_rslora": True})[1])
        assert found is not None and found.scaling == 8 / 4**0.5

    @pytest.mark.parametrize(
        "layer", [nn.Identity(), nn.Bilinear(2, 2, 2), nn.modules.linear.NonDynamicallyQuantizableLinear(2, 2)]
    )
    def test_what_is_no_linear_layer(self, layer: nn.Module) -> None:
        assert member_of(layer) is None

    @pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_bias": True}])
    def test_another_kind_of_lora(self, options: dict[str, Any]) -> None:
        assert member_of(self.first(lora=options)[1]) is None

    def test_it_knows_when_it_is_no_longer_in_force(self) -> None:
        model, query = self.first()
        found = member_of(query)
        assert found is not None and found.in_force
        with model.disable_adapter():
            assert not found.in_force and member_of(query) is None
        model.merge_adapter()
        assert not found.in_force and member_of(query) is None
        model.unmerge_adapter()
        assert found.in_force
