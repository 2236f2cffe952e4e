"""Means, intervals and the choice of the best setting, against direct computation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from report.sweeps import FakeGroup, write_sweep
from tunelet.report.groups import best_group, family, group_runs, ranked
from tunelet.report.results import read_sweep


def test_mean_and_t_interval_over_seeds(small_sweep: Path) -> None:
    group = group_runs(read_sweep(small_sweep))[0]
    values = [run.run.metrics["test"].accuracy for run in group.runs]
    estimate = group.test("accuracy")
    assert estimate is not None and estimate.interval is not None
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert estimate.mean == pytest.approx(np.mean(values))
    assert (estimate.interval.low, estimate.interval.high) == pytest.approx((low, high))


def test_one_seed_has_wilsons_interval_for_accuracy_and_none_for_f1(tmp_path: Path) -> None:
    write_sweep(tmp_path, [FakeGroup("full", "full", "", 8, 0.9, 1000)], seeds=(4,), n=100)
    (group,) = group_runs(read_sweep(tmp_path))
    accuracy, f1 = group.test("accuracy"), group.test("macro_f1")
    assert accuracy is not None and accuracy.interval is not None and f1 is not None
    expected = stats.binomtest(round(100 * accuracy.mean), 100).proportion_ci(method="wilson")
    assert (accuracy.interval.low, accuracy.interval.high) == pytest.approx((expected.low, expected.high))
    assert accuracy.interval.method == "wilson" and f1.interval is None


def test_best_is_chosen_on_validation_whatever_the_test_says(small_sweep: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_sweep, tmp_path / "sweep")
    result = json.loads((folder / "result.json").read_text())
    for run in result["runs"]:
        run["metrics"]["validation"]["accuracy"] = 0.99 if run["group"] == "lora-qv-r2" else 0.5
    (folder / "result.json").write_text(json.dumps(result))
    sweep = read_sweep(folder)
    best = best_group(group_runs(sweep), sweep)
    assert best is not None and best.name == "lora-qv-r2"


def test_a_loss_is_chosen_downwards(small_sweep: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_sweep, tmp_path / "sweep")
    result = json.loads((folder / "result.json").read_text())
    result["selection"] = {"metric": "loss", "split": "validation"}
    for run in result["runs"]:
        run["metrics"]["validation"]["loss"] = {"full": 0.1, "lora-qkv-r8": 0.3, "lora-qv-r2": 0.2}[run["group"]]
    (folder / "result.json").write_text(json.dumps(result))
    sweep = read_sweep(folder)
    assert [group.name for group in ranked(group_runs(sweep), sweep)] == ["full", "lora-qv-r2", "lora-qkv-r8"]


def test_of_equals_the_smaller_is_best_and_half_done_groups_wait(tmp_path: Path) -> None:
    groups = [FakeGroup("large", "lora", "qkv", 8, 0.9, 9_000), FakeGroup("small", "lora", "qv", 8, 0.9, 1_000)]
    write_sweep(tmp_path, groups, seeds=(1, 2), n=80)
    sweep = read_sweep(tmp_path)
    best = best_group(group_runs(sweep), sweep)
    assert best is not None and best.name == "small"
    half = tmp_path / "half"
    write_sweep(half, groups, seeds=(1, 2), n=80, skip=("small-seed2",))
    sweep = read_sweep(half)
    best = best_group(group_runs(sweep), sweep)
    assert best is not None and best.name == "large"


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("qkv", "lora qkv"),
        (["value", "query"], "lora qv"),
        (["query", "key", "value", "dense"], "lora qkv+dense"),
        (["q_lin"], "lora q_lin"),
    ],
)
def test_family_names_target_sets(tmp_path: Path, targets: object, expected: str) -> None:
    write_sweep(tmp_path, [FakeGroup("some", "lora", "qv", 8, 0.9, 1000)], seeds=(1,), n=40)
    result = json.loads((tmp_path / "result.json").read_text())
    result["runs"][0]["settings"]["tuning"]["targets"] = targets
    (tmp_path / "result.json").write_text(json.dumps(result))
    (group,) = group_runs(read_sweep(tmp_path))
    assert family(group) == expected
