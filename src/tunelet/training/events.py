"""What a run tells to whoever watches it. The library never prints: the command line draws these as a progress bar.

Example:
    >>> seen = []
    >>> observer: Observer = seen.append
    >>> observer(StepDone(step=1, total=10, loss=0.5, learning_rate=1e-3, tokens=320))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Note:
    """A sentence worth showing."""

    text: str


@dataclass(frozen=True)
class RunStarted:
    """A run begins, or goes on from `step`."""

    name: str
    number: int
    runs: int
    step: int
    total: int


@dataclass(frozen=True)
class StepDone:
    """An optimiser step; `loss` is the mean over its examples, `tokens` the real ones in it.

    `name` is the run's where several train at once, else empty.
    """

    step: int
    total: int
    loss: float
    learning_rate: float
    tokens: int
    name: str = ""


@dataclass(frozen=True)
class Evaluated:
    """An evaluation on the validation split."""

    step: int
    metrics: dict[str, float] = field(default_factory=dict)
    best: bool = False
    name: str = ""


@dataclass(frozen=True)
class RunFinished:
    """A run is on disk; `skipped` if it was there already."""

    name: str
    number: int
    runs: int
    skipped: bool
    summary: str


def named(event: Event, name: str) -> Event:
    """The event with the run's name, if it is one of those that carry it."""
    return replace(event, name=name) if isinstance(event, StepDone | Evaluated) else event


def to_json(event: Event) -> dict[str, Any]:
    """An event as JSON values, for a parent process."""
    return {"event": type(event).__name__, **asdict(event)}


def from_json(row: dict[str, Any]) -> Event:
    """The event that `to_json` wrote.

    Raises:
        KeyError, TypeError: it is none.
    """
    kinds: dict[str, Callable[..., Event]] = {
        kind.__name__: kind for kind in (Note, RunStarted, StepDone, Evaluated, RunFinished)
    }
    return kinds[row["event"]](**{key: value for key, value in row.items() if key != "event"})


Event = Note | RunStarted | StepDone | Evaluated | RunFinished
Observer = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The observer of whoever does not look."""
