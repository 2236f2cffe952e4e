"""From measured blocks to the figures and ratios of a benchmark. Not here: measuring.

Example:
    >>> speeds = {"ours": speed([{"seconds": 1.0, "tokens": 80}]), "peer": speed([{"seconds": 2.0, "tokens": 40}])}
    >>> ratio(speeds, "ours", "peer")
    4.0
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tunelet.training.machine import describe_machine


def speed(blocks: Sequence[Mapping[str, Any]], unit: str = "tokens") -> dict[str, Any]:
    """Median rate of blocks, and the blocks.

    Returns:
        ``{"tokens_per_second": median, "low": slowest, "high": fastest, "blocks": [...]}``.
    """
    rates = [block[unit] / block["seconds"] for block in blocks]
    return {
        f"{unit}_per_second": statistics.median(rates),
        "low": min(rates),
        "high": max(rates),
        "blocks": [dict(block) for block in blocks],
    }


def ratio(speeds: Mapping[str, Mapping[str, Any]], ours: str, peer: str, unit: str = "tokens") -> float:
    """Median rate of one side over that of the other."""
    return float(speeds[ours][f"{unit}_per_second"] / speeds[peer][f"{unit}_per_second"])


def result(name: str, ratios: Mapping[str, float], figures: Mapping[str, Any]) -> dict[str, Any]:
    """What `tunelet bench` expects, with the machine and how busy it was."""
    load = {"load_average": list(os.getloadavg())} if hasattr(os, "getloadavg") else {}
    return {
        "name": name,
        "ratios": {key: float(value) for key, value in ratios.items()},
        "figures": {**figures, **load},
        "machine": describe_machine(),
    }
