"""What a run will cost, from a few of its own steps, before it is begun.

Memory is counted on the largest batch that the caller gives, so it is exact for that batch (`memory.py`). Time is a
forecast: a step of typical size is timed a few times, the largest once, a forward pass once, and the rest is
multiplication. How far the timings agreed among themselves is told with the result, because a busy machine makes any
forecast a guess. Nothing is kept: weights and random streams are put back.

Example:
    >>> lengths = [64, 80, 96, 512]                      # padded tokens of each batch of an epoch
    >>> typical, largest = pick_batches(lengths)
    >>> typical, largest
    (2, 3)
    >>> forecast = estimate(                             # doctest: +SKIP
    ...     model, make_optimizer, loss, typical=batches[2], largest=batches[3], total_steps=400, tokens_per_step=188
    ... )
    >>> forecast.seconds, forecast.trust                 # doctest: +SKIP
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from tunelet.base.errors import InputError
from tunelet.training.memory import MemoryBreakdown, measure_memory, preserved_rng

Batch = TypeVar("Batch")
"""Whatever the loss function takes; a dictionary of tensors with "input_ids" for text."""

REPEATS = 3
"""Timed steps on the typical batch."""

MARGIN = 0.15
"""Least relative distance between the forecast and its bounds: a run warms up, saves and shares its machine."""


@dataclass(frozen=True)
class Estimate:
    """A forecast of one run.

    Attributes:
        parameters: Numbers in the model, each tensor counted once (PEFT holds the frozen original of a trained head
            beside it; `tuning.trainable` counts a head once).
        trainable: Those among them that training changes.
        memory: One training step on the largest batch.
        train_seconds: All planned steps.
        evaluation_seconds: All planned evaluations.
        seconds_low: Lower bound of `seconds`: the fastest timed rate, and the fewest steps that early stopping allows.
        seconds_high: Upper bound of `seconds`.
        step_seconds: The timings of the typical batch that the forecast stands on.
        trust: A sentence: how far these can be trusted, and why.
    """

    parameters: int
    trainable: int
    memory: MemoryBreakdown
    train_seconds: float
    evaluation_seconds: float
    seconds_low: float
    seconds_high: float
    step_seconds: tuple[float, ...]
    trust: str

    @property
    def seconds(self) -> float:
        """Training and evaluation, if no early stopping ends the run."""
        return self.train_seconds + self.evaluation_seconds

    def to_json(self) -> dict[str, Any]:
        """All fields, `seconds` included, under the names of this class."""
        return {
            "parameters": self.parameters,
            "trainable": self.trainable,
            "memory": self.memory.to_json(),
            "seconds": self.seconds,
            "train_seconds": self.train_seconds,
            "evaluation_seconds": self.evaluation_seconds,
            "seconds_low": self.seconds_low,
            "seconds_high": self.seconds_high,
            "step_seconds": list(self.step_seconds),
            "trust": self.trust,
        }


def pick_batches(padded_tokens: Sequence[int]) -> tuple[int, int]:
    """Indices of the batch nearest to the mean size, and of the largest.

    Args:
        padded_tokens: Of each batch of an epoch, the tokens that are computed on: examples x padded length.

    Raises:
        InputError: There is no batch.
    """
    if not padded_tokens:
        raise InputError("no batch to estimate from: the training split is empty")
    mean = sum(padded_tokens) / len(padded_tokens)
    indices = range(len(padded_tokens))
    return min(indices, key=lambda i: abs(padded_tokens[i] - mean)), max(indices, key=lambda i: padded_tokens[i])


def estimate(
    model: nn.Module,
    make_optimizer: Callable[[], torch.optim.Optimizer],
    loss: Callable[[Batch], Tensor],
    *,
    typical: Batch,
    largest: Batch,
    total_steps: int,
    tokens_per_step: float,
    evaluation_tokens: int = 0,
    least_steps: int | None = None,
    size: Callable[[Batch], int] | None = None,
    working: Callable[[], Iterable[Tensor]] = tuple,
    clock: Callable[[], float] = time.perf_counter,
) -> Estimate:
    """Forecast memory and time of a run by taking a few of its steps.

    Takes two steps on the largest batch (the first only warms up), `REPEATS` on the typical one, and one forward pass
    without gradients, then puts weights, gradients and random streams back. Time is taken to be linear in the padded
    tokens of a batch; attention's quadratic share makes that slightly wrong for long texts.

    Args:
        model: In the state in which it would be trained, on its device.
        make_optimizer: Makes a new optimiser over the trained parameters; it is thrown away.
        loss: Runs the forward pass on one batch, under the autocast of the run if it has one.
        typical: A batch of mean size (`pick_batches`).
        largest: The largest batch of the run; may be the same.
        total_steps: Planned steps of one batch each (so times the accumulated batches, if gradients are accumulated).
        tokens_per_step: Mean padded tokens of a batch over the whole run.
        evaluation_tokens: Padded tokens of all evaluations together.
        least_steps: Steps before early stopping can end the run; None: it cannot.
        size: Padded tokens of a batch; by default the number of elements of its "input_ids".
        working: What training holds beside the model's own tensors, asked after the first step (`measure_memory`).
        clock: Seconds from any origin; for tests.
    """
    count = size or _padded_tokens
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    timer = _Timer(loss, clock, next(model.parameters()).device)
    with preserved_rng(model), _restored(model, trained):
        optimizer = make_optimizer()
        timer.step(optimizer, largest)  # first use of every kernel: not a timing to go by
        memory = measure_memory(model, optimizer, lambda: loss(largest), working=working())
        large = timer.step(optimizer, largest)
        repeats = tuple(timer.step(optimizer, typical) for _ in range(REPEATS))
        forward = timer.forward(typical) if evaluation_tokens else 0.0

    batch_seconds = _at(tokens_per_step, (count(typical), median(repeats)), (count(largest), large))
    train = batch_seconds * total_steps
    evaluation = forward * evaluation_tokens / count(typical)
    spread = (max(repeats) - min(repeats)) / median(repeats) if median(repeats) > 0 else 0.0
    share = 1.0 if least_steps is None else min(1.0, least_steps / max(1, total_steps))
    relative = max(MARGIN, spread)
    return Estimate(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        trainable=sum(parameter.numel() for parameter in trained),
        memory=memory,
        train_seconds=train,
        evaluation_seconds=evaluation,
        seconds_low=(train + evaluation) * share / (1 + relative),
        seconds_high=(train + evaluation) * (1 + relative),
        step_seconds=repeats,
        trust=_trust(spread, early=least_steps is not None and share < 1),
    )


def _at(tokens: float, typical: tuple[int, float], largest: tuple[int, float]) -> float:
    """Seconds of a batch of `tokens`, on the line through the two timed sizes.

    Where the line makes no sense (equal sizes, or the larger was the faster, which noise can do to small batches) the
    time is taken to be in proportion to the tokens.
    """
    (few, seconds), (many, more) = typical, largest
    if many > few and more > seconds:
        guess = seconds + (more - seconds) * (tokens - few) / (many - few)
        if guess > 0:
            return guess
    return seconds * tokens / few


def _trust(spread: float, *, early: bool) -> str:
    level = "good" if spread < 0.1 else "fair" if spread < 0.3 else "poor"
    reason = f"{REPEATS} timed steps of typical size differed by {spread:.0%}"
    if level == "poor":
        reason += "; something else is using this machine, so take the time as an order of magnitude"
    if early:
        reason += "; early stopping may end the run sooner, which the lower bound allows for"
    return f"memory: exact for the largest batch. time: {level} ({reason})."


class _Timer(Generic[Batch]):
    """Takes steps and says how long they took, the device's queue drained."""

    def __init__(self, loss: Callable[[Batch], Tensor], clock: Callable[[], float], device: torch.device) -> None:
        self._loss = loss
        self._clock = clock
        self._device = device

    def step(self, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
        start = self._now()
        self._loss(batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        return self._now() - start

    def forward(self, batch: Batch) -> float:
        start = self._now()
        with torch.inference_mode():
            self._loss(batch)
        return self._now() - start

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return self._clock()


@contextmanager
def _restored(model: nn.Module, trained: Sequence[nn.Parameter]) -> Iterator[None]:
    """Put trained weights, their gradients and all buffers back on leaving."""
    changing = [*trained, *model.buffers()]
    before = [tensor.detach().clone() for tensor in changing]
    gradients = [parameter.grad for parameter in trained]
    for parameter in trained:
        parameter.grad = None
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(changing, before, strict=True):
                tensor.copy_(value)
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.grad = gradient


def _padded_tokens(batch: Any) -> int:
    if isinstance(batch, Mapping) and isinstance(batch.get("input_ids"), Tensor):
        return int(batch["input_ids"].numel())
    raise TypeError("a batch without 'input_ids' needs the argument size=")
