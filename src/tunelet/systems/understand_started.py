"""The meta-trained base of `understand` runs, made or found. Not here: how it is made (`systems.understand_base`).

Example:
    >>> started(start, 1, Path("cache"), ignore, lambda: False).folder          # doctest: +SKIP
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelet.systems.understand_base import base_stage
from tunelet.systems.understand_start import Start
from tunelet.training.events import Observer
from tunelet.tuning.prefix_folder import fingerprint_of


@dataclass(frozen=True)
class Started:
    """A meta-trained base.

    Attributes:
        folder: of the model.
        fingerprint: its seal.
        seed: of its meta-training; None: it was there.
        seconds: that making or finding it took, this time.
        left_out: tasks that were left out because they are under test, or share data with one that is.
        repeated: examples that were left out because a task under test has their text, by task.
    """

    folder: Path
    fingerprint: str
    seed: int | None
    seconds: float
    left_out: tuple[str, ...] = ()
    repeated: tuple[tuple[str, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All but the time, which is a run's own."""
        return {
            "folder": str(self.folder),
            "fingerprint": self.fingerprint,
            "seed": self.seed,
            "left_out": list(self.left_out),
            "repeated": dict(self.repeated),
        }


def started(start: Start, seed: int, cache: Path, observer: Observer, interrupted: Callable[[], bool]) -> Started:
    """The base of a run with this seed; made if it is not in the cache."""
    if start.data is None:
        folder = Path(str(start.settings.folder)).expanduser()
        return Started(folder, fingerprint_of(folder), None, 0.0)
    stage, began = start.stage_of(seed), time.perf_counter()
    folder = base_stage(stage, start.data, cache, observer, interrupted)
    took = time.perf_counter() - began
    repeated = tuple(sorted(start.data.repeated.items()))
    return Started(folder, fingerprint_of(folder), stage.seed, took, start.data.left_out, repeated)
