"""What a system has to say of training runs together when its runs train one by one. Not here: runs that can share
passes through a base (`systems.classify`), the order of a sweep (`systems.sweep`).

Example:
    >>> class Context(Alone):                                   # doctest: +SKIP
    ...     def execute(self, run, folder, run_hash, observer, interrupted, place): ...
"""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tunelet.systems.jobs import Job
from tunelet.systems.recipes import PlannedRun
from tunelet.training.checkpoint import CheckpointStore
from tunelet.training.events import Observer


class Alone(ABC):
    """The part of `systems.sweep.Context` that is the same for all such systems.

    Attributes:
        STATES: patterns of the folders, in that of a run, which only an unfinished run needs.
    """

    STATES: ClassVar[tuple[str, ...]] = ("state",)

    @abstractmethod
    def execute(
        self,
        run: PlannedRun,
        folder: Path,
        run_hash: str,
        observer: Observer,
        interrupted: Callable[[], bool],
        place: tuple[int, int],
    ) -> dict[str, Any]:
        """See `systems.sweep.Context`."""

    def together(self, run: PlannedRun) -> str | None:
        """See `systems.sweep.Context`: no pass is common to two runs."""
        return None

    def execute_together(
        self, jobs: Sequence[Job], observer: Observer, interrupted: Callable[[], bool]
    ) -> Iterator[tuple[Job, dict[str, Any]]]:
        """See `systems.sweep.Context`: one after the other."""
        for job in jobs:
            yield job, self.execute(job.run, job.folder, job.hash, observer, interrupted, job.place)

    def tidy(self, run: PlannedRun, folder: Path) -> None:
        """See `systems.sweep.Context`."""
        training: Any = run.settings["training"]
        if not training.keep_states:
            for pattern in self.STATES:
                for state in folder.glob(pattern):
                    CheckpointStore(state).clear()


def now() -> str:
    """The time, as the record of a run has it: ISO 8601, UTC, whole seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
