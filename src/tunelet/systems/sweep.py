"""Runs what is missing of a recipe, one run after the other, and keeps the folder true at every moment.

Not here: what a run does; the system brings it. A finished run is a folder with ``run.json``, published last, named
by the hash of everything that its result depends on. So a sweep that was stopped anywhere goes on where it was,
and ``result.json`` and the report are right half-way.

Example:
    >>> run(tunelet.systems.classify, recipe, data, out=Path("out"))     # doctest: +SKIP
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import yaml

from tunelet.base.files import digest, read_json, write_atomic, write_json
from tunelet.base.locks import folder_lock
from tunelet.report import build_report
from tunelet.systems.recipes import LoadedRecipe, PlannedRun
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
    observer: Observer = ignore,
    interrupted: Callable[[], bool] = lambda: False,
) -> Path:
    """Run what is missing of `recipe`.

    Args:
        system: the module of its system.
        recipe: the expanded recipe.
        data: what ``load_data`` of the recipe's schema module gave.
        out: folder of the results; by default ``tunelet-runs/<name>-<hash>``.
        only: pattern of group names, as in a shell; the others stay as they are.
        observer: told of every event.
        interrupted: asked after every step; True saves the state and raises KeyboardInterrupt.

    Returns:
        The folder, with result.json, report.html, report.md and csv/.

    Raises:
        InputError: wrong recipe or data; nothing was begun.
        RunFolderBusyError: another process works in the folder.
    """
    chosen = recipe.select(only)
    cache = (out or DEFAULT_ROOT) / ".cache"
    context = system.prepare(data, cache, observer)
    hashes = {planned.name: context.run_hash(planned) for planned in recipe.runs}
    folder = out or DEFAULT_ROOT / f"{recipe.name}-{digest(hashes)[:10]}"
    with folder_lock(folder):
        write_atomic(folder / "recipe.yaml", yaml.safe_dump(recipe.tree, sort_keys=False, allow_unicode=True))
        write_json(folder / "audit.json", context.audit())
        try:
            for number, planned in enumerate(chosen, start=1):
                place, run_hash = (number, len(chosen)), hashes[planned.name]
                target = folder / "runs" / f"{planned.name}-{run_hash[:10]}"
                result = _finished(target, run_hash)
                skipped = result is not None
                if result is None:
                    target.mkdir(parents=True, exist_ok=True)
                    result = context.execute(planned, target, run_hash, observer, interrupted, place)
                    result["folder"] = f"runs/{target.name}"
                    write_json(target / "run.json", result)
                    _write_result(folder, recipe, context, hashes)
                observer(RunFinished(planned.name, *place, skipped, context.summary(result)))
        finally:
            if _write_result(folder, recipe, context, hashes):
                build_report(folder)
        observer(Note(f"report: {folder / 'report.html'}"))
    return folder


def _finished(target: Path, run_hash: str) -> dict[str, Any] | None:
    if not (target / "run.json").is_file():
        return None
    result: dict[str, Any] = read_json(target / "run.json")
    return result if result.get("hash") == run_hash else None


def _write_result(folder: Path, recipe: LoadedRecipe, context: Context, hashes: dict[str, str]) -> int:
    """Gather the finished runs, in the recipe's order; returns how many there are."""
    runs = []
    for name, run_hash in hashes.items():
        result = _finished(folder / "runs" / f"{name}-{run_hash[:10]}", run_hash)
        if result is not None:
            runs.append(result)
    training = recipe.runs[0].settings["training"]
    machine = describe_machine()
    versions = machine.pop("versions", {})
    write_json(
        folder / "result.json",
        {
            "schema": 1,
            "system": recipe.system,
            "recipe": recipe.name,
            "title": recipe.title,
            "hash": digest(hashes),
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "finished": len(runs) == len(hashes),
            "data": context.data_facts(),
            "machine": machine,
            "versions": versions,
            "planned": list(hashes),
            "selection": {"metric": getattr(training, "select", "accuracy"), "split": "validation"},
            "runs": runs,
        },
    )
    return len(runs)
