"""The report of `speech-encoder` from a result.json made by hand: half-way, escaped, and what is wrong in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunelet.base.errors import InputError
from tunelet.report.content import Report
from tunelet.report.page import build_report
from tunelet.report.speech_encoder import make


def a_run(group: str, wrong: int) -> dict[str, Any]:
    errors = {"hits": 100 - wrong, "substitutions": wrong, "deletions": 0, "insertions": 0}
    rows = {"en-us+f4": errors, "en-us+<b>": {**errors, "deletions": 50}}
    scores = {"wer": wrong / 100, "cer": wrong / 200, "piece_error_rate": None, "loss": 1.0, "counts": errors,
              "by_voice": rows, "clips": 12, "seconds": 36.5}  # fmt: skip
    return {
        "name": f"{group}-seed1",
        "group": group,
        "method": "full",
        "seed": 1,
        "folder": f"runs/{group}-seed1",
        "hash": "0" * 64,
        "base": {"name": "small speech encoder", "fingerprint": "f"},
        "settings": {},
        "pieces": None,
        "heard_seconds": 7200.0,
        "best_step": 40,
        "metrics": {
            "validation": scores,
            "test": scores,
            "recorded": {**scores, "wer": 0.75, "by_voice": {"real": errors}},
        },
        "resources": {
            "train_seconds": 60.0,
            "tokens_per_second": 9000.0,
            "steps": 50,
            "peak_memory_bytes": 1 << 20,
            "trainable_parameters": 1000,
            "total_parameters": 1000,
            "adapter_bytes": 4096,
        },
    }


def a_result(folder: Path, runs: list[dict[str, Any]], **changes: Any) -> Path:
    result = {
        "schema": 1,
        "system": "speech-encoder",
        "recipe": "toy",
        "created": "2026-01-01T00:00:00+00:00",
        "finished": False,
        "data": {
            "source": {"kind": "embedded", "location": "sentences <b>"},
            "sha256": "a",
            "splits": {"train": 30, "validation": 10, "test": 10},
            "words": {"train": 240, "validation": 80, "test": 80},
            "voices": {"train": ["a"], "validation": ["b"], "test": ["c", "d"]},
            "texts": {"meld": {"train": 30, "validation": 10, "test": 10}},
            "recordings": {"speech": 7, "more": 5},
            "recorded": {"speech": 3},
        },
        "machine": {"memory_bytes": 1 << 30},
        "versions": {"torch": "2"},
        "planned": ["wide-seed1", "small-seed1"],
        "selection": {"metric": "wer", "split": "validation"},
        "runs": runs,
        **changes,
    }
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return folder


def best(report: Report) -> dict[str, str]:
    """Cells of the best run by the titles of their columns."""
    cells: dict[str, str] = {}
    for table in report.sections[0].tables:
        cells |= zip((column.label for column in table.columns), table.rows[0].cells, strict=True)
    return cells


def test_errors_of_a_search_stand_beside_those_without(tmp_path: Path) -> None:
    run = a_run("small", 20)
    for split, wrong in (("validation", 8), ("test", 10), ("recorded", 60)):
        found = {"hits": 100 - wrong, "substitutions": wrong, "deletions": 0, "insertions": 0}
        run["metrics"][split] = {**run["metrics"][split], "searched": found}
    run["search"] = {"weight": 0.75, "word_score": 1.0, "beam": 100}
    report = make(a_result(tmp_path, [run]))
    assert report.headline is not None and report.headline.accuracy == "10.0"
    assert "20.0 % without a language model" in report.headline.interval
    first = best(report)
    assert (first["test WER %"], first["searched, test %"], first["searched, recorded %"]) == ("20.0", "10.0", "60.0")
    assert "weight 0.75, 1 a word" in report.sections[0].tables[0].notes[0]
    assert "0.1" in report.csv["runs"].splitlines()[1].split(",")


def test_the_fewest_errors_come_first(tmp_path: Path) -> None:
    folder = a_result(tmp_path, [a_run("wide", 30), a_run("small", 20)])
    log = folder / "runs" / "small-seed1" / "metrics.jsonl"
    log.parent.mkdir(parents=True)
    rows = [{"step": 10, "train_loss": 2.0}, {"step": 10, "validation": {"wer": 0.5}}]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n", encoding="utf-8")
    report = make(folder)
    assert report.headline is not None and (report.headline.group, report.headline.accuracy) == ("small-seed1", "20.0")
    assert [row.cells[0] for row in report.sections[0].tables[0].rows] == ["small-seed1", "wide-seed1"]
    first = best(report)
    assert (first["recorded WER %"], first["x speech"]) == ("75.0", "90")
    assert first["searched, test %"] == first["searched, recorded %"] == "–"
    assert [row.cells for row in report.sections[3].tables[0].rows[-2:]] == [
        ("recordings: speech", "7", "", "3"),
        ("recordings: more", "5", "", "–"),
    ]
    assert [section.anchor for section in report.sections] == ["runs", "curves", "voices", "texts", "provenance"]
    # the easiest voice stands first
    assert [row.cells[1] for row in report.sections[2].tables[0].rows[:2]] == ["en-us+f4", "en-us+<b>"]
    assert len(report.csv["voices"].splitlines()) == 1 + 2 * (2 * 2 + 1)
    assert "recorded_wer" in report.csv["runs"].splitlines()[0]


def test_half_way_there_is_a_page_and_data_is_escaped(tmp_path: Path) -> None:
    files = build_report(a_result(tmp_path, []))
    page = files.html.read_text(encoding="utf-8")
    assert "sentences &lt;b&gt;" in page and "sentences <b>" not in page
    files = build_report(a_result(tmp_path, [a_run("small", 20)]))
    assert "en-us+<b>" not in files.html.read_text(encoding="utf-8")


def test_what_is_wrong_in_a_result_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"result\.json"):
        make(tmp_path)
    run = a_run("small", 20)
    del run["metrics"]["test"]["by_voice"]
    with pytest.raises(InputError, match="by_voice"):
        make(a_result(tmp_path, [run]))
