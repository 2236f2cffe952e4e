"""What a run costs: seconds, steps, tokens and peak memory, each named for exactly what it is.

Rates use the seconds spent in training steps alone and the steps really taken; evaluation has a clock of its own.
(A rate of planned steps over the run time, evaluation and early stopping included, is easily mistaken for a speed.)
Tokens are real ones: padding is computed but not counted as work, its share is told beside it. The meter makes no
statement about single tensors: `memory.py` counts those.

Example:
    >>> meter = ResourceMeter("cpu")
    >>> with meter:
    ...     with meter.training():
    ...         meter.count_step(samples=16, tokens=300, padded_tokens=400)
    ...     with meter.evaluation():
    ...         pass
    >>> resources = meter.resources(trainable_parameters=10, total_parameters=1000, adapter_bytes=123)
    >>> resources.steps, resources.padding_share, resources.trainable_share
    (1, 0.25, 0.01)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import torch

from tunelet.base.errors import ResumeError
from tunelet.training.memory import MemoryBreakdown

MemoryKind = Literal["cuda allocated", "resident set", "resident set since process start", "not measured"]
"""What a peak is a peak of. "resident set" starts at the meter's start, with what the process held by then."""


@dataclass(frozen=True)
class Resources:
    """The cost of one run. Counts and seconds are stored, rates follow from them.

    Attributes:
        train_seconds: In training steps: forward, backward, optimiser, batch assembly.
        evaluation_seconds: In evaluations during the run.
        wall_seconds: From start to end, saving and everything else included; over all sessions of a resumed run.
        steps: Optimiser steps really taken.
        samples: Examples seen in training, repetitions counted.
        tokens: Real tokens seen in training.
        padded_tokens: The same with padding, i.e. what was computed on.
        peak_memory_bytes: Peak of `peak_memory_kind`.
        peak_reserved_bytes: On CUDA what the caching allocator took from the device at its peak; None elsewhere.
        trainable_parameters: Numbers that training changes, the head counted once.
        total_parameters: All numbers of the model, adapter and head included, each counted once.
        adapter_bytes: Size on disk of what the run leaves to be used.
        memory: Breakdown of one training step, or None if it was not measured.
    """

    train_seconds: float
    evaluation_seconds: float
    wall_seconds: float
    steps: int
    samples: int
    tokens: int
    padded_tokens: int
    peak_memory_bytes: int
    peak_memory_kind: MemoryKind
    peak_reserved_bytes: int | None
    trainable_parameters: int
    total_parameters: int
    adapter_bytes: int
    memory: MemoryBreakdown | None = None

    @property
    def padding_share(self) -> float:
        """Share of the computed tokens that were padding."""
        return _ratio(self.padded_tokens - self.tokens, self.padded_tokens)

    @property
    def steps_per_second(self) -> float:
        """Optimiser steps per second of training."""
        return _ratio(self.steps, self.train_seconds)

    @property
    def samples_per_second(self) -> float:
        """Examples per second of training."""
        return _ratio(self.samples, self.train_seconds)

    @property
    def tokens_per_second(self) -> float:
        """Real tokens per second of training."""
        return _ratio(self.tokens, self.train_seconds)

    @property
    def trainable_share(self) -> float:
        """Trained parameters divided by all of them."""
        return _ratio(self.trainable_parameters, self.total_parameters)

    def to_json(self) -> dict[str, Any]:
        """All counts, seconds and rates under the names of this class."""
        return {
            "train_seconds": self.train_seconds,
            "evaluation_seconds": self.evaluation_seconds,
            "wall_seconds": self.wall_seconds,
            "steps": self.steps,
            "samples": self.samples,
            "tokens": self.tokens,
            "padded_tokens": self.padded_tokens,
            "padding_share": self.padding_share,
            "steps_per_second": self.steps_per_second,
            "samples_per_second": self.samples_per_second,
            "tokens_per_second": self.tokens_per_second,
            "peak_memory_bytes": self.peak_memory_bytes,
            "peak_memory_kind": self.peak_memory_kind,
            "peak_reserved_bytes": self.peak_reserved_bytes,
            "trainable_parameters": self.trainable_parameters,
            "total_parameters": self.total_parameters,
            "trainable_share": self.trainable_share,
            "adapter_bytes": self.adapter_bytes,
            "memory": self.memory.to_json() if self.memory is not None else None,
        }


@dataclass
class _Totals:
    """What a resumed run adds to. Every field is saved, and has to be there on loading."""

    train_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    wall_seconds: float = 0.0
    steps: int = 0
    samples: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    peak_memory_bytes: int = 0
    peak_reserved_bytes: int = 0


@dataclass
class ResourceMeter:
    """Clocks, counters and memory peaks of one run, from entering the context to leaving it.

    `training()` and `evaluation()` are exclusive: an evaluation inside a stretch of training stops the training clock.
    The peaks are the process's (or the device's), so only one meter can be open at a time.

    Args:
        device: Where the model is. On CUDA the clocks wait for the device whenever they start or stop, so a stretch
            of training should be many steps long.
        clock: Seconds from any origin; for tests.
    """

    device: torch.device | str = "cpu"
    clock: Callable[[], float] = time.perf_counter
    _totals: _Totals = field(default_factory=_Totals, init=False, repr=False)
    _phases: list[str] = field(default_factory=list, init=False, repr=False)
    _phase_started: float = field(default=0.0, init=False, repr=False)
    _entered: float | None = field(default=None, init=False, repr=False)
    _kind: MemoryKind = field(default="not measured", init=False, repr=False)
    _device: torch.device = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._device = torch.device(self.device)

    def __enter__(self) -> ResourceMeter:
        self._kind = _reset_peak(self._device)
        self._entered = self.clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._settle()
        self._entered = None

    @contextmanager
    def training(self) -> Iterator[None]:
        """A stretch of training steps."""
        with self._phase("train"):
            yield

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """An evaluation; stops the training clock while it lasts."""
        with self._phase("evaluation"):
            yield

    def count_training(self, seconds: float) -> None:
        """Add seconds of training that were measured outside: this run's share of a step of several runs."""
        self._totals.train_seconds += seconds

    def count_step(self, *, samples: int, tokens: int, padded_tokens: int) -> None:
        """Add one optimiser step: its examples, its real tokens, and its tokens with padding."""
        self._totals.steps += 1
        self._totals.samples += samples
        self._totals.tokens += tokens
        self._totals.padded_tokens += padded_tokens

    def resources(
        self,
        *,
        trainable_parameters: int,
        total_parameters: int,
        adapter_bytes: int,
        memory: MemoryBreakdown | None = None,
    ) -> Resources:
        """The cost so far, this moment included while the context is open."""
        self._settle()
        return Resources(
            train_seconds=self._totals.train_seconds,
            evaluation_seconds=self._totals.evaluation_seconds,
            wall_seconds=self._totals.wall_seconds,
            steps=self._totals.steps,
            samples=self._totals.samples,
            tokens=self._totals.tokens,
            padded_tokens=self._totals.padded_tokens,
            peak_memory_bytes=self._totals.peak_memory_bytes,
            peak_memory_kind=self._kind,
            peak_reserved_bytes=self._totals.peak_reserved_bytes if self._device.type == "cuda" else None,
            trainable_parameters=trainable_parameters,
            total_parameters=total_parameters,
            adapter_bytes=adapter_bytes,
            memory=memory,
        )

    def state_dict(self) -> dict[str, int | float]:
        """The totals so far, ready for JSON. A run that goes on from here adds to them."""
        self._settle()
        return dict(vars(self._totals))

    def load_state_dict(self, state: Mapping[str, int | float]) -> None:
        """Go on from saved totals. Work that was done after they were saved, and is done again, counts once.

        Raises:
            ResumeError: A total is missing, or there is one that is not known.
        """
        expected = vars(_Totals())
        if state.keys() != expected.keys():
            raise ResumeError(
                f"saved resource totals: expected {sorted(expected)}, found {sorted(state)}; "
                "the state was written by another version: start the run anew in another folder"
            )
        self._totals = _Totals(**{name: type(expected[name])(value) for name, value in state.items()})

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        self._turn_over()
        self._phases.append(name)
        try:
            yield
        finally:
            self._turn_over()
            self._phases.pop()

    def _turn_over(self) -> None:
        """Give the time since the last turn to the innermost phase, and begin a new stretch."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # kernels that are still queued belong to the phase that queued them
        now = self.clock()
        if self._phases:
            elapsed = now - self._phase_started
            if self._phases[-1] == "train":
                self._totals.train_seconds += elapsed
            else:
                self._totals.evaluation_seconds += elapsed
        self._phase_started = now

    def _settle(self) -> None:
        """Bring clocks and peaks up to now. Nothing changes once the context is closed."""
        if self._entered is None:
            return
        self._turn_over()
        now = self.clock()
        self._totals.wall_seconds += now - self._entered
        self._entered = now
        allocated, reserved = _read_peak(self._device, self._kind)
        self._totals.peak_memory_bytes = max(self._totals.peak_memory_bytes, allocated)
        self._totals.peak_reserved_bytes = max(self._totals.peak_reserved_bytes, reserved)


def _reset_peak(device: torch.device) -> MemoryKind:
    """Start a new peak at what is held now, where the system allows that, and say what the peak will be of."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return "cuda allocated"
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: sets VmHWM to the present resident set
    except OSError:
        return "resident set since process start" if _rusage_peak() is not None else "not measured"
    return "resident set"


def _read_peak(device: torch.device, kind: MemoryKind) -> tuple[int, int]:
    """Bytes of the peak, and of the allocator's reservation at its peak (CUDA only, else 0)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
    if kind == "resident set":
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").split("\n"):
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024, 0
    return _rusage_peak() or 0, 0


def _rusage_peak() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
