"""A toy recipe, and a sweep over it that has ended: what tests of whole runs start from."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from toy import toy_base, toy_texts
from tunelet.systems import load_recipe, run_recipe
from tunelet.training.events import Event

#: every run takes six steps in one thread and evaluates twice
RECIPE = """\
system: classify
name: toy
title: A toy
model: {{base: {base}, max_length: 16}}
training:
  epochs: 100
  max_steps: 6
  batch: {{size: 8, pool: 2, evaluation_size: 32}}
  learning_rate: 1e-2
  evaluate_every: 3
  log_every: 2
  threads: 1
  precision: fp32
seeds: [1, 2]
runs:
  - name: lora
    tuning: {{method: lora, r: 2}}
  - name: full
    tuning: {{method: full}}
"""


@dataclass(frozen=True)
class Toy:
    """A recipe with what it needs, and where its runs go.

    Attributes:
        recipe: the YAML file.
        data: the folder with the splits.
        out: the folder of the sweep.
    """

    recipe: Path
    data: Path
    out: Path
    events: list[Event] = field(default_factory=list)

    def run(self, *overrides: str, **options: Any) -> Path:
        """Run it in this process; the events are appended to `events`."""
        recipe = load_recipe(self.recipe, overrides)
        return run_recipe(recipe, data_dir=self.data, out=self.out, observer=self.events.append, **options)

    def arguments(self, *more: str) -> list[str]:
        """The command line that does the same."""
        return ["run", str(self.recipe), "--data", str(self.data), "--out", str(self.out), *more]

    def process(self, *more: str) -> subprocess.Popen[str]:
        """That command line as a process."""
        return subprocess.Popen(
            [sys.executable, "-m", "tunelet", *self.arguments(*more)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def result(self) -> dict[str, Any]:
        """What result.json holds."""
        found: dict[str, Any] = json.loads((self.out / "result.json").read_text(encoding="utf-8"))
        return found

    def folder(self, name: str) -> Path:
        """The folder of a run, done or not."""
        (found,) = (self.out / "runs").glob(f"{name}-*")
        return found

    def told(self, kind: type[Event]) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def copy(self, out: Path) -> Toy:
        """The same with a copy of the sweep, times included."""
        shutil.copytree(self.out, out)
        return Toy(self.recipe, self.data, out)

    def fresh(self, out: Path) -> Toy:
        """The same with nothing done."""
        return Toy(self.recipe, self.data, out)


def make_toy(folder: Path) -> Toy:
    """A toy with nothing done."""
    base = toy_base(folder / "base")
    recipe = folder / "toy.yaml"
    recipe.write_text(RECIPE.format(base=base), encoding="utf-8")
    return Toy(recipe, toy_texts(folder / "data"), folder / "out")


@pytest.fixture(scope="session")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A sweep that has ended; tests copy it before they change it."""
    toy = make_toy(tmp_path_factory.mktemp("ended"))
    toy.run()
    return toy


def same_files(first: Path, second: Path) -> list[str]:
    """Names of what must not depend on how a run came about, where it differs between two folders of the run."""
    names = ["metrics.jsonl", "trainable.json", "predictions/validation.jsonl", "predictions/test.jsonl"]
    names += sorted(f"adapter/{path.name}" for path in (first / "adapter").iterdir())
    return [name for name in names if (first / name).read_bytes() != (second / name).read_bytes()]
