"""The file that is the record, the mirrors of it, and what is said when one cannot be had."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelet.base.errors import InputError, MissingExtraError, ResumeError, TrainingError
from tunelet.training import tracking
from tunelet.training.tracking import AccelerateTracker, JsonlTracker, Mirrors, flatten, open_trackers

NAMES = ("mlflow", "tensorboard", "trackio", "wandb")
CONFIG = {"seed": 1, "tuning": {"r": 8, "targets": ["query", "value"], "dropout": None}}
ROWS = [
    (50, {"epoch": 0.05, "train_loss": 1.2}),
    (250, {"epoch": 0.25, "validation": {"accuracy": 0.9, "loss": math.nan}}),
]


def needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install 'tunelet[track]'")


@pytest.fixture(autouse=True)
def _no_wishes_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("WANDB_", "MLFLOW_", "TRACKIO_")):
            monkeypatch.delenv(name)


class TestJsonl:
    def test_rows_are_as_given_and_valid_json(self, tmp_path: Path) -> None:
        rows = JsonlTracker(tmp_path / "run" / "metrics.jsonl")
        for step, values in ROWS:
            rows.log(values, step)
        rows.finish()
        lines = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").split("\n")
        assert lines[0] == '{"step": 50, "epoch": 0.05, "train_loss": 1.2}'
        assert json.loads(lines[1])["validation"] == {"accuracy": 0.9, "loss": None}
        assert lines[2:] == [""]

    def test_each_row_can_be_read_at_once(self, tmp_path: Path) -> None:
        rows = JsonlTracker(tmp_path / "metrics.jsonl")
        rows.log({"a": 1}, 1)
        assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "a": 1}\n'

    def test_a_new_run_begins_an_empty_file(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics.jsonl"
        path.write_text("from before\n")
        JsonlTracker(path).finish()
        assert path.read_text() == ""

    @given(st.integers(0, 6), st.integers(0, 6), st.text(max_size=5))
    def test_a_resumed_file_is_equal_to_the_byte(
        self, tmp_path_factory: pytest.TempPathFactory, saved: int, lost: int, text: str
    ) -> None:
        def write(rows: JsonlTracker, first: int, last: int) -> None:
            for step in range(first, last):
                rows.log({"text": text, "value": step / 3}, step)

        folder = tmp_path_factory.mktemp("rows")
        whole = JsonlTracker(folder / "whole.jsonl")
        write(whole, 0, 8)
        whole.finish()
        killed = JsonlTracker(folder / "resumed.jsonl")
        write(killed, 0, saved)
        state = json.loads(json.dumps(killed.state_dict()))
        write(killed, saved, saved + lost)
        with open(killed.path, "ab") as file:
            file.write(b'{"step": 7, "to')  # the row that was being written
        resumed = JsonlTracker(folder / "resumed.jsonl")
        resumed.load_state_dict(state)
        write(resumed, saved, 8)
        assert resumed.path.read_bytes() == whole.path.read_bytes()
        assert resumed.state_dict() == whole.state_dict()

    def test_a_file_that_lost_rows_is_refused(self, tmp_path: Path) -> None:
        rows = JsonlTracker(tmp_path / "metrics.jsonl")
        rows.log({"a": 1}, 1)
        state = rows.state_dict()
        rows.path.write_bytes(b"")
        with pytest.raises(ResumeError, match=r"metrics\.jsonl: expected at least 20 bytes, found 0"):
            JsonlTracker(rows.path).load_state_dict(state)
        with pytest.raises(ResumeError, match="'bytes'"):
            JsonlTracker(rows.path).load_state_dict({})


class TestMirrors:
    class Recorder:
        def __init__(self, fail: bool = False) -> None:
            self.rows: list[tuple[int, dict[str, Any]]] = []
            self.finished = 0
            self.fail = fail

        def log(self, values: Mapping[str, Any], step: int) -> None:
            if self.fail:
                raise ConnectionError("the server is away")
            self.rows.append((step, dict(values)))

        def finish(self) -> None:
            self.finished += 1

    def test_one_that_fails_is_dropped_with_a_warning_and_the_others_go_on(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        good, bad = self.Recorder(), self.Recorder(fail=True)
        mirrors = Mirrors({"bad": bad, "good": good})
        with caplog.at_level(logging.WARNING):
            mirrors.log({"a": 1}, 1)
            mirrors.log({"a": 2}, 2)
        assert good.rows == [(1, {"a": 1}), (2, {"a": 2})]
        assert mirrors.names == ("good",)
        assert [record.getMessage() for record in caplog.records] == [
            "tracker bad failed and gets no more figures: ConnectionError: the server is away"
        ]

    def test_finishing_twice_closes_once(self) -> None:
        tracker = self.Recorder()
        mirrors = Mirrors({"one": tracker})
        mirrors.finish()
        mirrors.finish()
        assert tracker.finished == 1

    def test_only_numbers_that_can_be_drawn_are_passed_on(self) -> None:
        passed: list[tuple[dict[str, float], int]] = []

        class Inner:
            def log(self, values: dict[str, float], step: int) -> None:
                passed.append((values, step))

            def finish(self) -> None:
                passed.append(({}, -1))

        tracker = AccelerateTracker(Inner())
        for step, values in ROWS:
            tracker.log(values, step)
        tracker.log({"loss": math.inf, "note": "text", "nothing": None}, 300)
        tracker.finish()
        assert passed == [
            ({"epoch": 0.05, "train_loss": 1.2}, 50),
            ({"epoch": 0.25, "validation/accuracy": 0.9}, 250),
            ({}, -1),
        ]


def test_flatten_makes_what_every_tracker_takes() -> None:
    assert flatten(CONFIG, separator=".") == {
        "seed": 1,
        "tuning.r": 8,
        "tuning.targets": '["query", "value"]',
        "tuning.dropout": "null",
    }


class TestOpening:
    def test_no_tracker_is_asked_for(self, tmp_path: Path) -> None:
        mirrors = open_trackers([], "run", CONFIG, tmp_path)
        mirrors.log({"a": 1}, 1)
        mirrors.finish()
        assert mirrors.names == ()
        assert list(tmp_path.iterdir()) == []

    def test_unknown_names_are_all_told_with_the_nearest(self, tmp_path: Path) -> None:
        with pytest.raises(InputError) as caught:
            open_trackers(["tensorbord", "wandb", "w&b"], "run", CONFIG, tmp_path)
        assert len(caught.value.problems) == 2
        assert "did you mean 'tensorboard'?" in str(caught.value)

    @pytest.mark.parametrize("name", NAMES)
    def test_a_package_that_is_absent_is_named_with_the_command(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
        with pytest.raises(MissingExtraError, match=rf"tracking by {name} .*pip install 'tunelet\[track\]'") as caught:
            open_trackers([name], "run", CONFIG, tmp_path)
        assert caught.value.exit_status == 2
        assert list(tmp_path.iterdir()) == []

    def test_one_that_cannot_be_opened_closes_those_before_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = TestMirrors.Recorder()

        def refuse(run_name: str, config: dict[str, Any], folder: Path) -> AccelerateTracker:
            raise OSError("no space left")

        openers = {"tensorboard": lambda run_name, config, folder: first, "wandb": refuse}
        monkeypatch.setattr(tracking, "_installed", lambda package: True)
        monkeypatch.setattr(tracking._OPENERS, "_entries", openers)
        with pytest.raises(TrainingError, match="tracker wandb could not be opened: OSError: no space left"):
            open_trackers(["tensorboard", "wandb"], "run", CONFIG, tmp_path)
        assert first.finished == 1

    def test_only_the_main_process_opens(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tracking, "_installed", lambda package: True)
        monkeypatch.setattr(tracking, "_is_main_process", lambda: False)
        assert open_trackers(NAMES, "run", CONFIG, tmp_path).names == ()


class TestRealTrackers:
    """Each package for real, offline: what was logged can be read back, and standard output stays clean."""

    def track(self, name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        mirrors = open_trackers([name, name], "lora-seed1", CONFIG, folder)
        for step, values in ROWS:
            mirrors.log(values, step)
        assert mirrors.names == (name,)  # none was dropped
        mirrors.finish()
        assert capsys.readouterr().out == ""

    def test_tensorboard(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        needs("tensorboard")
        self.track("tensorboard", tmp_path, capsys)
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(tmp_path / "tracking" / "tensorboard" / "lora-seed1"))
        events.Reload()
        assert [(e.step, round(e.value, 6)) for e in events.Scalars("train_loss")] == [(50, 1.2)]
        assert [(e.step, round(e.value, 6)) for e in events.Scalars("validation/accuracy")] == [(250, 0.9)]

    def test_mlflow_in_the_folder_of_the_run(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        needs("mlflow")
        self.track("mlflow", tmp_path, capsys)
        import mlflow

        assert str(tmp_path) in mlflow.get_tracking_uri()
        (run,) = mlflow.MlflowClient().search_runs([mlflow.get_experiment_by_name(tracking.PROJECT).experiment_id])
        assert run.info.run_name == "lora-seed1"
        assert run.info.status == "FINISHED"
        assert run.data.metrics == {"epoch": 0.25, "train_loss": 1.2, "validation/accuracy": 0.9}
        assert run.data.params["tuning.r"] == "8"

    def test_wandb_offline(self, tmp_path: Path) -> None:
        needs("wandb")
        self.track_in_a_process("wandb", tmp_path)
        (record,) = (tmp_path / "tracking" / "wandb").glob("offline-run-*/run-*.wandb")
        content = record.read_bytes()
        assert b"lora-seed1" in content
        assert b"validation/accuracy" in content

    def test_trackio_in_its_database(self, tmp_path: Path) -> None:
        needs("trackio")
        self.track_in_a_process("trackio", tmp_path, TRACKIO_DIR=str(tmp_path / "trackio"))
        with sqlite3.connect(tmp_path / "trackio" / f"{tracking.PROJECT}.db") as database:
            ((run, step, metrics),) = database.execute("select run_name, step, metrics from metrics").fetchall()
        assert (run, step) == ("lora-seed1", 250)
        assert json.loads(metrics) == {"epoch": 0.25, "validation/accuracy": 0.9}

    def track_in_a_process(self, name: str, folder: Path, **environment: str) -> None:
        """For those that read their environment when imported, or write and speak when Python ends."""
        program = (
            "import sys; from pathlib import Path; from tunelet.training.tracking import open_trackers\n"
            "mirrors = open_trackers([sys.argv[1]], 'lora-seed1', {'tuning': {'r': 8}}, Path(sys.argv[2]))\n"
            "mirrors.log({'epoch': 0.25, 'validation': {'accuracy': 0.9}}, 250)\n"
            "assert mirrors.names == (sys.argv[1],)\n"
            "mirrors.finish()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, name, str(folder)],
            env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
