"""The report of `fuse` from a result.json made by hand: methods by task, what comes first, who looks at whom."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tunelet.report.formats import NONE
from tunelet.report.fuse import make
from tunelet.report.fuse_plots import heat_maps
from tunelet.report.page import build_report

EXPERTS = ("mood", "topic")


def a_run(label: str, target: str, seed: int, right: float, weights: list[float] | None = None) -> dict[str, Any]:
    scores = {"accuracy": right, "macro_f1": right, "weighted_f1": right, "loss": 0.5, "n": 10}
    run: dict[str, Any] = {
        "name": f"{label}-{target}-seed{seed}",
        "label": label,
        "group": label,
        "method": "single" if label == "single" else "fusion",
        "target": target,
        "size": 64,
        "seed": seed,
        "folder": f"runs/{label}-{target}-seed{seed}",
        "hash": "0" * 64,
        "base": {"name": "base", "fingerprint": "f"},
        "settings": {},
        "train_examples": 64,
        "best_step": 3,
        "metrics": {"validation": scores, "test": scores},
        "stages": {"experts": 1.0, "vectors": 0.5},
        "resources": {
            "train_seconds": 2.0,
            "tokens_per_second": 9.0,
            "steps": 5,
            "peak_memory_bytes": 1 << 20,
            "trainable_parameters": 10,
            "total_parameters": 100,
            "adapter_bytes": 4096,
        },
    }
    if weights is not None:
        run["attention"] = {"experts": list(EXPERTS), "mean": weights, "examples": [], "by_label": {}}
    return run


def a_result(folder: Path) -> Path:
    runs = []
    for target, even in (("mood", [0.75, 0.25]), ("topic", [0.4, 0.6])):
        for seed in (1, 2):
            runs.append(a_run("attention", target, seed, 0.8, even))
            runs.append(a_run("other", target, seed, 0.7, [0.5, 0.5]))
            runs.append(a_run("single", target, seed, 0.6))
    tasks = {
        name: {"labels": ["a", "b"], "splits": {}, "sha256": "b", "source": {"kind": "embedded", "location": name}}
        for name in EXPERTS
    }
    result = {
        "schema": 1,
        "system": "fuse",
        "recipe": "toy",
        "created": "2026-01-01T00:00:00+00:00",
        "finished": True,
        "data": {"sha256": "a", "tasks": tasks, "targets": list(EXPERTS), "sizes": [64]},
        "machine": {"memory_bytes": 1 << 30},
        "versions": {"torch": "2"},
        "planned": [run["name"] for run in runs],
        "selection": {"metric": "macro_f1", "split": "validation"},
        "cells": [],
        "runs": runs,
    }
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return folder


def test_methods_are_rows_and_the_target_s_own_adapter_is_compared_first(tmp_path: Path) -> None:
    report = make(a_result(tmp_path))
    table = report.sections[0].tables[0]
    assert [column.label for column in table.columns] == ["method", "mean over tasks", "mood", "topic"]
    assert [row.cells[:2] for row in table.rows] == [("attention", "80.00"), ("other", "70.00"), ("single", "60.00")]
    assert report.headline is not None
    assert report.headline.verdict.startswith("+20.00 points to single (")
    assert "+10.00 points to other (" in report.headline.verdict


def test_a_single_task_and_seed_has_no_interval(tmp_path: Path) -> None:
    path = a_result(tmp_path) / "result.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    told["runs"] = [run for run in told["runs"] if run["target"] == "mood" and run["seed"] == 1]
    path.write_text(json.dumps(told), encoding="utf-8")
    report = make(tmp_path)
    assert report.headline is not None
    assert "+20.00 points to single (a single task and seed: no interval, Holm p 1.000)" in report.headline.verdict
    tables = [table for section in report.sections for table in section.tables]
    compared = next(table for table in tables if table.caption == "Differences in test accuracy")
    assert {row.cells[4] for row in compared.rows} == {NONE}


def test_each_fusion_has_its_weights_and_nothing_is_measured_from_texts(tmp_path: Path) -> None:
    report = make(a_result(tmp_path))
    sections = {section.anchor: section for section in report.sections}
    drawn = sections["attention"].figures[0].plot.svg
    said = re.findall(r">([^<>]+)</text>", drawn)
    assert {"attention", "other", "75", "25", "40", "60", "50"} <= {*said} and "single" not in said
    assert said.count("50") == 4
    assert [column.label for column in sections["cost"].tables[0].columns][-1] == "on disk"
    assert 'class="text prose"' in build_report(a_result(tmp_path)).html.read_text(encoding="utf-8")


def test_a_task_without_an_expert_leaves_its_place_empty() -> None:
    plot = heat_maps("x", {"a": {"mood": {"topic": 1.0}, "topic": {"mood": 0.3, "topic": 0.7}}}, EXPERTS)
    assert sorted(re.findall(r">(\d+)</text>", plot.svg)) == ["100", "30", "70"]
    assert "a, mood: topic; a, topic: topic" in plot.svg
