"""A process that does one run of a sweep and tells its parent how it goes (``python -m tunelet.systems.worker ORDER``).

Standard output is the parent's: one JSON object a line, an event or ``{"error": text}``. It ends when the run is on
disk, when it is sent SIGTERM, and when nobody reads any more because the parent is gone; in the last two cases with
the state saved after the step at hand. Not here: who starts it (`systems.jobs`).

Example:
    >>> status = work(order, send=print, interrupted=lambda: False)     # doctest: +SKIP
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunelet.base.allocator import keep_freed_memory
from tunelet.base.errors import INTERRUPTED, TrainingError, TuneletError
from tunelet.systems.jobs import Job, Order
from tunelet.training.events import Event, Note, to_json


def work(order: Order, send: Callable[[dict[str, Any]], None], interrupted: Callable[[], bool]) -> int:
    """Do the run that `order` names.

    Args:
        order: which run, and where.
        send: takes each event and the error, as JSON values.
        interrupted: asked after every step; True ends with the state saved.

    Returns:
        The exit status.
    """
    from tunelet.systems import load_recipe, worker_context
    from tunelet.systems.sweep import execute

    def observe(event: Event) -> None:
        send(to_json(replace(event, text=f"{order.run}: {event.text}") if isinstance(event, Note) else event))

    try:
        recipe = load_recipe(Path(order.sweep) / "recipe.yaml")
        context, recipe = worker_context(recipe, Path(order.data) if order.data else None, Path(order.cache))
        run = next(run for run in recipe.runs if run.name == order.run)
        if context.run_hash(run) != order.hash:
            raise TrainingError("its data or its base changed after the sweep had begun; run the same command again")
        execute(context, Job(run, Path(order.folder), order.hash, order.place), observe, interrupted)
    except KeyboardInterrupt:
        return INTERRUPTED
    except TuneletError as error:
        send({"error": str(error)})
        return error.exit_status
    return 0


def main(argument: str) -> int:
    """Take the order from the command line, and standard output for the parent alone."""
    stop: list[str] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append("asked to"))
    # what libraries print, in Python or in C, must not come between the events
    parent = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def send(row: dict[str, Any]) -> None:
        line = memoryview((json.dumps(row) + "\n").encode())
        try:
            while line:
                line = line[os.write(parent, line) :]
        except BrokenPipeError:  # no parent, no one who waits for this run
            stop.append("parent gone")

    values = json.loads(argument)
    return work(Order(**{**values, "place": tuple(values["place"])}), send, lambda: bool(stop))


if __name__ == "__main__":
    keep_freed_memory()
    sys.exit(main(sys.argv[1]))
