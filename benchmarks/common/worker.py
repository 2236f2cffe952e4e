"""A worker's end of `processes`: finds its job and keeps the line to the parent clean of what libraries print.

Not here: the jobs.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

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

    def __init__(self, line: Connection) -> None:
        self._line = line

    def orders(self) -> Iterator[dict[str, Any]]:
        """Orders as they come, until the parent closes the line."""
        while True:
            try:
                yield json.loads(self._line.recv_bytes())
            except (EOFError, ConnectionResetError):
                return

    def answer(self, value: dict[str, Any]) -> None:
        """Send one answer."""
        self._line.send_bytes(json.dumps(value).encode())


def work(job: str, spec: dict[str, Any], line: Connection, log: str) -> None:
    """Do a job until the orders end; what libraries print goes into the file `log`."""
    sys.stdout.flush()
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    module, function = JOBS[job]
    getattr(importlib.import_module(f".{module}", __package__), function)(spec, Channel(line))
