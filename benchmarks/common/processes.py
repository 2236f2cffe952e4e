"""Processes that stay alive between measurements, so that imports and warm-up are outside of them.

A worker reads orders from its line and answers each, in JSON; it waits in between, so only the one that was asked
works. It ends when its line does, so none outlives the benchmark. All are forked from one process that has imported
what they need and done nothing else. Not here: what a worker does (`worker`, and the jobs named there).

Example:
    >>> with Workers() as workers:                                          # doctest: +SKIP
    ...     ours = workers.start("train_ours", side.model_dump(mode="json"))
    ...     ours.ask({"steps": 100})["seconds"]
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, NoReturn

from tunelet.base.errors import TrainingError
from tunelet.cli.bench import serve

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tunelet.cli.bench", "tunelet.systems.classify", "peft", "sklearn.metrics"])


class Worker:
    """One process.

    Args:
        job: a key of `worker.JOBS`.
        spec: what the job is told at its start.
    """

    def __init__(self, job: str, spec: Mapping[str, Any]) -> None:
        self.job = job
        self._log = tempfile.NamedTemporaryFile("r", encoding="utf-8")  # noqa: SIM115  closed by `close`
        self._line, far = _FORKS.Pipe()
        self._process = _FORKS.Process(target=serve, args=(job, dict(spec), far, self._log.name), daemon=True)
        self._process.start()
        far.close()

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Give an order and wait for its answer.

        Raises:
            TrainingError: the process ended instead; the message is its last line.
        """
        try:
            self._line.send_bytes(json.dumps(dict(order)).encode())
        except BrokenPipeError:
            self._fail()
        return self.wait()

    def wait(self) -> dict[str, Any]:
        """The next answer; the first comes without an order, when the worker is ready."""
        try:
            answer: dict[str, Any] = json.loads(self._line.recv_bytes())
        except (EOFError, ConnectionResetError):
            self._fail()
        return answer

    def close(self) -> None:
        """End the line and wait for the process to end."""
        self._line.close()
        self._process.join()
        self._log.close()

    def _fail(self) -> NoReturn:
        self._process.join()
        lines = self._log.read().strip().split("\n")
        raise TrainingError(
            f"the benchmark's process {self.job!r} ended with status {self._process.exitcode}: {lines[-1]}"
        )


class Workers:
    """Closes every worker that was started in it."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(self, job: str, spec: Mapping[str, Any]) -> Worker:
        """Start a worker; it sets itself up while others do the same."""
        worker = Worker(job, spec)
        self._stack.callback(worker.close)
        return worker


def alternate(
    asks: Mapping[str, Callable[[], dict[str, Any]]], rounds: int, tell: Callable[[str], None] = lambda text: None
) -> dict[str, list[dict[str, Any]]]:
    """Ask each in turn, A B C A B C ..., so that what else the machine does falls on all alike.

    Returns:
        Name -> its answers, one per round.
    """
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in asks}
    for number in range(1, rounds + 1):
        for name, ask in asks.items():
            answers[name].append(ask())
        tell(f"  round {number} of {rounds}")
    return answers
