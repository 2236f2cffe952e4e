"""Losses equal their definitions, in fp32, for one label and for several."""

from __future__ import annotations

import math

import pytest
import torch

from tunelet.training.losses import classification_loss


def test_one_label_is_the_mean_negative_log_probability() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    labels = torch.tensor([1, 2])
    first = -math.log(math.exp(2) / (math.exp(1) + math.exp(2) + 1))
    assert classification_loss(logits, labels).item() == pytest.approx((first + math.log(3)) / 2, rel=1e-6)


def test_several_labels_are_the_mean_binary_cross_entropy() -> None:
    logits = torch.tensor([[0.0, 3.0], [-1.0, 0.5]])
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    terms = [
        -math.log(1 / (1 + math.exp(-x))) if y else -math.log(1 - 1 / (1 + math.exp(-x)))
        for x, y in zip(logits.flatten().tolist(), labels.flatten().tolist(), strict=True)
    ]
    assert classification_loss(logits, labels).item() == pytest.approx(sum(terms) / 4, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_smoothing_mixes_the_target_with_the_even_distribution(smoothing: float) -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 2, 1, 1])
    target = torch.nn.functional.one_hot(labels, 3) * (1 - smoothing) + smoothing / 3
    expected = -(target * logits.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(classification_loss(logits, labels, smoothing=smoothing), expected)


def test_smoothing_of_several_labels_draws_targets_towards_one_half() -> None:
    logits = torch.tensor([[2.0, -2.0]])
    soft = classification_loss(logits, torch.tensor([[0.9, 0.1]]))
    torch.testing.assert_close(classification_loss(logits, torch.tensor([[1.0, 0.0]]), smoothing=0.2), soft)


@pytest.mark.parametrize("labels", [torch.tensor([1, 0]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_logits_are_lifted_before_anything_is_computed(labels: torch.Tensor, dtype: torch.dtype) -> None:
    logits = torch.tensor([[0.1, 0.3], [5.0, -7.0]]).to(dtype)
    loss = classification_loss(logits, labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, classification_loss(logits.float(), labels), rtol=0, atol=0)


def test_it_is_finite_at_the_ends_and_carries_a_gradient() -> None:
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    for labels in (torch.tensor([1]), torch.tensor([[0.0, 1.0]])):
        loss = classification_loss(logits, labels)
        assert loss.ndim == 0
        assert math.isfinite(loss.item())
        (gradient,) = torch.autograd.grad(loss, logits)
        assert gradient.abs().sum() > 0


def test_the_mean_is_over_the_examples() -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    parts = [classification_loss(logits[i : i + 1], labels[i : i + 1]) for i in range(6)]
    torch.testing.assert_close(classification_loss(logits, labels), torch.stack(parts).mean())
