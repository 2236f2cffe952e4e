"""The worker's side: what it does with an order, and what it tells."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from toy_sweep import Toy, same_files
from tunelet.systems.jobs import Order
from tunelet.systems.worker import work


@pytest.fixture
def order(ended: Toy, tmp_path: Path) -> Order:
    """The order to do a run of the ended sweep again, in a folder of its own."""
    run_hash = next(run["hash"] for run in ended.result()["runs"] if run["name"] == "lora-seed2")
    folder = tmp_path / "run"
    return Order(str(ended.out), str(tmp_path / "c"), str(ended.data), "lora-seed2", str(folder), run_hash, (2, 4))


def told(order: Order, interrupted: Callable[[], bool] = lambda: False) -> tuple[int, list[dict[str, Any]]]:
    """Status and rows of a worker."""
    rows: list[dict[str, Any]] = []
    return work(order, rows.append, interrupted), rows


def test_the_run_is_done_as_the_sweep_does_it(order: Order, ended: Toy) -> None:
    status, rows = told(order)
    assert status == 0
    assert same_files(Path(order.folder), ended.folder("lora-seed2")) == []
    assert [row["step"] for row in rows if row["event"] == "StepDone"] == [1, 2, 3, 4, 5, 6]
    (started,) = (row for row in rows if row["event"] == "RunStarted")
    assert (started["name"], started["number"], started["runs"], started["step"]) == ("lora-seed2", 2, 4, 0)
    assert all(row["text"].startswith("lora-seed2: ") for row in rows if row["event"] == "Note")


def test_an_interrupt_saves_the_state(order: Order) -> None:
    status, rows = told(order, lambda: True)
    assert (status, [row["step"] for row in rows if row["event"] == "StepDone"]) == (130, [1])
    assert (Path(order.folder) / "state" / "step-00000001").is_dir()


def test_other_data_than_the_sweep_began_with_are_noticed(order: Order) -> None:
    status, rows = told(replace(order, hash="0" * 64))
    assert status == 1
    assert "changed after the sweep had begun" in rows[-1]["error"]
    assert not Path(order.folder).exists()


def test_wrong_input_keeps_its_status(order: Order, tmp_path: Path) -> None:
    status, rows = told(replace(order, data=str(tmp_path / "nowhere")))
    assert status == 2
    assert "does not exist" in rows[-1]["error"]


def test_what_others_print_does_not_come_between_the_events(order: Order) -> None:
    noisy = "import os, sys, tunelet.systems.worker as worker; real = worker.work\n"
    noisy += "def work(*arguments):\n    print('from Python'); os.system('echo from C'); return real(*arguments)\n"
    noisy += "worker.work = work; sys.exit(worker.main(sys.argv[1]))"
    wrong = json.dumps(asdict(replace(order, data="nowhere")))
    done = subprocess.run([sys.executable, "-c", noisy, wrong], capture_output=True, text=True)
    assert done.returncode == 2
    assert [list(json.loads(line)) for line in done.stdout.splitlines()] == [["error"]]
    assert "from Python" in done.stderr and "from C" in done.stderr


@pytest.mark.slow
def test_without_a_reader_it_stops_with_its_state_saved(order: Order) -> None:
    command = [sys.executable, "-m", "tunelet.systems.worker", json.dumps(asdict(order))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 130
    assert "Traceback" not in said and "BrokenPipe" not in said
    assert (Path(order.folder) / "state" / "step-00000001").is_dir()
