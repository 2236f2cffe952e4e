"""A run that is killed anywhere and started again ends in the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from toy import toy_base, toy_texts

STEPS = 24
RECIPE = f"""
system: classify
name: toy
model: {{max_length: 32}}
training:
  max_steps: {STEPS}
  epochs: 100
  batch: {{size: 8, pool: 2}}
  learning_rate: 1e-2
  evaluate_every: 6
  save_every: 4
  log_every: 5
  warmup: 0.1
"""
WRITES = [f"write:{stage}:{count}" for stage in ("written", "synced", "renamed") for count in (2, 3)]


def kill_points(seed: int, steps: int, last: int = STEPS) -> list[str]:
    """Steps to be killed at, up to `last`, drawn without repetition."""
    drawn = np.random.default_rng(seed).choice(np.arange(1, last + 1), size=steps, replace=False)
    return [f"step:{step}" for step in sorted(drawn.tolist())]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "points"),
    [
        pytest.param(
            [
                "tuning.method=lora",
                "training.average_from=0.3",
                "training.average_decay=0.8",
                "training.batch.accumulate=2",
            ],
            kill_points(1, 14) + WRITES,
            id="lora with dropout, averaging and accumulation, 20 points",
        ),
        pytest.param(["tuning.method=adalora", "tuning.r=4"], kill_points(2, 4), id="adalora"),
        pytest.param(["tuning.method=full", "training.precision=bf16"], kill_points(3, 3), id="full, bf16"),
        pytest.param(
            [
                "tuning.method=lora",
                "tuning.engine=fast",
                "training.precision=bf16",
                "training.frozen=bf16",
                "training.patience=2",
            ],
            [*kill_points(4, 3, last=12), "write:written:4"],  # patience 2 can end this run at step 18
            id="lora over a bf16 base, fast path",
        ),
        pytest.param(
            [
                "tuning.engine=fast",
                "tuning.layers=[1]",
                "tuning.frozen_dropout=false",
                "tuning.gradient_checkpointing=true",
            ],
            kill_points(6, 2),
            id="fast path, outputs of the frozen layer held, gradient checkpointing",
        ),
        pytest.param(
            ["tuning.method=lora", "tuning.engine=peft", "tuning.targets=attention+linear"],
            kill_points(5, 2),
            id="lora through PEFT's modules",
        ),
    ],
)
def test_a_killed_run_ends_in_the_same_bytes(tmp_path: Path, overrides: list[str], points: list[str]) -> None:
    base, data = toy_base(tmp_path / "base"), toy_texts(tmp_path / "data")
    recipe = tmp_path / "toy.yaml"
    recipe.write_text(RECIPE)
    found = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("kill_driver.py")),
            *(str(recipe), str(data), str(tmp_path / "out"), ",".join(points)),
            *(f"model.base={base}", *overrides),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert found.returncode == 0, found.stderr[-4000:]
    result = json.loads(found.stdout)
    assert set(result["killed"]) == set(points)
    for point, hashes in result["killed"].items():
        assert hashes == result["reference"], f"killed at {point}"
