"""Draws the events of a run on standard error: a bar with the time left, a line for each evaluation.

Not here: anything that a result depends on. Where standard error is no terminal the same is told in plain lines.
"""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tunelet.training.events import Evaluated, Event, Note, RunFinished, RunStarted, StepDone

#: seconds between lines where there is no terminal
QUIET_SECONDS = 30.0


class ProgressDisplay:
    """An observer that draws, and the handler of interrupts, which lets a step end before the run stops.

    Args:
        quiet: show notes and results only.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.quiet = quiet
        self.interrupted = False
        self._last_line = 0.0
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
            transient=True,
        )

    def __enter__(self) -> ProgressDisplay:
        self._progress.__enter__()
        self._old = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)
        for number, handler in self._old.items():
            signal.signal(number, handler)
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.console.print("the same command goes on from the last saved state")

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepDone):
            self._step(event)
        elif isinstance(event, Evaluated):
            self._evaluated(event)
        elif isinstance(event, Note):
            self.console.print(f"[dim]{escape(event.text)}[/]", soft_wrap=True)
        elif isinstance(event, RunStarted):
            self._last_line = time.monotonic()
            title = f"{event.name} ({event.number}/{event.runs})"
            self.console.print(f"[bold]{escape(title)}[/]: {event.total:,} steps", soft_wrap=True)
            bar = self._progress.add_task(escape(title), total=event.total, completed=event.step, state="")
            self._bars[event.name] = bar
        elif isinstance(event, RunFinished):
            if event.name in self._bars:
                self._progress.remove_task(self._bars.pop(event.name))
            word = "on disk already" if event.skipped else "done"
            self.console.print(f"[green]{word}[/] {escape(event.name)}: {escape(event.summary)}", soft_wrap=True)

    def _step(self, event: StepDone) -> None:
        state = f"loss {event.loss:.3f}"
        if event.name in self._bars:
            self._progress.update(self._bars[event.name], completed=event.step, state=state)
        if not self.console.is_terminal and not self.quiet and time.monotonic() - self._last_line > QUIET_SECONDS:
            self._last_line = time.monotonic()
            self.console.print(f"  {escape(event.name)} step {event.step:,}/{event.total:,} {state}", soft_wrap=True)

    def _evaluated(self, event: Evaluated) -> None:
        if not self.quiet:
            shown = " ".join(f"{key} {value:.4f}" for key, value in event.metrics.items())
            best = " [green]best[/]" if event.best else ""
            self.console.print(
                f"  {escape(event.name)} step {event.step:,} validation {shown}{best}",
                soft_wrap=True,
            )

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted or not self._bars:
            raise KeyboardInterrupt
        self.interrupted = True
        self.console.print("[yellow]stopping after this step; once more to stop at once[/]")
