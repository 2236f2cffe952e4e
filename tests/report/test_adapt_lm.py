"""The report of `adapt-lm` from a result.json made by hand: half-way, several seeds, and what is wrong in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunelet.base.errors import InputError
from tunelet.report.adapt_lm import make
from tunelet.report.page import build_report
from tunelet.report.result_schema import validate


def a_run(group: str, seed: int, loss: float) -> dict[str, Any]:
    scores = {"loss": loss, "perplexity": 2.7**loss, "word_perplexity": 3.0**loss, "tokens": 100, "cut_tokens": 3,
              "sentences": 10, "words": 80}  # fmt: skip
    return {
        "name": f"{group}-seed{seed}",
        "group": group,
        "method": group,
        "seed": seed,
        "folder": f"runs/{group}-seed{seed}",
        "hash": "0" * 64,
        "base": {"name": "toy", "fingerprint": "f"},
        "settings": {"language": {"kind": "masked"}, "training": {"learning_rate": 1e-3}},
        "kept": 50,
        "metrics": {"validation": scores, "test": {**scores, "loss": loss + 0.1}},
        "resources": {
            "train_seconds": 10.0,
            "tokens_per_second": 500.0,
            "steps": 6,
            "peak_memory_bytes": 1 << 20,
            "trainable_parameters": 10,
            "total_parameters": 1000,
            "adapter_bytes": 4096,
        },
    }


def a_result(folder: Path, runs: list[dict[str, Any]], **changes: Any) -> Path:
    result = {
        "schema": 1,
        "system": "adapt-lm",
        "recipe": "toy",
        "created": "2026-01-01T00:00:00+00:00",
        "finished": False,
        "data": {
            "source": {"kind": "argument", "location": "books <b>"},
            "sha256": "a",
            "unit": "book",
            "units": {"train": 3, "validation": 1, "test": 1},
            "splits": {"train": 30, "validation": 10, "test": 10},
            "words": {"train": 240, "validation": 80, "test": 80},
        },
        "machine": {"memory_bytes": 1 << 30},
        "versions": {"torch": "2"},
        "planned": [f"{group}-seed{seed}" for group in ("full", "lora") for seed in (1, 2)],
        "selection": {"metric": "loss", "split": "validation"},
        "runs": runs,
        **changes,
    }
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return folder


def test_the_lowest_validation_loss_comes_first(tmp_path: Path) -> None:
    report = make(a_result(tmp_path, [a_run("full", 1, 3.0), a_run("lora", 1, 2.0), a_run("lora", 2, 2.2)]))
    assert report.headline is not None and report.headline.group == "lora"
    assert (report.headline.measure, report.headline.unit) == ("test perplexity", "")
    assert report.headline.chosen_by.startswith("best of 2 by validation loss (2.1000")
    assert (report.missing, report.done, report.planned) == (("full-seed2",), 3, 4)
    rows = report.sections[0].tables[0].rows
    assert [(row.cells[0], row.cells[2], row.kind) for row in rows] == [("lora", "2", "best"), ("full", "1", "")]
    lines = report.csv["groups"].splitlines()
    assert lines[1].startswith("lora,masked,2,50,2.1,") and len(report.csv["runs"].splitlines()) == 4


def test_without_a_run_there_is_a_page_all_the_same(tmp_path: Path) -> None:
    page = build_report(a_result(tmp_path, [])).html.read_text(encoding="utf-8")
    assert "No run has finished yet" in page and "books &lt;b&gt;" in page and "1.00 GiB" in page


def test_findings_of_the_audit_are_told(tmp_path: Path) -> None:
    finding = {"severity": "note", "message": "2 of 10 sentences of test stand in train, too"}
    (tmp_path / "audit.json").write_text(json.dumps({"findings": [finding]}), encoding="utf-8")
    build_report(a_result(tmp_path, [a_run("lora", 1, 2.0)]))
    assert "note: 2 of 10 sentences" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_what_is_wrong_in_a_result_is_named(tmp_path: Path) -> None:
    run = a_run("lora", 1, 2.0)
    del run["metrics"]["test"]["tokens"]
    run["metrics"]["validation"]["loss"] = -1
    with pytest.raises(InputError) as told:
        make(a_result(tmp_path, [run], data={}))
    for field in ("runs[0].metrics.test.tokens", "runs[0].metrics.validation.loss", "data.unit"):
        assert field in str(told.value)


def test_the_result_of_classify_is_no_looser(tmp_path: Path) -> None:
    result = json.loads((a_result(tmp_path, [a_run("lora", 1, 2.0)]) / "result.json").read_text(encoding="utf-8"))
    with pytest.raises(InputError) as told:
        validate(result)
    assert "data.labels" in str(told.value) and "metrics.test.accuracy" in str(told.value)
