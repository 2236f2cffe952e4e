"""Toy tasks and a toy recipe of `fuse`: what the tests of its runs and reports share."""

from __future__ import annotations

import json
from pathlib import Path

from toy import EMOTIONS, toy_base

#: every training takes four steps in one thread and evaluates twice
RECIPE = """\
system: fuse
name: toy-fuse
data: {{tasks: [moods, places, sides], targets: [moods, places], sizes: [8, all], test: 12}}
model: {{base: {base}, max_length: 16}}
experts:
  limit: 12
  tuning: {{method: lora, targets: qkv, r: 2}}
  training: {{epochs: 50, max_steps: 4, batch: {{size: 8, evaluation_size: 32}}, learning_rate: 1e-2,
    evaluate_every: 2, log_every: 2, threads: 1}}
tuning: {{method: lora, targets: qkv, r: 2}}
training:
  epochs: 50
  max_steps: 4
  batch: {{size: 8, evaluation_size: 32}}
  learning_rate: 1e-2
  evaluate_every: 2
  log_every: 2
  threads: 1
  precision: fp32
fusion: {{heads: 2}}
seeds: [1, 2]
runs:
"""
#: method -> its block
BLOCKS = {
    "attention": "{approach: {method: fusion}, fusion: {query: task}}",
    "self": "{approach: {method: fusion}, fusion: {query: self}}",
    "residual": "{approach: {method: fusion}, fusion: {query: task, residual: own, head: expert}}",
    "heads": "{approach: {method: fusion}, fusion: {kind: heads, query: task, evenness: 3.0}}",
    "alone": "{approach: {method: fusion, other_experts: false}, fusion: {kind: heads, query: task}}",
    "single": "{approach: {method: single}}",
    "merge": "{approach: {method: merge}}",
    "mean": "{approach: {method: fusion}, fusion: {kind: mean}}",
    "ffn": "{approach: {method: fusion}, fusion: {kind: ffn-concat}}",
    "without": "{approach: {method: fusion, own_expert: false}}",
    "layer": "{approach: {method: fusion}, fusion: {level: layer}}",
    "shared": "{approach: {method: shared, sampling: uniform}}",
    "joint": "{approach: {method: joint, sampling: temperature}, fusion: {query: task}}",
    "full": "{approach: {method: full}, tuning: {method: full}}",
}
_FILLERS = ("today", "at home", "and so", "at work", "in the rain", "my friend", "the dog", "a letter", "the train")
#: task -> label -> words that give it away
TASKS = {
    "moods": {label: EMOTIONS[label] for label in ("sadness", "joy", "anger")},
    "places": {"inside": ("home", "work"), "outside": ("rain", "sun")},
    "sides": {"we": ("we", "they"), "one": ("he", "she")},
}


def toy_tasks(folder: Path, *, train: int = 24, other: int = 12) -> Path:
    """A folder with a folder for each of `TASKS`; the last has no validation split."""
    for task, labels in TASKS.items():
        (folder / task).mkdir(parents=True)
        number = 0
        for split, count in (("train", train), ("validation", other), ("test", other)):
            rows = []
            for _ in range(count):
                label, words = list(labels.items())[number % len(labels)]
                text = f"{words[number % 2]} {_FILLERS[number % 9]} {'very ' * (number % 4)}{split} n{number} {task}"
                rows.append(json.dumps({"text": text, "label": label}))
                number += 1
            if task != "sides" or split != "validation":
                (folder / task / f"{split}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def toy_fuse(folder: Path, *methods: str) -> Path:
    """``toy.yaml`` with the blocks `methods`, ``base`` and ``tasks`` in a folder; returns the recipe."""
    base = toy_base(folder / "base")
    toy_tasks(folder / "tasks")
    blocks = "".join(f"  - {{name: {name}, {BLOCKS[name][1:]}\n" for name in methods)
    recipe = folder / "toy.yaml"
    recipe.write_text(RECIPE.format(base=base) + blocks, encoding="utf-8")
    return recipe
