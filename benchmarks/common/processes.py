"""Processes that stay alive between measurements, so that imports and warm-up are outside of them.

A worker reads one order a line on its standard input and answers each with a line of JSON; it waits in between, so only
the one that was asked works. It ends when its input does, so none outlives the benchmark. Not here: what a worker does
(`worker`, and the jobs named there).

Example:
    >>> with Workers() as workers:                                          # doctest: +SKIP
    ...     ours = workers.start("train_ours", side.model_dump(mode="json"))
    ...     ours.ask({"steps": 100})["seconds"]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from tunelet.base.errors import TrainingError

_BOOT = "import sys; from tunelet.cli.bench import load; sys.exit(load('common.worker').main(sys.argv[1:]))"


class Worker:
    """One process.

    Args:
        job: a key of `worker.JOBS`.
        spec: what the job is told at its start.
    """

    def __init__(self, job: str, spec: Mapping[str, Any]) -> None:
        self.job = job
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  closed by `close`
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, job, json.dumps(dict(spec))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
        )

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Give an order and wait for its answer.

        Raises:
            TrainingError: the process ended instead; the message is its last line.
        """
        try:
            print(json.dumps(dict(order)), file=_pipe(self._process.stdin), flush=True)
        except BrokenPipeError:
            self._fail()
        return self.wait()

    def wait(self) -> dict[str, Any]:
        """The next answer; the first comes without an order, when the worker is ready."""
        line = _pipe(self._process.stdout).readline()
        if not line:
            self._fail()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the input and wait for the process to end."""
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                _pipe(pipe).close()
            except BrokenPipeError:  # it ended by itself, with an order unread
                continue
        self._process.wait()
        self._log.close()

    def _fail(self) -> None:
        status = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().strip().split("\n")
        raise TrainingError(f"the benchmark's process {self.job!r} ended with status {status}: {lines[-1]}")


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


def _pipe(pipe: Any) -> Any:
    if pipe is None:
        raise RuntimeError("a worker is started with pipes")
    return pipe
