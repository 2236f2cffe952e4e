"""How many cores this process may use. Not here: how they are shared among threads and workers.

Example:
    >>> usable_cores() >= 1
    True
"""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Cores that this process may use: a container, or `taskset`, often leaves it fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
