"""Reading a sweep folder: what is there, what is missing, and errors that name file, line and field."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from report.sweeps import EMOTIONS
from tunelet.base.errors import InputError
from tunelet.report import result_schema
from tunelet.report.results import read_curve, read_sweep, read_test_predictions


@pytest.fixture
def folder(small_sweep: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(small_sweep, tmp_path / "sweep")


def _edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    result = json.loads((folder / "result.json").read_text())
    change(result)
    (folder / "result.json").write_text(json.dumps(result))


def test_reads_all_runs_with_curves_and_predictions(small_sweep: Path) -> None:
    sweep = read_sweep(small_sweep)
    assert len(sweep.runs) == 9
    assert sweep.missing == () and sweep.warnings == ()
    run = sweep.runs[0]
    rows = [json.loads(line) for line in (small_sweep / run.run.folder / "predictions/test.jsonl").open()]
    assert run.predictions is not None
    assert [EMOTIONS[index] for index in run.predictions.predicted] == [row["predicted"] for row in rows]
    assert run.predictions.correct.tolist() == [row["predicted"] == row["label"] for row in rows]
    assert len(run.curve.train) == 45 and len(run.curve.validation) == 9


def test_no_result_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no result\.json here.*tunelet run"):
        read_sweep(tmp_path)


BREAKS: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("missing field", lambda r: r["runs"][1].pop("method"), r"result\.json: runs\[1\]\.method: field required"),
    ("wrong type", lambda r: r["runs"][0].update(seed="one"), r"runs\[0\]\.seed: .*found 'one'"),
    ("share above one", lambda r: r["runs"][0]["metrics"]["test"].update(accuracy=93.0), r"accuracy: .*found 93\.0"),
    ("no labels", lambda r: r["data"].update(labels=[]), r"data\.labels"),
    ("name without seed", lambda r: r["runs"][0].update(name="full"), r"runs\[0\]\.name: .*found 'full'"),
    ("chosen on test", lambda r: r["selection"].update(split="test"), r"selection\.split"),
    ("other version", lambda r: r.update(schema=2), r"schema: found version 2, expected 1"),
]


@pytest.mark.parametrize(("change", "message"), [row[1:] for row in BREAKS], ids=[row[0] for row in BREAKS])
def test_wrong_result_names_file_and_field(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    _edit(folder, change)
    with pytest.raises(InputError, match=message):
        read_sweep(folder)


def test_all_problems_of_a_result_at_once(folder: Path) -> None:
    _edit(folder, lambda result: (result.pop("machine"), result["runs"][0].pop("hash"), result["data"].pop("task")))
    with pytest.raises(InputError) as caught:
        read_sweep(folder)
    assert [problem.field for problem in caught.value.problems] == ["machine", "data.task", "runs[0].hash"]


def test_unknown_fields_are_kept_for_later_versions(folder: Path) -> None:
    _edit(folder, lambda result: result.update(note="new"))
    assert read_sweep(folder).result.model_extra == {"note": "new"}


def test_score_that_the_rows_do_not_give_is_told(folder: Path) -> None:
    _edit(folder, lambda result: result["runs"][0]["metrics"]["test"].update(accuracy=0.5))
    warnings = read_sweep(folder).warnings
    assert len(warnings) == 1
    assert "says test accuracy 0.5000 (n 300), but its prediction rows give" in warnings[0]


def test_missing_files_of_a_run_are_told(folder: Path) -> None:
    home = next((folder / "runs").iterdir())
    (home / "predictions/test.jsonl").unlink()
    (home / "metrics.jsonl").unlink()
    (folder / "audit.json").unlink()
    warnings = read_sweep(folder).warnings
    assert sum("metrics.jsonl is missing" in warning for warning in warnings) == 1
    assert sum("predictions/test.jsonl is missing" in warning for warning in warnings) == 1
    assert sum("audit.json is not there" in warning for warning in warnings) == 1


def test_unfinished_run_tells_its_last_step(folder: Path) -> None:
    _edit(folder, lambda result: result["runs"].pop(0))
    missing = read_sweep(folder).missing
    assert [(row.name, row.last_step) for row in missing] == [("lora-qkv-r8-seed1", 2250)]


def test_torn_last_line_of_a_log_is_left_out_but_others_are_errors(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 50, "train_loss": 1.5}\n{"step": 100, "train_l')
    assert read_curve(log).train == ((50, 1.5),)
    log.write_text('{"step": 50, "train_l\n{"step": 100, "train_loss": 1.5}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl:1: not JSON"):
        read_curve(log)
    log.write_text('{"step": 50, "train_loss": "low"}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl:1: train_loss: expected a number, found 'low'"):
        read_curve(log)


def test_bad_prediction_rows_are_told_together(tmp_path: Path) -> None:
    file = tmp_path / "test.jsonl"
    good = {"id": "1", "text": "a", "label": "joy", "predicted": "joy", "probabilities": {"joy": 0.9, "fear": 0.1}}
    rows = [good, {**good, "predicted": "jow"}, {**good, "probabilities": {"joy": 1.0}}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError) as caught:
        read_test_predictions(file, ("joy", "fear"))
    assert [(problem.line, problem.field) for problem in caught.value.problems] == [
        (2, "label or predicted"),
        (3, "probabilities"),
    ]
    assert "'jow'" in str(caught.value)


def test_schema_names_what_other_tools_rely_on(small_sweep: Path) -> None:
    schema = result_schema.schema()
    assert {"schema", "recipe", "data", "runs", "planned", "machine"} <= set(schema["required"])
    run = schema["$defs"]["Run"]
    assert {"name", "method", "seed", "metrics", "resources"} <= set(run["required"])
    needed = {"train_seconds", "tokens_per_second", "steps", "peak_memory_bytes", "trainable_parameters"}
    assert needed <= set(schema["$defs"]["Resources"]["required"])
    result_schema.validate(json.loads((small_sweep / "result.json").read_text()))
