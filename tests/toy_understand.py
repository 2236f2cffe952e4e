"""Toy tasks that are told in words, with files, and a toy recipe of `understand`: what tests of whole runs share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile
import yaml

from toy import toy_base

#: task -> class -> (its definition, words that give it away)
TASKS: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "moods": {
        "glad": ("happy today", ("happy", "loved", "fond")),
        "low": ("sad and afraid", ("sad", "afraid", "scared")),
        "cross": ("angry at work", ("angry", "stunned", "amazed")),
    },
    "places": {"home": ("at home", ("home", "cat", "dog")), "work": ("at work", ("work", "letter", "train"))},
    "skies": {"sun": ("the sun", ("sun", "happy")), "rain": ("the rain", ("rain", "sad"))},
    "pets": {"cat": ("my cat", ("cat", "fond")), "dog": ("the dog", ("dog", "loved"))},
}
_FILLERS = ("today", "and so", "my friend", "she felt", "we not", "he was quite", "they am", "of the", "in a")

#: four steps in one thread, two evaluations
RECIPE = """\
system: understand
name: toy-understand
data:
  sources: [{tasks}/moods.yaml]
  tasks: [{tasks}/moods.yaml, {tasks}/places.yaml]
  k: [0, 2]
  items: 8
  validation: 6
  encoder: {base}
model: {{base: {base}, max_length: 256}}
tuning: {{method: lora, targets: qkv, r: 2}}
training:
  epochs: 50
  max_steps: 4
  batch: {{size: 4, evaluation_size: 8}}
  learning_rate: 1e-2
  evaluate_every: 2
  log_every: 2
  threads: 1
  precision: fp32
seeds: [1, 2]
runs:
  - name: none
    approach: {{regime: none}}
  - name: regular
    approach: {{regime: regular}}
  - name: symbol
    approach: {{regime: symbol}}
  - name: random
    approach: {{regime: random}}
  - name: pool
    approach: {{regime: random, pool: 2}}
  - name: knn
    approach: {{regime: knn}}
  - name: definition
    approach: {{regime: definition}}
"""


def toy_told_tasks(folder: Path, *, train: int = 18, other: int = 9) -> Path:
    """A folder with task files and a folder of splits for each of `TASKS`; `skies` has no validation split."""
    folder.mkdir(parents=True, exist_ok=True)
    for task, classes in TASKS.items():
        splits = ["train", "test"] if task == "skies" else ["train", "validation", "test"]
        told = {
            "name": task,
            "instruction": f"Say which of the {task} it is.",
            "labels": {name: definition for name, (definition, _) in classes.items()},
            "data": {"path": f"data-{task}", "splits": splits},
        }
        (folder / f"{task}.yaml").write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")
        (folder / f"data-{task}").mkdir(exist_ok=True)
        number = 0
        for split in ("train", "validation", "test"):
            rows = []
            for _ in range(train if split == "train" else other):
                name, (_, words) = list(classes.items())[number % len(classes)]
                text = f"{_FILLERS[number % 9]} {words[number % len(words)]} {'very ' * (number % 3)}n{number}"
                rows.append(json.dumps({"text": text, "label": name}))
                number += 1
            if split in splits:
                (folder / f"data-{task}" / f"{split}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def toy_spoken_tasks(folder: Path) -> Path:
    """The toy tasks with a sound for each example: noise that lasts as long as the text."""
    toy_told_tasks(folder, train=6, other=3)
    for name in ("moods", "places"):
        path = folder / f"{name}.yaml"
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
        told["data"]["splits"] = {split: {"audio": "{id}.wav"} for split in ("train", "validation", "test")}
        for split in told["data"]["splits"]:
            data = folder / f"data-{name}" / f"{split}.jsonl"
            rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
            for number, row in enumerate(rows):
                row["id"] = f"{split}{number}"
                stream = np.random.default_rng(len(row["text"]) + number)
                sound = 0.1 * stream.standard_normal(4000 + 200 * len(row["text"]))
                soundfile.write(data.with_name(f"{row['id']}.wav"), sound, 16_000)
            data.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
        path.write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")
    return folder


def toy_understand(folder: Path) -> Path:
    """``toy.yaml``, ``base`` and ``tasks`` in a folder; returns the recipe."""
    base, tasks = toy_base(folder / "base"), toy_told_tasks(folder / "tasks")
    recipe = folder / "toy.yaml"
    recipe.write_text(RECIPE.format(base=base, tasks=tasks), encoding="utf-8")
    return recipe
