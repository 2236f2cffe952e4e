"""The rescoring losses against plain sums over lists of numbers, and their gradients against differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tunelet.training.rescoring_losses import correlation, distillation, mwed, mwer

List = list[tuple[float, int]]
one_list = st.lists(st.tuples(st.floats(-40, 0), st.integers(0, 12)), min_size=1, max_size=6)
some_lists = st.lists(one_list, min_size=1, max_size=4)


def padded(lists: Sequence[List]) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, errors and mask; nonsense at padding."""
    width = max(len(row) for row in lists)
    scores = torch.full((len(lists), width), 1e6, dtype=torch.float64)
    errors = torch.full((len(lists), width), 1e3, dtype=torch.float64)
    mask = torch.zeros((len(lists), width), dtype=torch.bool)
    for i, row in enumerate(lists):
        for j, (score, error) in enumerate(row):
            scores[i, j], errors[i, j], mask[i, j] = score, error, True
    return scores, errors, mask


def softmax(values: Sequence[float]) -> list[float]:
    top = max(values)
    parts = [math.exp(value - top) for value in values]
    return [part / sum(parts) for part in parts]


@given(some_lists)
def test_mwer_is_the_expected_error_above_the_mean(lists: list[List]) -> None:
    expected = 0.0
    for row in lists:
        mean = sum(error for _, error in row) / len(row)
        expected += sum(p * (e - mean) for p, (_, e) in zip(softmax([s for s, _ in row]), row, strict=True))
    assert mwer(*padded(lists)).item() == pytest.approx(expected / len(lists), abs=1e-9)


@given(some_lists, st.sampled_from([1.0, 0.3, 7.0, "matched"]))
def test_mwed_is_the_divergence_of_two_softmaxes(lists: list[List], temperature: Any) -> None:
    expected = 0.0
    for row in lists:
        scores, errors = [s for s, _ in row], [float(e) for _, e in row]
        t = temperature
        if t == "matched":
            behind, worse = sum(max(scores) - s for s in scores), sum(e - min(errors) for e in errors)
            t = behind / worse if behind > 0 and worse > 0 else 1.0
        p, q = softmax([s / t for s in scores]), softmax([-e for e in errors])
        expected += sum(b * math.log(b / a) for a, b in zip(p, q, strict=True) if b > 0 and a > 0)
    found = mwed(*padded(lists), temperature=temperature).item()
    assert found == pytest.approx(expected / len(lists), rel=1e-6, abs=1e-7)
    assert found > -1e-9


@given(some_lists)
def test_distillation_is_the_mean_square_over_all_hypotheses(lists: list[List]) -> None:
    flat = [(score - error) ** 2 for row in lists for score, error in row]
    assert distillation(*padded(lists)).item() == pytest.approx(sum(flat) / len(flat))


@given(st.integers(2, 12), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_correlation_is_numpy_s(texts: int, width: int, seed: int) -> None:
    features = np.random.default_rng(seed).normal(size=(texts, width)) * 3 + 5
    matrix = np.corrcoef(features, rowvar=False)
    expected = np.square(matrix[~np.eye(width, dtype=bool)]).mean()
    assert correlation(torch.from_numpy(features)).item() == pytest.approx(expected, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("loss", [mwer, mwed, distillation], ids=["mwer", "mwed", "distillation"])
@settings(deadline=None, max_examples=20)
@given(lists=some_lists)
def test_gradients_are_those_of_small_differences(loss: Callable[..., Tensor], lists: list[List]) -> None:
    scores, errors, mask = padded(lists)
    scores.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(torch.where(mask, s, 0.0), errors, mask), (scores,), atol=1e-4)


def test_gradient_of_the_correlation_is_that_of_small_differences() -> None:
    features = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(correlation, (features,))


@pytest.mark.parametrize("temperature", [1.0, "matched"])
@pytest.mark.parametrize(
    ("scores", "errors"),
    [([[0.0, -3.0, -9.0]], [[0, 0, 0]]), ([[-5.0]], [[3]]), ([[0.0, 0.0]], [[1, 1]]), ([[-1e30, 0.0]], [[0, 4]])],
    ids=["no errors", "one hypothesis", "all alike", "far apart"],
)
def test_guards(scores: Any, errors: Any, temperature: Any) -> None:
    for loss in (mwer, lambda *given: mwed(*given, temperature=temperature)):
        s = torch.tensor(scores, requires_grad=True)
        found = loss(s, torch.tensor(errors))
        found.backward()
        assert math.isfinite(found.item())
        assert s.grad is not None and bool(s.grad.isfinite().all())
        if len(scores[0]) == 1:
            assert found.item() == 0.0 and not s.grad.any()
    if not any(errors[0]):
        assert mwer(torch.tensor(scores), torch.tensor(errors)).item() == 0.0


def test_padding_and_empty_lists_change_nothing() -> None:
    scores, errors = torch.tensor([[-1.0, -2.0]], dtype=torch.float64), torch.tensor([[0, 2]])
    wide = torch.tensor([[-1.0, -2.0, 50.0], [7.0, 8.0, 9.0]], dtype=torch.float64, requires_grad=True)
    costs, mask = torch.tensor([[0, 2, 9], [1, 2, 3]]), torch.tensor([[True, True, False], [False] * 3])
    for loss in (mwer, mwed, distillation):
        found = loss(wide, costs, mask)
        assert found.item() == pytest.approx(loss(scores, errors).item())
        (grad,) = torch.autograd.grad(found, wide)
        assert bool(grad.isfinite().all()) and not grad[~mask].any()


def test_correlation_of_too_little_is_zero() -> None:
    for shape in ((1, 4), (4, 1), (0, 3)):
        features = torch.ones(shape, requires_grad=True)
        found = correlation(features)
        found.backward()
        assert found.item() == 0.0
    constant = torch.ones(3, 4, requires_grad=True)
    correlation(constant).backward()
    assert constant.grad is not None and bool(constant.grad.isfinite().all())


def test_wrong_shapes_are_told() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\), \(1, 3\)"):
        mwer(torch.zeros(1, 2), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="no list"):
        mwer(torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="temperature"):
        mwed(torch.zeros(1, 2), torch.zeros(1, 2), temperature=0.0)
    with pytest.raises(ValueError, match="features"):
        correlation(torch.zeros(3))
