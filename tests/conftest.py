"""What all tests share: a quiet, offline, single-threaded torch and a folder of real data where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# before anything imports torch or transformers
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; the test is skipped where there is none."""
    folder = os.environ.get("TUNELET_DATA")
    if not folder:
        pytest.skip("TUNELET_DATA is not set: the real data are not here")
    return Path(folder)


@pytest.fixture(autouse=True)
def _no_real_data(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that does not ask for the real data must not find them by accident."""
    if "real_data" not in request.fixturenames:
        monkeypatch.delenv("TUNELET_DATA", raising=False)
