"""Memory that was freed is taken again: counted in page faults of a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tunelet.base.allocator import hand_back_freed_memory, keep_freed_memory

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
    assert hand_back_freed_memory() is False


_LADEN = """
import gc, sys
import numpy as np
from tunelet.base.allocator import hand_back_freed_memory, keep_freed_memory

def resident():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))

class Held: pass

gc.disable()
kept, before = keep_freed_memory(), resident()
mine, held = Held(), [np.ones(1 << 20) for _ in range(32)]  # 8 MiB each
mine.mine, mine.held = mine, held[::2]
last = held[-1]  # stays, above all that is freed
del mine, held
laden = resident()
print(kept, hand_back_freed_memory(), laden - before, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_what_is_free_is_handed_back_and_what_hangs_in_cycles_is_freed() -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    run = subprocess.run([sys.executable, "-c", _LADEN], capture_output=True, text=True, check=True, env=kept)
    keeps, handed_back, laden, left = run.stdout.split()
    if keeps == "False":
        pytest.skip("the C library is not glibc")
    assert handed_back == "True"
    assert int(laden) > 240 * 1024 and int(left) < 48 * 1024, (laden, left)  # KiB; `last` and numpy's own
