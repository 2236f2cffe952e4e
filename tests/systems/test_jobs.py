"""Runs in processes: the parent's side with workers that are small scripts, then the whole with real ones."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toy_sweep import Toy, same_files
from tunelet.base.errors import DamagedFileError, InputError, RunFolderBusyError, TrainingError, TuneletError
from tunelet.base.locks import folder_lock
from tunelet.systems import jobs
from tunelet.systems.jobs import LOG, Job, Workplace, finished, in_processes
from tunelet.systems.recipes import PlannedRun
from tunelet.training.events import Event, Note, StepDone, ignore, to_json

#: what every script begins with; `order` is what it was told
PREAMBLE = """
import json, os, pathlib, signal, sys, time
order = json.loads(sys.argv[1])
folder = pathlib.Path(order["folder"])
def done():
    (folder / "run.json").write_text(json.dumps({"name": order["run"], "hash": order["hash"]}))
def wait(path):
    while not path.exists():
        time.sleep(0.01)
"""
#: waits for SIGTERM, then tells that it saved its state
OBEDIENT = """
def stop(number, frame):
    (folder / "saved").touch()
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
(folder / "begun").touch()
while True:
    time.sleep(0.01)
"""

#: the class itself; a fixture puts a function in its place
POPEN = subprocess.Popen


def patiently(what: Callable[[], bool]) -> bool:
    """Whether `what` comes true; five minutes are for a machine that has other things to do."""
    end = time.monotonic() + 300
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path, tmp_path / ".cache", None)


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Scripts of the workers by run; the processes that were started and their environments are noted beside them."""
    known: dict[str, Any] = {"processes": [], "environments": []}

    def popen(command: list[str], *, env: dict[str, str], **options: Any) -> subprocess.Popen[str]:
        order = command[-1]
        process = POPEN([sys.executable, "-c", PREAMBLE + known[json.loads(order)["run"]], order], env=env, **options)
        known["processes"].append(process)
        known["environments"].append(env)
        return process

    monkeypatch.setattr(jobs.subprocess, "Popen", popen)
    return known


def job(place: Workplace, name: str, number: int = 1) -> Job:
    return Job(PlannedRun(name, number, {}), place.sweep / "runs" / name, f"hash of {name}", (number, 3))


def names(done: list[tuple[Job, dict[str, Any]]]) -> list[str]:
    return [found.run.name for found, _ in done]


# --- a finished run


def test_a_run_is_finished_when_its_run_json_has_its_hash(tmp_path: Path) -> None:
    assert finished(tmp_path, "a") is None
    (tmp_path / "run.json").write_text('{"hash": "a", "seed": 1}')
    assert finished(tmp_path, "a") == {"hash": "a", "seed": 1}
    assert finished(tmp_path, "b") is None


@pytest.mark.parametrize("content", ['{"hash": "a"', "[1]", '"a"'])
def test_a_run_json_that_no_run_wrote_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(DamagedFileError, match=r"run\.json"):
        finished(tmp_path, "a")


# --- the parent's side


def test_all_jobs_are_done_and_their_events_passed_on(place: Workplace, scripts: dict[str, Any]) -> None:
    step = to_json(StepDone(1, 3, float("nan"), 1e-3, 100, "b"))
    scripts |= {"a-seed1": "done()", "b-seed2": f"print({json.dumps(json.dumps(step))}); done()", "c-seed3": "done()"}
    seen: list[Event] = []
    work = [job(place, name, number) for number, name in enumerate("abc", start=1)]
    done = list(in_processes(work, 2, place, seen.append, lambda: False))
    assert sorted(names(done)) == ["a-seed1", "b-seed2", "c-seed3"]
    assert all(result["name"] == found.run.name for found, result in done)
    (told,) = seen
    assert isinstance(told, StepDone) and (told.name, told.tokens) == ("b", 100) and told.loss != told.loss


def test_no_more_than_asked_for_at_once(place: Workplace, scripts: dict[str, Any]) -> None:
    # a and b run at the same time, each waits for the other; c may only begin when one of them has ended
    absent = "assert not (folder.parent / 'c').exists()"
    scripts["a-seed1"] = f"wait(folder.parent / 'b' / 'begun'); {absent}; (folder / 'seen').touch(); done()"
    scripts["b-seed2"] = f"{absent}; (folder / 'begun').touch(); wait(folder.parent / 'a' / 'seen'); done()"
    scripts["c-seed3"] = "done()"
    work = [job(place, name, number) for number, name in enumerate("abc", start=1)]
    assert len(list(in_processes(work, 2, place, ignore, lambda: False))) == 3


@pytest.mark.parametrize(("given", "expected"), [(None, "3"), ("1", "1")])
def test_threads_are_shared_unless_the_user_has_said_how_many(
    given: str | None, expected: str, place: Workplace, scripts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "usable_cores", lambda: 7)
    monkeypatch.delenv("OMP_NUM_THREADS")
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    scripts["a-seed1"] = "done()"
    list(in_processes([job(place, "a")], 2, place, ignore, lambda: False))
    assert [environment["OMP_NUM_THREADS"] for environment in scripts["environments"]] == [expected]


@pytest.mark.parametrize(
    ("script", "kind", "says"),
    [
        ("print(json.dumps({'error': 'line 1\\nline 2'})); sys.exit(1)", TrainingError, "a-seed1: line 1\nline 2"),
        ("print(json.dumps({'error': 'no such module'})); sys.exit(2)", InputError, "a-seed1: no such module"),
        ("1 / 0", TrainingError, "a-seed1: its process ended with status 1: ZeroDivisionError: division by zero"),
        ("os.kill(os.getpid(), signal.SIGKILL)", TrainingError, "a-seed1: its process was ended by SIGKILL"),
        ("pass", TrainingError, "a-seed1: its process ended with status 0"),
    ],
)
def test_a_worker_that_fails_is_told_with_its_reason(
    script: str, kind: type[TuneletError], says: str, place: Workplace, scripts: dict[str, Any]
) -> None:
    scripts["a-seed1"] = script
    with pytest.raises(kind) as caught:
        list(in_processes([job(place, "a")], 2, place, ignore, lambda: False))
    assert str(caught.value).startswith(says)
    assert "Traceback" not in str(caught.value)


def test_a_failure_stops_the_others_and_starts_no_more(place: Workplace, scripts: dict[str, Any]) -> None:
    scripts["a-seed1"] = "done()"
    scripts["b-seed2"] = OBEDIENT
    scripts["c-seed3"] = "wait(folder.parent / 'b' / 'begun'); sys.exit(1)"
    scripts["d-seed4"] = "done()"
    work = [job(place, name, number) for number, name in enumerate("abcd", start=1)]
    done = []
    with pytest.raises(TrainingError, match="c-seed3"):
        for found in in_processes(work, 2, place, ignore, lambda: False):
            done.append(found)
    assert names(done) == ["a-seed1"]
    assert (work[1].folder / "saved").exists()
    assert not work[3].folder.exists()


def test_an_interrupt_lets_every_worker_save(place: Workplace, scripts: dict[str, Any]) -> None:
    scripts |= {"a-seed1": OBEDIENT, "b-seed2": OBEDIENT}
    work = [job(place, "a"), job(place, "b", 2)]
    with pytest.raises(KeyboardInterrupt):
        list(in_processes(work, 2, place, ignore, lambda: all((j.folder / "begun").exists() for j in work)))
    assert all((each.folder / "saved").exists() for each in work)
    assert [process.poll() for process in scripts["processes"]] == [130, 130]


def test_closing_the_generator_leaves_no_worker(place: Workplace, scripts: dict[str, Any]) -> None:
    scripts["a-seed1"] = "wait(folder.parent / 'b' / 'begun'); done()"
    scripts["b-seed2"] = OBEDIENT
    done = in_processes([job(place, "a"), job(place, "b", 2)], 2, place, ignore, lambda: False)
    assert next(done)[0].run.name == "a-seed1"
    done.close()
    assert [process.poll() for process in scripts["processes"]] == [0, 130]


def test_an_interrupt_while_waiting_ends_workers_at_once(
    place: Workplace, scripts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts["a-seed1"] = "signal.signal(signal.SIGTERM, signal.SIG_IGN); (folder / 'begun').touch(); time.sleep(600)"
    real, waits = POPEN.wait, []

    def wait(process: subprocess.Popen[str], timeout: float | None = None) -> int:
        if threading.current_thread() is threading.main_thread() and not waits:
            waits.append(process)
            raise KeyboardInterrupt  # the second one, while the parent waits for the worker to save
        return real(process, timeout)

    work = job(place, "a")
    monkeypatch.setattr(POPEN, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        list(in_processes([work], 2, place, ignore, (work.folder / "begun").exists))
    assert [process.poll() for process in scripts["processes"]] == [-signal.SIGKILL]


# --- with real workers


@pytest.mark.slow
def test_side_by_side_gives_the_bytes_of_one_by_one(ended: Toy, tmp_path: Path) -> None:
    toy = ended.fresh(tmp_path / "out")
    toy.run("seeds=[2]", jobs=2)
    expected = {run["name"]: run for run in ended.result()["runs"]}
    assert [run["name"] for run in toy.result()["runs"]] == ["lora-seed2", "full-seed2"]
    for run in toy.result()["runs"]:
        assert same_files(toy.folder(run["name"]), ended.folder(run["name"])) == []
        assert all(run[key] == expected[run["name"]][key] for key in ("hash", "metrics", "best_step", "folder"))
    assert toy.result()["finished"] is True
    assert list(toy.out.rglob(LOG)) == []
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # the cache is in it, too
    assert all(any(note.text.startswith(run["name"]) for note in toy.told(Note)) for run in toy.result()["runs"])


@pytest.mark.slow
def test_a_real_worker_that_fails_leaves_the_results_of_the_others(ended: Toy, tmp_path: Path) -> None:
    toy = ended.copy(tmp_path / "out")
    with pytest.raises(TrainingError, match=r"lora-seed\d: the .* at step \d+; the batch holds the examples "):
        toy.run("runs=[{name: lora, training: {learning_rate: 1e38}}, {name: full, tuning: {method: full}}]", jobs=2)
    assert [run["name"] for run in toy.result()["runs"]] == ["full-seed1", "full-seed2"]
    assert toy.result()["finished"] is False


def free(folder: Path) -> bool:
    """Whether no process works in a run's folder."""
    try:
        with folder_lock(folder):
            return True
    except RunFolderBusyError:
        return False


def begun(toy: Toy, *runs: str) -> bool:
    """Whether each of the runs has logged a step."""
    curves = [path for run in runs for path in (toy.out / "runs").glob(f"{run}-*/metrics.jsonl")]
    return len(curves) == len(runs) and all(path.stat().st_size for path in curves)


@pytest.mark.slow
def test_workers_do_not_outlive_their_parent(ended: Toy, tmp_path: Path) -> None:
    toy = ended.fresh(tmp_path / "out")
    endless = ["-o", "training.max_steps=1000000", "-o", "training.epochs=1000000", "-o", "training.schedule=constant"]
    process = toy.process("--jobs", "2", "--only", "lora", *endless, "-o", "training.save_every=1000000")
    with process:
        assert patiently(lambda: begun(toy, "lora-seed1", "lora-seed2") or process.poll() is not None)
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    for name in ("lora-seed1", "lora-seed2"):
        folder = toy.folder(name)
        assert patiently(lambda folder=folder: free(folder))
        (state,) = (folder / "state").glob("step-*")  # saved when the parent was gone, not at some appointed step
        assert int(state.name.removeprefix("step-")) < 1_000_000
        assert not (folder / "run.json").exists()
