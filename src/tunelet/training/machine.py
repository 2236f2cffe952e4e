"""On what a number was measured: processor, cores, threads, memory, accelerator and library versions.

A time means nothing without these. What identifies a person or an installation (host name, user, paths) is not here,
so a report can be shown to anyone.

Example:
    >>> machine = describe_machine()
    >>> machine["processor"], machine["cores"], machine["versions"]["torch"]   # doctest: +SKIP
    ('AMD EPYC 9354', 2, '2.13.0')
"""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from tunelet.base.cores import usable_cores
from tunelet.models.rates import native_bf16

LIBRARIES = ("tunelet", "torch", "transformers", "peft", "accelerate", "numpy")


def describe_machine() -> dict[str, Any]:
    """What this process computes with, ready for JSON.

    Returns:
        processor (its name), architecture, system, cores (those this process may use), threads (that torch uses),
        memory_bytes (what this process may use, or None where the system does not say), simd (torch's level of vector
        instructions), bf16 (whether the system says that the processor multiplies bfloat16 natively), cuda (one entry
        per visible device: name, memory_bytes, capability; empty without one) and versions (of Python, of CUDA, and of
        the libraries that set the speed).
    """
    import torch  # late: reading a report's machine needs no torch, and importing it takes seconds

    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "memory_bytes": memory_bytes(),
        "simd": torch.backends.cpu.get_cpu_capability(),
        "bf16": bool(native_bf16()),
        "cuda": [_cuda_device(index) for index in range(torch.cuda.device_count())],
        "versions": versions(),
    }


def versions() -> dict[str, str | None]:
    """Versions of Python, of CUDA (as torch was built for it) and of `LIBRARIES`; None for what is not installed."""
    import torch

    found: dict[str, str | None] = {"python": platform.python_version(), "cuda": torch.version.cuda}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def memory_bytes() -> int | None:
    """Bytes of memory that this process may use: the machine's, or less where a control group allows less."""
    try:
        limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (ValueError, OSError, AttributeError):  # systems that do not know these names
        return None
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        text = _read(limit).strip()
        if text.isdigit():  # "max" means no limit; the older interface says so by an absurdly large number
            limits.append(int(text))
    return min(limits)


def _processor() -> str:
    for line in _read(Path("/proc/cpuinfo")).split("\n"):
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def _cuda_device(index: int) -> dict[str, Any]:
    import torch

    properties = torch.cuda.get_device_properties(index)
    return {
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}",
    }


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
