"""Runs that train one by one: nothing in common, one after the other, and what an unfinished run needs goes."""

from __future__ import annotations

import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tunelet.systems.alone import Alone, now


class Counted(Alone):
    STATES = ("state", "fold-*/state")

    def execute(self, run: Any, folder: Path, run_hash: str, observer: Any, interrupted: Any, place: Any) -> Any:
        return {"run": run, "hash": run_hash, "place": place}


def test_runs_asked_together_come_one_after_the_other(tmp_path: Path) -> None:
    jobs: list[Any] = [SimpleNamespace(run=n, folder=tmp_path, hash=f"h{n}", place=(n, 2)) for n in (1, 2)]
    found = list(Counted().execute_together(jobs, lambda event: None, lambda: False))
    assert [(job.run, result) for job, result in found] == [
        (n, {"run": n, "hash": f"h{n}", "place": (n, 2)}) for n in (1, 2)
    ]
    assert Counted().together(jobs[0].run) is None


@pytest.mark.parametrize("kept", [False, True])
def test_states_go_unless_they_are_to_be_kept(tmp_path: Path, kept: bool) -> None:
    states = [tmp_path / name / "step-5" for name in ("state", "fold-1/state", "fold-2/state")]
    for state in states:
        state.mkdir(parents=True)
    run: Any = SimpleNamespace(settings={"training": SimpleNamespace(keep_states=kept)})
    Counted().tidy(run, tmp_path)
    assert [state.exists() for state in states] == [kept] * 3


def test_the_time_is_that_of_utc_in_whole_seconds() -> None:
    told = datetime.datetime.fromisoformat(now())
    assert told.utcoffset() == datetime.timedelta(0) and told.microsecond == 0
    assert abs(told - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(seconds=5)
