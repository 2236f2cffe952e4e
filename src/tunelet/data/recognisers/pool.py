"""Worker processes that recognise one sound file after the other. Not here: order, cache (`batch`).

A worker (``python -m tunelet.data.recognisers.pool SETTINGS``) builds the recogniser once, then answers each line of
its standard input, a path as JSON, with one line: the list, or what is wrong. It ends when its input ends, so none is
left behind when the parent is killed. A worker that dies takes one file with it, which is told.

Example:
    >>> for number, outcome in in_workers(paths, SphinxSettings(), 2): ...      # doctest: +SKIP
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunelet.base.cores import usable_cores
from tunelet.base.errors import DataError, InputError, Problem
from tunelet.data.nbest import Hypothesis
from tunelet.data.recognisers.settings import RecogniserSettings, settings_from


@dataclass(frozen=True)
class Outcome:
    """What came of a file: its hypotheses, or the problems."""

    hypotheses: tuple[Hypothesis, ...] | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class _Fatal:
    """The recogniser could not be built: no file will fare better."""

    problems: tuple[Problem, ...]


#: the number of a path and its outcome, as they come
Outcomes = Generator[tuple[int, Outcome], None, None]
_Answers = queue.Queue[tuple[int, Outcome | _Fatal]]


def in_workers(paths: Sequence[Path], settings: RecogniserSettings, workers: int) -> Outcomes:
    """Recognise `paths`, `workers` at a time; gives the number of a path and its outcome, as they come.

    Closing the generator ends the workers.

    Raises:
        InputError: the recogniser cannot be built.
    """
    waiting: queue.Queue[tuple[int, Path]] = queue.Queue()
    for task in enumerate(paths):
        waiting.put(task)
    answers: _Answers = queue.Queue()
    stop = threading.Event()
    crew = [_Crew(settings, max(1, usable_cores() // workers)) for _ in range(workers)]
    threads = [threading.Thread(target=one.work, args=(waiting, answers, stop), daemon=True) for one in crew]
    for thread in threads:
        thread.start()
    try:
        for _ in paths:
            number, answer = _next(answers)
            if isinstance(answer, _Fatal):
                raise InputError(answer.problems)
            yield number, answer
    finally:
        stop.set()
        for one in crew:
            one.end()
        for thread in threads:
            thread.join()


def _next(answers: _Answers) -> tuple[int, Outcome | _Fatal]:
    while True:  # with a timeout, so that an interrupt at the keyboard is heard
        try:
            return answers.get(timeout=0.5)
        except queue.Empty:
            continue


class _Crew:
    """One worker at a time: a new one is started when the last one died."""

    def __init__(self, settings: RecogniserSettings, threads: int) -> None:
        self._command = [sys.executable, "-m", __name__, settings.model_dump_json()]
        self._environment = {"OMP_NUM_THREADS": str(threads), **os.environ}  # what the user has set wins
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._ended = False

    def work(self, waiting: queue.Queue[tuple[int, Path]], answers: _Answers, stop: threading.Event) -> None:
        """Take files until there are no more."""
        while not stop.is_set():
            try:
                number, path = waiting.get_nowait()
            except queue.Empty:
                break
            answers.put((number, self._ask(path)))
        self.end()

    def end(self) -> None:
        """End the worker, now and for good."""
        with self._lock:
            self._ended = True
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _ask(self, path: Path) -> Outcome | _Fatal:
        with self._lock:
            if self._process is None and not self._ended:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    encoding="utf-8",
                    env=self._environment,
                    start_new_session=True,  # an interrupt at the keyboard reaches the parent, which ends the workers
                )
            process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return Outcome(None)
        try:
            process.stdin.write(json.dumps(str(path)) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (BrokenPipeError, ValueError):
            line = ""
        if line.endswith("\n"):
            return _outcome(json.loads(line))
        with self._lock:
            self._process = None
        status = process.wait()
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        return Outcome(None, (Problem(f"the recogniser's process ended {how} on this file", path),))


def _outcome(row: dict[str, Any]) -> Outcome | _Fatal:
    problems = tuple(Problem(**values) for values in row.get("problems", ()))
    if row.get("fatal"):
        return _Fatal(problems)
    if problems:
        return Outcome(None, problems)
    return Outcome(tuple(Hypothesis(text, score) for text, score in row["nbest"]))


def main(argument: str) -> int:
    """A worker: the settings from the command line, paths from standard input, standard output for the parent alone."""
    from tunelet.data.audio import read_audio
    from tunelet.data.recognisers.protocol import Recogniser, build

    # what libraries print, in Python or in C, must not come between the answers
    parent = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    recogniser: Recogniser | None = None
    for line in sys.stdin:
        row: dict[str, Any]
        try:
            if recogniser is None:
                recogniser = build(settings_from(json.loads(argument)))
        except InputError as error:
            row = {"fatal": True, "problems": [_values(problem) for problem in error.problems]}
        else:
            try:
                heard = recogniser.nbest(read_audio(Path(json.loads(line))))
                row = {"nbest": [[one.text, one.score] for one in heard]}
            except DataError as error:
                row = {"problems": [_values(problem) for problem in error.problems]}
        try:
            parent.write(json.dumps(row) + "\n")
            parent.flush()
        except BrokenPipeError:  # no parent, no one who waits
            return 0
    return 0


def _values(problem: Problem) -> dict[str, Any]:
    return {**asdict(problem), "file": None if problem.file is None else str(problem.file)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
