"""Several runs at the same time, each in a process of its own.

A small model on a CPU leaves most of a second core idle; two runs side by side do not. A worker (`systems.worker`) is
told where the sweep lies and which run is its own; it sends events as JSON Lines and leaves ``run.json``. Nothing else
passes between processes. Not here: the order of runs and the report (`systems.sweep`), what a worker does.

Example:
    >>> for job, result in in_processes(jobs, 2, place, observer, interrupted): ...      # doctest: +SKIP
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tunelet.base.cores import usable_cores
from tunelet.base.errors import WRONG_INPUT, DamagedFileError, InputError, TrainingError, TuneletError
from tunelet.base.files import read_json
from tunelet.systems.recipes import PlannedRun
from tunelet.training.events import Observer, from_json

#: what a worker says beside its events; removed when its run is on disk
LOG = "worker.log"


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


@dataclass(frozen=True)
class Order:
    """What a worker is told, as JSON on its command line.

    Attributes:
        sweep: folder with ``recipe.yaml``.
        cache: folder for tokenised splits.
        data: folder that was given on the command line, or None.
        run: name of the run.
        folder: the run's folder.
        hash: what the worker has to find, too; else data or base changed since the sweep began.
        place: as in `Job`.
    """

    sweep: str
    cache: str
    data: str | None
    run: str
    folder: str
    hash: str
    place: tuple[int, int]


@dataclass(frozen=True)
class Workplace:
    """What the orders of a sweep share; see `Order`."""

    sweep: Path
    cache: Path
    data: Path | None

    def order(self, job: Job) -> Order:
        """The order for one job."""
        data = None if self.data is None else str(self.data)
        return Order(str(self.sweep), str(self.cache), data, job.run.name, str(job.folder), job.hash, job.place)


@dataclass
class _Worker:
    """A running process, with the error that it told, if it told one."""

    job: Job
    process: subprocess.Popen[str]
    error: str | None = field(default=None)


#: (name of the run, a line of its worker or None when it ended)
_Lines = queue.Queue[tuple[str, str | None]]


def finished(folder: Path, run_hash: str) -> dict[str, Any] | None:
    """What run.json holds, if the run is done and is the one with `run_hash`.

    Raises:
        DamagedFileError: there is a run.json that no run wrote.
    """
    path = folder / "run.json"
    if not path.is_file():
        return None
    result = read_json(path)
    if not isinstance(result, dict):
        raise DamagedFileError(f"{path}: expected an object; remove the file to do the run again")
    return result if result.get("hash") == run_hash else None


def in_processes(
    jobs: Sequence[Job], at_once: int, place: Workplace, observer: Observer, interrupted: Callable[[], bool]
) -> Generator[tuple[Job, dict[str, Any]], None, None]:
    """Do `jobs`, `at_once` at a time, and give each with its result as it ends.

    Closing the generator stops the workers, too. However it ends, none is left when it has ended.

    Raises:
        TrainingError, InputError: a worker failed; the others were stopped at their next step and can be resumed.
        KeyboardInterrupt: `interrupted` said so, and every worker has saved its state.
    """
    waiting, running = list(jobs), dict[str, _Worker]()
    lines: _Lines = queue.Queue()
    threads = max(1, usable_cores() // at_once)
    failure: TuneletError | None = None
    try:
        while running or (waiting and failure is None):
            while waiting and failure is None and len(running) < at_once:
                job = waiting.pop(0)
                running[job.run.name] = _start(job, place, threads, lines)
            if interrupted():
                raise KeyboardInterrupt
            try:
                name, line = lines.get(timeout=0.5)
            except queue.Empty:
                continue
            if line is not None:
                row = json.loads(line)
                if "error" in row:
                    running[name].error = row["error"]
                else:
                    observer(from_json(row))
                continue
            worker = running.pop(name)
            result = finished(worker.job.folder, worker.job.hash)
            if worker.process.wait() == 0 and result is not None:
                yield worker.job, result
            elif failure is None:
                failure = _failure(worker)
                _stop(running.values())
    finally:
        _stop(running.values())
    if failure is not None:
        raise failure


def _start(job: Job, place: Workplace, threads: int, lines: _Lines) -> _Worker:
    job.folder.mkdir(parents=True, exist_ok=True)
    with open(job.folder / LOG, "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tunelet.systems.worker", json.dumps(asdict(place.order(job)))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            env={"OMP_NUM_THREADS": str(threads), **os.environ},  # what the user has set wins
            start_new_session=True,  # an interrupt at the keyboard reaches the parent, which tells the workers
        )
    threading.Thread(target=_listen, args=(job.run.name, process, lines), daemon=True).start()
    return _Worker(job, process)


def _listen(name: str, process: subprocess.Popen[str], lines: _Lines) -> None:
    if process.stdout is not None:
        with process.stdout as stream:
            for line in stream:
                lines.put((name, line))
    process.wait()
    lines.put((name, None))


def _stop(workers: Iterable[_Worker]) -> None:
    """Ask every worker to save its state and end; wait for them. An interrupt while waiting ends them at once."""
    processes = [worker.process for worker in workers]
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    try:
        for process in processes:
            process.wait()
    except BaseException:
        for process in processes:
            process.kill()
            process.wait()
        raise


def _failure(worker: _Worker) -> TuneletError:
    """Why a worker's run is not on disk: what it said itself, else what there is to see from outside."""
    name, status, log = worker.job.run.name, worker.process.returncode, worker.job.folder / LOG
    if worker.error is not None:
        return (InputError if status == WRONG_INPUT else TrainingError)(f"{name}: {worker.error}")
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    said = log.read_text(encoding="utf-8", errors="replace").strip().split("\n")[-1]
    return TrainingError(f"{name}: its process {how}" + (f": {said} (more in {log})" if said else ""))
