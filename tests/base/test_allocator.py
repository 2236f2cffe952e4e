"""Memory that was freed is taken again: counted in page faults of a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tunelet.base.allocator import keep_freed_memory

_PROGRAM = """
import resource, sys
import numpy as np
from tunelet.base.allocator import keep_freed_memory

done = keep_freed_memory() if sys.argv[1] == "keep" else None
np.ones(1 << 22)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(1 << 22)  # 32 MiB
print(done, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(what: str, **environment: str) -> tuple[str, int]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", _PROGRAM, what]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env={**kept, **environment})
    done, count = run.stdout.split()
    return done, int(count)


@pytest.mark.skipif(sys.platform != "linux", reason="page faults of glibc's allocator")
def test_freed_memory_is_taken_again() -> None:
    done, kept = faults("keep")
    if done == "False":
        pytest.skip("the C library is not glibc")
    _, anew = faults("leave")
    assert kept < anew / 10, (kept, anew)


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_whoever_set_the_allocator_is_obeyed(name: str) -> None:
    assert keep_freed_memory({name: "1"}) is False


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory({}) is False
