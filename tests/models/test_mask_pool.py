"""Dropout masks out of a pool: unbiased, unrelated to each other, and found again exactly."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tunelet.models.mask_pool import RENEW, STRIDE, MaskPool, Masks, PassDropout, drop

CPU = torch.device("cpu")


def pool(p: float = 0.1, dtype: torch.dtype = torch.float32, seed: int = 1, size: int = 1 << 16) -> MaskPool:
    return MaskPool(p, dtype, CPU, seed, size=size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_the_mean_is_one_and_kept_activations_have_one_scale(p: float, dtype: torch.dtype) -> None:
    numbers = pool(p, dtype, size=1 << 20).begin(1).numbers
    values = numbers.unique().tolist()
    assert numbers.dtype == dtype and len(values) == 2 and values[0] == 0.0
    assert values[1] == pytest.approx(1 / (1 - p), rel=2**-8 if dtype == torch.bfloat16 else 1e-3)
    spread = (p / (1 - p) / len(numbers)) ** 0.5
    # without rounding: the probability follows the rounded scale, so that the mean is one and not one plus an error
    assert numbers.double().mean().item() == pytest.approx(1.0, abs=5 * spread)


def test_any_two_sites_of_a_pass_are_unrelated() -> None:
    masks = pool(0.3, size=1 << 20).begin(5)
    count = 1 << 14
    drawn = torch.stack(
        [masks.slice(site, count) for site in range(40)] + [masks.slice(3, count, 1 + n) for n in range(9)]
    )
    correlation = torch.corrcoef(drawn)
    apart = correlation[~torch.eye(len(drawn), dtype=torch.bool)]
    assert apart.abs().max() < 6 / count**0.5


def test_successive_passes_are_unrelated() -> None:
    source = pool(0.3, size=1 << 20)
    count = 1 << 14
    drawn = torch.stack([source.begin(number).slice(0, count) for number in range(1, 40)])
    apart = torch.corrcoef(drawn)[~torch.eye(len(drawn), dtype=torch.bool)]
    assert apart.abs().max() < 6 / count**0.5


def test_neighbouring_rows_and_columns_are_unrelated() -> None:
    mask = pool(0.3, size=1 << 20).begin(5).slice(0, 512 * 384).view(512, 384)
    for a, b in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
        assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].abs() < 0.015


@settings(max_examples=60, deadline=None)
@given(
    number=st.integers(0, (1 << 62) - 1),
    site=st.integers(0, 1 << 20),
    part=st.integers(0, 1 << 16),
    count=st.integers(1, 20_000),
)
def test_a_slice_is_found_again_whatever_was_asked_for_in_between(
    number: int, site: int, part: int, count: int
) -> None:
    masks = pool(size=4096).begin(number)
    first = masks.slice(site, count, part).clone()
    masks.slice(site + 1, 3 * count)
    assert first.shape == (count,)
    assert masks.slice(site, count, part).equal(first)
    again = pool(size=4096).begin(number)
    again.slice(0, 50_000)
    assert again.slice(site, count, part).equal(first)


def test_what_fits_is_a_view_that_is_aligned_and_what_does_not_is_put_together() -> None:
    masks = pool(size=4096).begin(5)
    small, large = masks.slice(0, 2048), masks.slice(0, 10_000)
    assert small.untyped_storage().data_ptr() == masks.numbers.untyped_storage().data_ptr()
    assert small.storage_offset() % STRIDE == 0
    assert large.untyped_storage().data_ptr() != masks.numbers.untyped_storage().data_ptr()
    pieces = large[:8192].view(4, 2048)
    apart = torch.corrcoef(pieces)[~torch.eye(4, dtype=torch.bool)]
    assert apart.abs().max() < 0.5  # pieces may overlap by chance, but none is another one


def test_a_large_batch_in_the_middle_changes_no_mask_that_was_handed_out() -> None:
    source = pool(size=4096)
    masks = source.begin(5)
    handed = masks.slice(0, 2000)
    before = handed.clone()
    source.begin(6).slice(1, 100_000)
    source.begin(64 * 7).slice(0, 10)  # draws the pool anew
    assert handed.equal(before)
    assert masks.slice(0, 2000).equal(before)


def test_the_pool_is_drawn_anew_now_and_then() -> None:
    source = pool()
    first = source.begin(1).numbers
    assert source.begin(RENEW + 1).numbers is first
    second = source.begin(3 * RENEW).numbers
    assert not second.equal(first)
    assert source.seed == 3 * RENEW
    assert source.begin(2).numbers is second
    assert (first.eq(0) & second.eq(0)).double().mean().item() == pytest.approx(0.01, abs=0.003)


def test_from_its_seed_a_pool_goes_on_as_it_was() -> None:
    first, second = pool(), pool(seed=9)
    for number in (1, 2, RENEW, 7):
        first.begin(number)
    second.restart(first.seed)
    assert second.begin(11).slice(4, 100).equal(first.begin(11).slice(4, 100))


def test_a_pool_drawn_under_inference_mode_is_of_use_afterwards() -> None:
    with torch.inference_mode():
        masks = pool().begin(1)
    assert not masks.numbers.is_inference()


def test_drop_has_the_gradient_of_its_mask_and_keeps_nothing() -> None:
    masks = pool(0.5).begin(3)
    x = torch.randn(4, 8, requires_grad=True)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = drop(x, masks, 2)
    y.backward(torch.ones_like(y))
    assert kept == []
    mask = masks.slice(2, 32).view(4, 8)
    assert x.grad is not None and x.grad.equal(mask) and y.equal(x * mask)


def test_masks_differ_by_pass_site_and_part() -> None:
    numbers = pool().begin(1).numbers
    drawn = [
        Masks(numbers, number).slice(site, 256, part) for number in (1, 2) for site in (0, 1) for part in (0, 1, 2)
    ]
    assert all(not a.equal(b) for index, a in enumerate(drawn) for b in drawn[:index])


class TestPassDropout:
    CPU = torch.device("cpu")

    @pytest.mark.parametrize(("p", "training"), [(0.5, False), (0.0, True)])
    def test_without_anything_to_drop_nothing_is_drawn(self, p: float, training: bool) -> None:
        x, state = torch.randn(4, 8), torch.get_rng_state()
        assert PassDropout(p, training, self.CPU)(x) is x
        assert torch.get_rng_state().equal(state)

    def test_the_generator_decides_and_every_site_and_pass_has_masks_of_its_own(self) -> None:
        ones = torch.ones(64, 64)

        def twice() -> list[Tensor]:
            torch.manual_seed(3)
            return [
                site
                for _ in range(2)
                for dropout in [PassDropout(0.5, True, self.CPU)]
                for site in (dropout(ones), dropout(ones))
            ]

        first, again = twice(), twice()
        assert all(a.equal(b) for a, b in zip(first, again, strict=True))
        assert all(not a.equal(b) for index, a in enumerate(first) for b in first[:index])

    def test_the_mean_stays_and_the_gradient_has_the_same_mask(self) -> None:
        x = torch.ones(512, 512, requires_grad=True)
        y = PassDropout(0.1, True, self.CPU)(x)
        y.sum().backward()
        assert y.mean().item() == pytest.approx(1.0, abs=0.01)
        assert y.eq(0).double().mean().item() == pytest.approx(0.1, abs=0.005)
        assert x.grad is not None and x.grad.equal(y)
