"""Whether this machine multiplies matrices faster in bf16 or in fp32. What it reads first are facts: the processor's
list of instructions, or CUDA's word. Only where these do not settle it does it measure, for a fifth of a second.

A processor without bf16 instructions takes about ten times as long for a product in bf16 as in fp32, one that has them
half as long. Facts do not change between two runs, and a measurement needs a clear margin to choose bf16, so a machine
chooses the same each time. Not here: who asks (`systems.settled`, `tuning.inference`); torch, until it is needed.

Example:
    >>> faster_precision()                              # doctest: +SKIP
    'bf16'
    >>> chosen_precision().reason                       # doctest: +SKIP
    'the processor has avx512_bf16'
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

Precision = Literal["fp32", "bf16"]

#: flags of processors that multiply bf16 natively; Arm's list calls it bf16
NATIVE = ("avx512_bf16", "amx_bf16", "bf16")
#: bf16 is chosen by a measurement only if it is so many times as fast
MARGIN = 1.3
#: rows, inputs and outputs of the products that are timed: those of a small encoder and a short batch
SIZES = ((128, 384, 384), (128, 384, 1536), (128, 768, 768))
#: seconds of a measurement
SECONDS = 0.1


@dataclass(frozen=True)
class Rates:
    """Operations per second of a matrix product, two for each multiply-add; medians.

    Attributes:
        fp32, bf16: in each type.
        device: where.
        threads: of torch, on a processor.
    """

    fp32: float
    bf16: float
    device: str
    threads: int

    @property
    def gain(self) -> float:
        """How many times as fast bf16 is."""
        return self.bf16 / self.fp32


@dataclass(frozen=True)
class Choice:
    """The faster type, and why."""

    precision: Precision
    reason: str


def product_rates(
    seconds: float = SECONDS, device: str = "cpu", clock: Callable[[], float] = time.perf_counter
) -> Rates:
    """Time products of `SIZES` in both types, in turn, so that what else the machine does slows both alike.

    Args:
        seconds: to measure for; at least three rounds are timed, however long they take.
        device: "cpu" or "cuda".
        clock: seconds from any origin; for tests.
    """
    import torch

    pairs = [
        (torch.randn(rows, inputs, device=device, dtype=kind), torch.randn(inputs, outputs, device=device, dtype=kind))
        for kind in (torch.float32, torch.bfloat16)
        for rows, inputs, outputs in SIZES
    ]
    taken: list[list[float]] = [[], []]

    def now() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return clock()

    with torch.inference_mode():
        for left, right in pairs:  # the first use of a kernel is no timing to go by
            left @ right
        end = now() + seconds
        while len(taken[0]) < 3 or now() < end:
            for kind in range(2):
                start = now()
                for left, right in pairs[kind * len(SIZES) : (kind + 1) * len(SIZES)]:
                    left @ right
                taken[kind].append(now() - start)
    work = 2.0 * sum(rows * inputs * outputs for rows, inputs, outputs in SIZES)
    return Rates(work / median(taken[0]), work / median(taken[1]), device, torch.get_num_threads())


def processor_flags() -> frozenset[str] | None:
    """Names of the processor's instruction sets; None where the system does not list them."""
    for line in _cpuinfo().split("\n"):
        key, _, value = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            return frozenset(value.split())
    return None


def native_bf16() -> bool | None:
    """Whether the processor has instructions for products in bf16; None where the system does not say."""
    flags = processor_flags()
    return None if flags is None else any(flag in flags for flag in NATIVE)


def usual_device() -> str:
    """Where a run computes: "cuda" if there is such a device, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@functools.cache
def chosen_precision(device: str | None = None) -> Choice:
    """The faster type on `device` (by default `usual_device`), found once in a process."""
    import torch

    place = device or usual_device()
    if place == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Choice("bf16", "the CUDA device multiplies bf16 natively")
        return Choice("fp32", "the CUDA device has no products in bf16")
    flags = processor_flags()
    if flags is not None:
        named = [flag for flag in NATIVE if flag in flags]
        if not named:
            return Choice("fp32", "the processor has no instructions for bf16")
        if named != ["bf16"]:
            return Choice("bf16", f"the processor has {named[0]}")
    # Arm's flag does not say that torch was built to use it; Windows and macOS list no flags
    rates = product_rates(device=place)
    told = f"products in bf16 were measured at {rates.gain:.1f} times the rate of fp32"
    return Choice("bf16" if rates.gain >= MARGIN else "fp32", told)


def faster_precision(device: str | None = None) -> Precision:
    """See `chosen_precision`."""
    return chosen_precision(device).precision


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
