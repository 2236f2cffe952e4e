"""Runs a toy recipe to its end in one child process, and in others kills it and starts it again.

A script of its own: a process that has run autograd cannot fork, so this one only imports, forks and compares. It
prints JSON: {"reference": {file: sha256}, "killed": {point: {file: sha256}}}. A point is ``step:7`` (killed when step 7
is done) or ``write:synced:3`` (killed in the third write, when its bytes are synced but not renamed).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import sklearn.metrics  # noqa: F401  (as is `classify`: imported once, here, for all children)
import torch

from tunelet.base import files
from tunelet.systems import (
    classify,  # noqa: F401
    load_recipe,
    run_recipe,
    sweep,
)
from tunelet.training.events import Event, StepDone


def die() -> None:
    """As the kernel kills a process that used too much memory: nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked child; its exit status, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def train(recipe: str, overrides: list[str], data: Path, out: Path, point: str | None = None) -> None:
    """Run the recipe; die at `point`."""
    torch.set_num_threads(1)
    kind, _, place = (point or "").partition(":")
    writes = {"written": 0, "synced": 0, "renamed": 0}

    def observe(event: Event) -> None:
        if kind == "step" and isinstance(event, StepDone) and event.step == int(place):
            die()

    def in_write(stage: str, path: Path) -> None:
        if "state" in path.parts:
            writes[stage] += 1
            if kind == "write" and place == f"{stage}:{writes[stage]}":
                die()

    files.fault_hook = in_write
    # nobody reads the reports here, and drawing one takes as long as all of a toy's training
    sweep.build_report = lambda folder: None
    run_recipe(load_recipe(recipe, overrides), data_dir=data, out=out, observer=observe)


def fingerprint(out: Path) -> dict[str, str]:
    """sha256 of everything in the run that must not depend on how often it was killed."""
    (run,) = (out / "runs").iterdir()
    kept = [run / "metrics.jsonl", *sorted((run / "predictions").iterdir()), *sorted((run / "adapter").iterdir())]
    hashes = {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}
    result = json.loads((run / "run.json").read_text())
    resources = {key: result["resources"][key] for key in ("steps", "samples", "tokens", "memory")}
    told = {"metrics": result["metrics"], "best_step": result["best_step"], "resources": resources}
    return hashes | {"run.json": hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()}


def main(recipe: str, data: str, folder: str, points: str, *overrides: str) -> None:
    """Train once whole and once for each point."""
    base = Path(folder)
    arguments = (recipe, list(overrides), Path(data))
    if in_child(lambda: train(*arguments, base / "whole")) != 0:
        sys.exit("the reference run failed")
    killed = {}
    for point in points.split(","):
        out = base / point.replace(":", "-")
        status = in_child(lambda out=out, point=point: train(*arguments, out, point))
        if status != -signal.SIGKILL:
            sys.exit(f"{point}: the run was to be killed there, but ended with {status}")
        if in_child(lambda out=out: train(*arguments, out)) != 0:
            sys.exit(f"{point}: the second run failed")
        killed[point] = fingerprint(out)
    print(json.dumps({"reference": fingerprint(base / "whole"), "killed": killed}))


if __name__ == "__main__":
    main(*sys.argv[1:])
