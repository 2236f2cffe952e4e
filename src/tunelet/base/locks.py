"""One process at a time in a run folder. Not here: locks between machines that share no file system.

The lock is the operating system's (``flock``): it goes when the process goes, however that ends, so a crash leaves
no stale lock behind.

Example:
    >>> with folder_lock(folder):       # doctest: +SKIP
    ...     train()
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunelet.base.errors import RunFolderBusyError


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process.

    Raises:
        RunFolderBusyError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunFolderBusyError(
                f"{folder}: another process is at work in this run folder; wait for it, or give another --out"
            ) from None
        yield
    finally:
        os.close(handle)
