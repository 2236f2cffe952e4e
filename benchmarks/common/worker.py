"""A worker's end of `processes`: finds its job and keeps the line to the parent clean of what libraries print.

Not here: the jobs.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

#: name -> module beside this one, and its function of (spec, channel)
JOBS = {
    "train_trainer": ("trainer_jobs", "train"),
    "learn_trainer": ("trainer_jobs", "learn"),
    "train_ours": ("our_jobs", "train"),
    "learn_ours": ("our_jobs", "learn"),
    "make_adapter": ("our_jobs", "make_adapter"),
    "predict_pipeline": ("predict_jobs", "pipeline"),
    "predict_ours": ("predict_jobs", "ours"),
    "rescore": ("rescore_jobs", "serve"),
    "fuse": ("fuse_jobs", "serve"),
    "understand": ("understand_jobs", "serve"),
    "resident": ("resident", "resident"),
}


class Channel:
    """The line to the parent."""

    def __init__(self, orders: TextIO, answers: TextIO) -> None:
        self._orders, self._answers = orders, answers

    def orders(self) -> Iterator[dict[str, Any]]:
        """Orders as they come, until the parent closes the line."""
        while line := self._orders.readline():
            yield json.loads(line)

    def answer(self, value: dict[str, Any]) -> None:
        """Send one answer."""
        self._answers.write(json.dumps(value) + "\n")
        self._answers.flush()


def main(arguments: Sequence[str]) -> int:
    """Do the job `arguments[0]` with the spec `arguments[1]` (JSON) until the orders end."""
    job, spec = arguments
    channel = Channel(sys.stdin, sys.stdout)
    sys.stdout = sys.stderr  # what libraries print must not come between the answers
    module, function = JOBS[job]
    getattr(importlib.import_module(f".{module}", __package__), function)(json.loads(spec), channel)
    return 0
