"""Lets the C library keep freed memory for the tensors that come next, in a program of ours.

A training step takes and frees tensors of many megabytes, the same ones in every step. glibc maps each anew and hands
it back when it is freed, so the kernel clears every page of it once more. With what was freed kept, nothing is computed
otherwise; a program holds on to the most it ever needed. Programs call this (`cli`, `systems.worker`); importing the
package does not. Between two runs of a sweep memory is handed back (`systems.sweep`): what the next one takes is of
other sizes, fits badly between what is left of the first, and would come on top.

Example:
    >>> keep_freed_memory({"MALLOC_ARENA_MAX": "1"})
    False
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Mapping

# of malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
#: Bytes that are taken at once when there is too little.
_STEP = 1 << 26


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Ask glibc for it; whoever set the allocator himself (``MALLOC_...``, ``GLIBC_TUNABLES``) is obeyed instead.

    Returns:
        Whether that was done: elsewhere than with glibc on Linux it is not.
    """
    if any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in environment):
        return False
    library = _glibc()
    wanted = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, _STEP))
    return library is not None and all(library.mallopt(option, value) == 1 for option, value in wanted)


def hand_back_freed_memory() -> bool:
    """Free what only reference cycles hold, and hand all that is free back to the system.

    Returns:
        Whether any was handed back: elsewhere than with glibc on Linux it is not.
    """
    gc.collect()
    library = _glibc()
    return library is not None and library.malloc_trim(0) == 1


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "gnu_get_libc_version") else None
