"""A toy base without dropout and toy texts, for benchmarks at a size that takes seconds."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from toy import toy_base, toy_texts
from tunelet.cli.bench import load


@pytest.fixture(scope="session")
def toy_folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folder of a base whose own dropout is off, and folder of texts."""
    folder = tmp_path_factory.mktemp("bench")
    base = toy_base(folder / "base")
    config = json.loads((base / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (base / "config.json").write_text(json.dumps(config))
    return base, toy_texts(folder / "texts")


@pytest.fixture(scope="session")
def side(toy_folders: tuple[Path, Path]) -> Any:
    """What both contenders train on."""
    base, texts = toy_folders
    return module("common.side").Side(base=str(base), max_length=32, data_dir=texts, batch=8)


def module(name: str) -> ModuleType:
    """A module of the benchmarks."""
    return load(name)
