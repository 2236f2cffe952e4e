"""The cores of a process that is bound to one, counted by a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tunelet.base.cores import usable_cores

_PROGRAM = """
import os
from tunelet.base.cores import usable_cores

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(usable_cores())
"""


def test_there_is_at_least_one_and_no_more_than_the_machine_has() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="programs cannot be bound to cores here")
def test_a_program_that_is_bound_to_one_core_has_one() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_where_programs_cannot_be_bound_those_of_the_machine_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1
