"""Several runs at the same time, each in a process of its own.

A small model on a CPU leaves most of a second core idle; two runs side by side do not. A worker is this package started
anew (`python -m tunelet.systems.jobs`), told where the sweep lies and which run is its own; it sends events as JSON
Lines on its standard output and leaves ``run.json``. Nothing else passes between processes. Not here: the order of
runs and the report (`systems.sweep`).

Example:
    >>> for job, result in in_processes(jobs, 2, folder, None, observer, interrupted): ...      # doctest: +SKIP
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelet.base.errors import INTERRUPTED, TrainingError, TuneletError
from tunelet.base.files import read_json
from tunelet.systems.recipes import PlannedRun
from tunelet.training.events import Observer, from_json, to_json


@dataclass(frozen=True)
class Job:
    """A run that is to be done.

    Attributes:
        run: the planned run.
        folder: its folder.
        hash: of everything that its result depends on.
        place: its number among the runs asked for, and theirs.
    """

    run: PlannedRun
    folder: Path
    hash: str
    place: tuple[int, int]


def finished(folder: Path, run_hash: str) -> dict[str, Any] | None:
    """What run.json holds, if the run is done and is the one with `run_hash`."""
    if not (folder / "run.json").is_file():
        return None
    result: dict[str, Any] = read_json(folder / "run.json")
    return result if result.get("hash") == run_hash else None


def in_processes(
    jobs: Sequence[Job],
    at_once: int,
    sweep: Path,
    data_dir: Path | None,
    observer: Observer,
    interrupted: Callable[[], bool],
) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Do `jobs`, `at_once` at a time, and give each with its result as it ends.

    Raises:
        TrainingError: a worker failed; the others are stopped at their next step and can be resumed.
        KeyboardInterrupt: `interrupted` said so, and every worker has saved its state.
    """
    waiting, running = list(jobs), dict[str, tuple[Job, subprocess.Popen[str]]]()
    lines: queue.Queue[tuple[str, str | None]] = queue.Queue()
    threads = max(1, (os.cpu_count() or 1) // at_once)
    failure: TuneletError | None = None
    try:
        while running or (waiting and failure is None):
            while waiting and failure is None and len(running) < at_once:
                job = waiting.pop(0)
                running[job.run.name] = job, _start(job, sweep, data_dir, threads, lines)
            try:
                name, line = lines.get(timeout=0.5)
            except queue.Empty:
                line, name = None, ""
            if interrupted():
                _stop(running)
                raise KeyboardInterrupt
            if line is not None:
                observer(from_json(json.loads(line)))
            elif name:
                job, process = running.pop(name)
                result = finished(job.folder, job.hash)
                if process.wait() == 0 and result is not None:
                    yield job, result
                elif failure is None:
                    error = (job.folder / "worker.log").read_text(encoding="utf-8", errors="replace").strip()
                    failure = TrainingError(f"{name} failed: {error.splitlines()[-1] if error else process.returncode}")
                    _stop(running)
    finally:
        _stop(running)
    if failure is not None:
        raise failure


def _start(
    job: Job, sweep: Path, data_dir: Path | None, threads: int, lines: queue.Queue[tuple[str, str | None]]
) -> subprocess.Popen[str]:
    job.folder.mkdir(parents=True, exist_ok=True)
    order = {"sweep": str(sweep), "run": job.run.name, "data": data_dir and str(data_dir), "place": list(job.place)}
    with open(job.folder / "worker.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tunelet.systems.jobs", json.dumps(order)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            start_new_session=True,  # an interrupt at the keyboard reaches the parent, which tells the workers
        )
    threading.Thread(target=_listen, args=(job.run.name, process, lines), daemon=True).start()
    return process


def _listen(name: str, process: subprocess.Popen[str], lines: queue.Queue[tuple[str, str | None]]) -> None:
    if process.stdout is not None:
        for line in process.stdout:
            lines.put((name, line))
    process.wait()
    lines.put((name, None))


def _stop(running: dict[str, tuple[Job, subprocess.Popen[str]]]) -> None:
    """Ask every worker to save its state and end; wait for them."""
    for _, process in running.values():
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for _, process in running.values():
        process.wait()


def work(order: dict[str, Any]) -> int:
    """A worker: do one run of a sweep; returns the exit status."""
    from tunelet.systems import load_recipe, worker_context
    from tunelet.systems.sweep import execute

    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
    sweep, data_dir = Path(order["sweep"]), order["data"] and Path(order["data"])
    recipe = load_recipe(sweep / "recipe.yaml")
    context = worker_context(recipe, data_dir, (sweep if (sweep / ".cache").is_dir() else sweep.parent) / ".cache")
    run = next(run for run in recipe.runs if run.name == order["run"])
    run_hash = context.run_hash(run)
    job = Job(run, sweep / "runs" / f"{run.name}-{run_hash[:10]}", run_hash, (order["place"][0], order["place"][1]))
    parent = sys.stdout

    def send(event: Any) -> None:
        parent.write(json.dumps(to_json(event)) + "\n")
        parent.flush()

    sys.stdout = sys.stderr  # what libraries print must not come between the events
    try:
        execute(context, job, send, lambda: bool(stop))
    except KeyboardInterrupt:
        return INTERRUPTED
    except TuneletError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(work(json.loads(sys.argv[1])))
