"""A synthetic sweep folder: several groups by three seeds, with predictions, curves, costs and an audit.

Scores in result.json come from the predictions written beside it, through `tunelet.evaluation`, as a real run's do.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from report.sweeps import FakeGroup, write_sweep


@pytest.fixture(scope="session")
def small_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three groups by three seeds, 300 test rows, finished. Do not change it: copy it first."""
    groups = [
        FakeGroup("lora-qkv-r8", "lora", "qkv", 8, skill=0.93, trainable=300_000),
        FakeGroup("full", "full", "", 8, skill=0.92, trainable=22_700_000, learning_rate=5e-5),
        FakeGroup("lora-qv-r2", "lora", "qv", 2, skill=0.80, trainable=75_000, learning_rate=3e-4),
    ]
    return write_sweep(tmp_path_factory.mktemp("small"), groups, seeds=(1, 2, 3), n=300)
