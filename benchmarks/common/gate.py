"""Stops a training loop between its steps until the parent wants more of them, and times those that it wanted.

A `Trainer` cannot be asked for ten steps at a time; its callback at the end of a step can wait. What lies between two
such ends is a whole step as a user has it: fetching and padding the batch, forward, backward, clipping, optimiser,
schedule. Ours is timed between the same points. Not here: the loops.

Example:
    >>> gate = Gate(channel)                                    # doctest: +SKIP
    >>> gate.watch(model)                                       # doctest: +SKIP
    >>> for event in loop.events():                             # doctest: +SKIP
    ...     if not gate.step_done():
    ...         break
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn

from tunelet.models.rates import faster_precision

from . import roofline
from .rate import matmul_rate
from .worker import Channel


class Gate:
    """The place between two steps.

    Args:
        channel: to the parent. The orders are ``{"steps": n}``, answered with seconds, steps, texts, tokens (real ones)
            and squares (of the texts' lengths, summed), ``{"rate": seconds}``, answered with `matmul_rate`, and
            ``{"roofline": seconds}``, answered with `roofline.measure`.

    Attributes:
        facts: told with the first answer, which comes without an order after the first step, when all is warm.
    """

    def __init__(self, channel: Channel) -> None:
        self.facts: dict[str, str] = {}
        self._channel = channel
        self._orders = channel.orders()
        self._left, self._steps = 1, 0
        self._masks: list[Tensor] = []
        self._started = 0.0

    def watch(self, model: nn.Module) -> None:
        """Look at the attention mask of every forward pass. Masks are kept and counted after the clock has stopped."""

        def seen(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            self._masks.append(keywords["attention_mask"])

        model.register_forward_pre_hook(seen, with_kwargs=True)

    def step_done(self) -> bool:
        """To be called at the end of every step; waits where nothing more is wanted. False: training is to end."""
        self._left -= 1
        if self._left:
            return True
        _settle()
        block = self._block(time.perf_counter() - self._started)
        self._channel.answer(block if self._steps else self.facts)
        for order in self._orders:
            if "steps" in order:
                self._left = self._steps = int(order["steps"])
                self._started = time.perf_counter()
                return True
            if "roofline" in order:
                self._channel.answer(roofline.measure(order["roofline"]))
            else:
                self._channel.answer({name: _rate(name, kind, order["rate"]) for name, kind in _KINDS.items()})
        return False

    def _block(self, seconds: float) -> dict[str, Any]:
        lengths = [length for mask in self._masks for length in mask.sum(1).tolist()]
        self._masks.clear()
        return {
            "seconds": seconds,
            "steps": self._steps,
            "texts": len(lengths),
            "tokens": sum(lengths),
            "squares": sum(length * length for length in lengths),
        }


_KINDS = {"bf16": torch.bfloat16, "fp32": torch.float32}


def _rate(name: str, kind: torch.dtype, seconds: float) -> float:
    """`matmul_rate`; of a type that the processor has to emulate with smaller matrices, which else take seconds."""
    slow = name == "bf16" and faster_precision() == "fp32"
    return matmul_rate(kind, seconds, size=512 if slow else None)


def _settle() -> None:
    """Wait for work that an accelerator has queued."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
