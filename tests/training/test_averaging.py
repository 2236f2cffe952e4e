"""The average is the recurrence that it says, goes into the model for a block, and leaves no trace there."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from tunelet.training.averaging import WeightAverage


class Holder:
    """The weights of a model, by name, as `Tuned` gives and takes them."""

    def __init__(self, **weights: torch.Tensor) -> None:
        self.weights = {name: torch.nn.Parameter(tensor) for name, tensor in weights.items()}

    def trainable_state(self) -> dict[str, torch.Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.weights.items()}

    def load_trainable_state(self, state: Mapping[str, torch.Tensor]) -> None:
        assert state.keys() == self.weights.keys()
        with torch.no_grad():
            for name, tensor in self.weights.items():
                tensor.copy_(state[name])


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_the_average_is_its_recurrence(decay: float) -> None:
    generator = torch.Generator().manual_seed(0)
    average = WeightAverage(decay)
    expected = None
    for _ in range(20):
        weights = torch.randn(3, 4, generator=generator)
        average.update({"w": weights})
        double = weights.double()
        expected = double if expected is None else decay * expected + (1 - decay) * double
    assert expected is not None
    torch.testing.assert_close(average.weights["w"].double(), expected, rtol=1e-5, atol=1e-6)


def test_it_keeps_copies_without_gradients() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    average = WeightAverage(0.5)
    average.update({"w": weight})
    with torch.no_grad():
        weight.zero_()
    assert average.weights["w"].tolist() == [1.0, 1.0]
    average.update({"w": weight})
    assert average.weights["w"].tolist() == [0.5, 0.5]
    assert weight.tolist() == [0.0, 0.0]
    assert not average.weights["w"].requires_grad


def test_the_trained_weights_come_back_bit_for_bit() -> None:
    holder = Holder(w=torch.tensor([0.1, -3e-39, 7.0]))
    before = holder.trainable_state()
    average = WeightAverage(0.9, {"w": torch.tensor([1.0, 2.0, 3.0])})
    with average.applied(holder):
        assert holder.weights["w"].tolist() == [1.0, 2.0, 3.0]
    assert torch.equal(holder.weights["w"], before["w"])
    assert average.weights["w"].tolist() == [1.0, 2.0, 3.0]


def test_they_come_back_after_an_error_too() -> None:
    holder = Holder(w=torch.tensor([0.5]))
    with pytest.raises(ZeroDivisionError), WeightAverage(0.9, {"w": torch.ones(1)}).applied(holder):
        raise ZeroDivisionError
    assert holder.weights["w"].tolist() == [0.5]


def test_without_an_average_the_model_is_left_alone() -> None:
    holder = Holder(w=torch.tensor([0.5]))
    with WeightAverage(0.9).applied(holder):
        assert holder.weights["w"].tolist() == [0.5]


def test_a_restored_average_goes_on_as_before() -> None:
    steps = [{"w": torch.full((2,), float(i))} for i in range(6)]
    through, first = WeightAverage(0.9), WeightAverage(0.9)
    for weights in steps:
        through.update(weights)
    for weights in steps[:3]:
        first.update(weights)
    second = WeightAverage(0.9, {name: tensor.clone() for name, tensor in first.weights.items()})
    for weights in steps[3:]:
        second.update(weights)
    assert torch.equal(through.weights["w"], second.weights["w"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_average_restored_on_the_cpu_follows_weights_on_the_gpu() -> None:
    average = WeightAverage(0.5, {"w": torch.zeros(2)})
    average.update({"w": torch.ones(2, device="cuda")})
    assert average.weights["w"].cpu().tolist() == [0.5, 0.5]
