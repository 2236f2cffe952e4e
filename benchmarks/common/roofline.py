"""The roofline of a machine (Williams et al. 2009), and where the contenders of `train` stand below it.

A product can be no faster than the arithmetic units (the flat part) and no faster than its operands come from memory
(the slope: bandwidth times FLOP per byte). Measured here, not read off a data sheet: products x (T, K) by W (K, N) of a
feed-forward layer for growing T, and a copy of a large tensor. A contender stands at the FLOP per byte of that product
for the tokens of its batch, and at the arithmetic per second that its whole steps reach (`common.work`). Not here:
measuring a contender.

Example:
    >>> intensity(rows=1, inputs=2, outputs=3, size=4)         # 12 FLOP, (2 + 6 + 3) numbers of 4 bytes
    0.2727272727272727
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from matplotlib.figure import Figure

ROWS = (1, 4, 16, 64, 256, 1024, 4096)
#: of MiniLM's feed-forward layer
INPUTS, OUTPUTS = 384, 1536
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_COPY = 1 << 26
_COLOURS = {"fp32": "#3b6fb6", "bf16": "#c2571a"}
_MARKERS = ("o", "s", "^", "D", "v")


def intensity(rows: int, inputs: int, outputs: int, size: int) -> float:
    """FLOP per byte of a product whose operands are read and written once; `size`: bytes of a number."""
    return 2.0 * rows * inputs * outputs / (size * (rows * inputs + inputs * outputs + rows * outputs))


def measure(seconds: float) -> dict[str, Any]:
    """Bandwidth (byte/s) of a copy, and for each type and number of rows the product's FLOP per byte and per second."""
    source = torch.zeros(_COPY // 4)
    target = torch.empty_like(source)
    copy = _median(lambda: target.copy_(source), seconds)
    found: dict[str, Any] = {"bandwidth": 2.0 * _COPY / copy}
    for name, kind in TYPES.items():
        weight = torch.randn(OUTPUTS, INPUTS).to(kind).t()
        points = []
        for rows in ROWS:
            x = torch.randn(rows, INPUTS).to(kind)
            out = torch.empty(rows, OUTPUTS, dtype=kind)
            taken = _median(lambda x=x, weight=weight, out=out: torch.mm(x, weight, out=out), seconds)  # type: ignore[misc]
            points.append(
                {
                    "rows": rows,
                    "flop_per_byte": intensity(rows, INPUTS, OUTPUTS, kind.itemsize),
                    "flops_per_second": 2.0 * rows * INPUTS * OUTPUTS / taken,
                }
            )
        found[name] = points
    return found


def draw(result: Mapping[str, Any]) -> str:
    """The plot of a result of `train` as a whole SVG file.

    Raises:
        KeyError: it was measured without a roofline.
    """
    figures = result["figures"]
    roof, found = figures["roofline"], figures["attention"]
    figure = Figure(figsize=(7.0, 4.4), layout="constrained")
    axes = figure.add_subplot()
    span = [0.3, 2000.0]
    for name in TYPES:
        peak = found["rate"][name]
        line = [(x, min(peak, x * roof["bandwidth"])) for x in (span[0], peak / roof["bandwidth"], span[1])]
        axes.plot(*zip(*line, strict=True), color=_COLOURS[name], linewidth=1.6, label=f"roof, {name}")
        points = [(p["flop_per_byte"], p["flops_per_second"]) for p in roof[name]]
        axes.plot(*zip(*points, strict=True), color=_COLOURS[name], linewidth=0, marker=".", alpha=0.6,
                  label=f"product, {name}")  # fmt: skip
    sides = [name for name in found if isinstance(found[name], dict) and "flops_per_second" in found[name]]
    for number, name in enumerate(sides):
        kind = found[name]["precision"]
        x = intensity(round(found[name]["rows"]), INPUTS, OUTPUTS, TYPES[kind].itemsize)
        axes.plot([x], [found[name]["flops_per_second"]], marker=_MARKERS[number % 5], markersize=9, linewidth=0,
                  color=_COLOURS[kind], markeredgecolor="black", label=f"{name}, {kind}")  # fmt: skip
    axes.set(xscale="log", yscale="log", xlim=span, xlabel="FLOP per byte of the feed-forward product")
    axes.set_ylabel("FLOP per second")
    axes.set_title(f"{result['machine']['processor']}, {result['machine']['threads']} threads", loc="left", fontsize=9)
    axes.grid(True, which="major", linewidth=0.4, alpha=0.5)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    return buffer.getvalue()


def _median(call: Callable[[], Any], seconds: float) -> float:
    """Median seconds of a call, repeated for `seconds` and at least five times."""
    call()
    taken: list[float] = []
    while sum(taken) < seconds or len(taken) < 5:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)
