"""Several runs in one process, step by step side by side; where their batches agree, through one pass of the base.

Each run keeps a loop of its own: weights, optimiser, schedule, early stopping, log, saved states, random numbers. What
they share is the frozen base (`tuning.fast.group`), so a run ends with the weights that it would have alone, to
rounding. Runs may differ in rank, alpha, dropout, learning rate, targets and length; with another seed or batch size
they read other batches, and take their steps one after the other. Not here: which runs go together
(`systems.sweep`).

Example:
    >>> for number, event in LoopGroup(loops).events(): ...             # doctest: +SKIP
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType

import torch

from tunelet.training.events import Event, Note
from tunelet.training.loop import Draft, Loop
from tunelet.tuning.fast.engine import draw_number
from tunelet.tuning.fast.group import FastGroup


class RandomState:
    """The state of torch's generators, of one run: inside the context they are the run's own."""

    def __init__(self) -> None:
        self._own = _states()

    def __enter__(self) -> None:
        self._before = _states()
        _put(self._own)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._own = _states()
        _put(self._before)


class LoopGroup:
    """The loops of several runs.

    Args:
        loops: one of each run, on the fast path, over the same base and data.
        interrupted: asked after every step of all; True saves every state and raises KeyboardInterrupt.

    Raises:
        ValueError: the fast path cannot compute them together; the message says why.
    """

    def __init__(self, loops: Sequence[Loop], interrupted: Callable[[], bool] = lambda: False) -> None:
        self.loops = list(loops)
        self.interrupted = interrupted
        engines = [loop.tuned.engine for loop in loops]
        plain = [number for number, engine in enumerate(engines, start=1) if engine is None]
        if plain:
            raise ValueError(f"model {plain[0]} of the group: the fast path does not compute it")
        self.group = FastGroup([engine for engine in engines if engine is not None])
        self._random = [RandomState() for _ in self.loops]

    def restore(self) -> list[list[Note]]:
        """Go to each run's newest saved state, or to its start; what is worth telling, run by run."""
        notes = []
        for loop, random in zip(self.loops, self._random, strict=True):
            with random:
                notes.append(loop.restore())
        return notes

    def events(self) -> Iterator[tuple[int, Event]]:
        """Train all to their ends. A run that was saved earlier than the others catches up first.

        Yields:
            The run's number in `loops`, and its event.

        Raises:
            NonFiniteLossError: of one run; all go on from their last saved states another time.
            KeyboardInterrupt: `interrupted` said so; every state is saved.
        """
        for number, notes in enumerate(self.restore()):
            yield from ((number, note) for note in notes)
        left = [number for number, loop in enumerate(self.loops) if not loop.ended]
        while left:
            last = min(self.loops[number].step for number in left)
            yield from self._advance([number for number in left if self.loops[number].step == last])
            if self.interrupted():
                for number in left:
                    with self._random[number]:
                        self.loops[number].save()
                raise KeyboardInterrupt
            left = [number for number in left if not self.loops[number].ended]
        for loop in self.loops:
            loop.close()

    def _advance(self, numbers: Sequence[int]) -> Iterator[tuple[int, Event]]:
        """A step of each of these runs."""
        drafts = {}
        for number in numbers:
            with self._random[number]:
                drafts[number] = self.loops[number].begin()
        alike: dict[bytes, list[int]] = {}
        for number, draft in drafts.items():
            alike.setdefault(b"|".join(part.tobytes() for part in draft.parts), []).append(number)
        for together in alike.values():
            self._step(together, drafts)
        for number in numbers:
            loop = self.loops[number]
            yield number, loop.end(drafts[number])
            with self._random[number]:
                settled = list(loop.settle(lambda: False))
            yield from ((number, event) for event in settled)

    def _step(self, numbers: Sequence[int], drafts: dict[int, Draft]) -> None:
        """Gradients and new weights of runs whose batches are the same; each is given its share of the time."""
        started = time.perf_counter()
        first = self.loops[numbers[0]]
        for position, part in enumerate(drafts[numbers[0]].parts):
            batch = first.batch(part)
            losses = self._losses(numbers, batch)
            weights = [drafts[number].weight(drafts[number].parts[position]) for number in numbers]
            total = torch.stack([loss * weight for loss, weight in zip(losses, weights, strict=True)]).sum()
            first.accelerator.backward(total)
            for number, loss in zip(numbers, losses, strict=True):
                self.loops[number].count(drafts[number], part, float(loss.detach()), batch["attention_mask"])
        for number in numbers:
            with self._random[number]:
                self.loops[number].apply(drafts[number])
        seconds = (time.perf_counter() - started) / len(numbers)
        for number in numbers:
            self.loops[number].meter.count_training(seconds)

    def _losses(self, numbers: Sequence[int], batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        if len(numbers) == 1:
            with self._random[numbers[0]]:
                return [self.loops[numbers[0]].loss_of(batch)]
        passes = []
        for number in numbers:
            with self._random[number]:
                passes.append(draw_number())
        losses = []
        with self.group.joint(numbers, passes):
            for number in numbers:
                with self._random[number]:
                    losses.append(self.loops[number].loss_of(batch))
        return losses


def _states() -> list[torch.Tensor]:
    """Of the processor, and of each CUDA device."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])]


def _put(states: Sequence[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state_all(list(states[1:]))
