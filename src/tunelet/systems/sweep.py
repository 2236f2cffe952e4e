"""Runs what is missing of a recipe, one run after the other, and keeps the folder true at every moment.

Not here: what a run does; the system brings it. A finished run is a folder with ``run.json``, published last, named
by the hash of everything that its result depends on. So a sweep that was stopped anywhere goes on where it was,
and ``result.json`` and the report are right half-way.

Example:
    >>> run(tunelet.systems.classify, recipe, data, out=Path("out"))     # doctest: +SKIP
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, Protocol

from tunelet.base.allocator import hand_back_freed_memory
from tunelet.base.errors import DamagedFileError, InputError, Problem
from tunelet.base.files import clear_parts, digest, read_json, write_atomic, write_json
from tunelet.base.locks import folder_lock
from tunelet.base.yaml_lines import write_yaml
from tunelet.report import build_report
from tunelet.systems.jobs import LOG, Job, Workplace, finished, in_processes
from tunelet.systems.recipes import LoadedRecipe, PlannedRun
from tunelet.systems.settling import as_asked, refuse_other_type
from tunelet.training.events import Note, Observer, RunFinished, ignore
from tunelet.training.machine import describe_machine

#: where runs go without --out
DEFAULT_ROOT = Path("tunelet-runs")


class Context(Protocol):
    """What a system prepares once for all runs of a recipe."""

    def run_hash(self, run: PlannedRun) -> str:
        """Hash of everything that the result of `run` depends on."""

    def data_facts(self) -> dict[str, Any]:
        """The key ``data`` of result.json."""

    def audit(self) -> dict[str, Any]:
        """What audit.json holds."""

    def execute(
        self,
        run: PlannedRun,
        folder: Path,
        run_hash: str,
        observer: Observer,
        interrupted: Callable[[], bool],
        place: tuple[int, int],
    ) -> dict[str, Any]:
        """Train and evaluate; returns what run.json holds."""

    def together(self, run: PlannedRun) -> str | None:
        """Runs with the same value can train together; None: this one cannot."""

    def execute_together(
        self, jobs: Sequence[Job], observer: Observer, interrupted: Callable[[], bool]
    ) -> Iterator[tuple[Job, dict[str, Any]]]:
        """`execute` for several runs side by side; gives each job with what its run.json holds."""

    def tidy(self, run: PlannedRun, folder: Path) -> None:
        """Remove what only an unfinished run needs; called when its run.json is on disk."""

    def summary(self, result: dict[str, Any]) -> str:
        """A line about a finished run."""


class System(Protocol):
    """A system's module."""

    def prepare(self, data: Any, cache: Path | None, observer: Observer) -> Context:
        """Take in the data that the recipe's schema module read, and check them."""


def run(
    system: System,
    recipe: LoadedRecipe,
    data: Any,
    *,
    out: Path | None = None,
    only: str = "*",
    jobs: int = 1,
    together: int = 1,
    data_dir: Path | None = None,
    observer: Observer = ignore,
    interrupted: Callable[[], bool] = lambda: False,
) -> Path:
    """Run what is missing of `recipe`.

    Args:
        system: the module of its system.
        recipe: the expanded recipe, settled (`systems.settling`).
        data: what ``load_data`` of the recipe's schema module gave.
        out: folder of the results; by default ``tunelet-runs/<name>-<hash>``.
        only: pattern of names of groups, or with ``-seed`` of runs, as in a shell; the others stay as they are.
        jobs: runs that train at the same time, each in a process of its own with its share of the processor's threads
            (or with OMP_NUM_THREADS, where that is set).
        together: runs that train in one process, through one pass of the base where they can.
        data_dir: where `data` was read from, if it was given on the command line; processes read it again.
        observer: told of every event.
        interrupted: asked after every step; True saves the state and raises KeyboardInterrupt.

    Returns:
        The folder, with result.json, report.html, report.md and csv/.

    Raises:
        InputError: wrong recipe, data or folder; nothing was begun.
        ResumeError: a run was begun in another type, on a machine that chose it.
        RunFolderBusyError: another process works in the folder.
    """
    chosen = recipe.select(only)
    if jobs > 1 and together > 1:
        raise InputError(Problem(f"found --jobs {jobs} with --together {together}, expected one of them"))
    if out is not None and out.exists() and not out.is_dir():
        raise InputError(Problem("is a file, expected a folder or a new name", out, field="--out"))
    cache = (out or DEFAULT_ROOT) / ".cache"
    context = system.prepare(data, cache, observer)
    hashes = {planned.name: context.run_hash(planned) for planned in recipe.runs}
    whole = digest({planned.name: context.run_hash(as_asked(planned)) for planned in recipe.runs})
    folder = out or DEFAULT_ROOT / f"{recipe.name}-{whole[:10]}"
    with folder_lock(folder):
        clear_parts(folder)
        write_atomic(folder / "recipe.yaml", write_yaml(recipe.tree))
        write_json(folder / "audit.json", context.audit())
        missing = []
        for number, planned in enumerate(chosen, start=1):
            run_hash = hashes[planned.name]
            job = Job(planned, _run_folder(folder, planned.name, run_hash), run_hash, (number, len(chosen)))
            result = finished(job.folder, run_hash)
            if result is None:
                refuse_other_type(planned, lambda run: _run_folder(folder, run.name, context.run_hash(run)), folder)
                missing.append(job)
            else:
                observer(RunFinished(planned.name, *job.place, True, context.summary(result)))
        done = (
            in_processes(missing, jobs, Workplace(folder, cache, data_dir), observer, interrupted)
            if jobs > 1 and len(missing) > 1
            else side_by_side(context, missing, together, observer, interrupted)
        )
        try:
            with closing(done):  # whatever ends the loop, no worker is left when the report is written
                for job, result in done:
                    (job.folder / LOG).unlink(missing_ok=True)
                    observer(RunFinished(job.run.name, *job.place, False, context.summary(result)))
                    _write_result(folder, recipe, context, hashes, whole)
        finally:
            if _write_result(folder, recipe, context, hashes, whole):
                build_report(folder)
        observer(Note(f"report: {folder / 'report.html'}"))
    return folder


def execute(context: Context, job: Job, observer: Observer, interrupted: Callable[[], bool]) -> dict[str, Any]:
    """Do one run in this process and put its ``run.json`` on disk, last of all; returns what it holds."""
    with folder_lock(job.folder):
        clear_parts(job.folder, deep=True)
        return publish(context, job, context.execute(job.run, job.folder, job.hash, observer, interrupted, job.place))


def publish(context: Context, job: Job, result: dict[str, Any]) -> dict[str, Any]:
    """Put a run's ``run.json`` on disk and clear away what only an unfinished run needs; returns what it holds."""
    result["chosen"] = list(job.run.chosen)
    result["folder"] = f"runs/{job.folder.name}"
    write_json(job.folder / "run.json", result)
    context.tidy(job.run, job.folder)
    return result


def side_by_side(
    context: Context, jobs: Sequence[Job], at_most: int, observer: Observer, interrupted: Callable[[], bool]
) -> Generator[tuple[Job, dict[str, Any]], None, None]:
    """Do `jobs` in this process, `at_most` together, and give each with its result.

    Jobs for which `Context.together` says the same train together; the others alone, in their order.
    """
    for chunk in _chunks(context, jobs, at_most):
        hand_back_freed_memory()  # that of the runs before
        if len(chunk) == 1:
            yield chunk[0], execute(context, chunk[0], observer, interrupted)
            continue
        with ExitStack() as held:
            for job in chunk:
                held.enter_context(folder_lock(job.folder))
                clear_parts(job.folder, deep=True)
            for job, result in context.execute_together(chunk, observer, interrupted):
                yield job, publish(context, job, result)


def _chunks(context: Context, jobs: Sequence[Job], at_most: int) -> list[list[Job]]:
    """Jobs that train together; a chunk stands where its first job does."""
    chunks: list[list[Job]] = []
    open_ones: dict[str, list[Job]] = {}
    for job in jobs:
        key = context.together(job.run) if at_most > 1 else None
        chunk = open_ones.get(key) if key is not None else None
        if chunk is None or len(chunk) == at_most:
            chunk = []
            chunks.append(chunk)
            if key is not None:
                open_ones[key] = chunk
        chunk.append(job)
    return chunks


def _run_folder(sweep: Path, name: str, run_hash: str) -> Path:
    return sweep / "runs" / f"{name}-{run_hash[:10]}"


def _write_result(
    folder: Path, recipe: LoadedRecipe, context: Context, hashes: dict[str, str], recipe_hash: str
) -> int:
    """Gather the finished runs, in the recipe's order; returns how many there are. What did not change stays."""
    runs = []
    for name, run_hash in hashes.items():
        result = finished(_run_folder(folder, name, run_hash), run_hash)
        if result is not None:
            runs.append(result)
    training = recipe.runs[0].settings["training"]
    machine = describe_machine()
    versions = machine.pop("versions", {})
    whole = {
        "schema": 1,
        "system": recipe.system,
        "recipe": recipe.name,
        "title": recipe.title,
        "hash": recipe_hash,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "finished": len(runs) == len(hashes),
        "data": context.data_facts(),
        "machine": machine,
        "versions": versions,
        "planned": list(hashes),
        "selection": {"metric": getattr(training, "select", "accuracy"), "split": "validation"},
        "runs": runs,
        **getattr(context, "more", lambda runs: {})(runs),  # what a system adds to the common part
    }
    path, old = folder / "result.json", None
    with suppress(DamagedFileError):  # missing, or no JSON: it is made from the runs, so it can be made again
        old = read_json(path)
    if not isinstance(old, dict) or {**old, "created": None} != {**whole, "created": None}:
        write_json(path, whole)
    return len(runs)
