"""Builds sweep folders like those that `tunelet run` leaves, from made-up predictions. Not here: any training.

Example:
    >>> write_sweep(folder, [FakeGroup("full", "full", "", 8, 0.9, 1000)], seeds=(1,), n=50)  # doctest: +SKIP
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunelet.evaluation.classification import score_multi, score_single

EMOTIONS = ("sadness", "joy", "love", "anger", "fear", "surprise")
_SHARES = (0.29, 0.35, 0.08, 0.14, 0.11, 0.03)
_WORDS = "i feel so rather quite very today about the whole long day and a little calm glad lost".split()  # noqa: SIM905


@dataclass(frozen=True)
class FakeGroup:
    """A setting whose runs are right with chance `skill`."""

    name: str
    method: str
    targets: str
    r: int
    skill: float
    trainable: int
    learning_rate: float = 1e-3
    weight_decay: float = 0.001
    activations: int = 80 * 2**20


def write_sweep(
    folder: Path,
    groups: Sequence[FakeGroup],
    *,
    seeds: Sequence[int],
    n: int,
    labels: Sequence[str] = EMOTIONS,
    task: str = "emotion",
    multi_label: bool = False,
    texts: Sequence[str] | None = None,
    splits: dict[str, int] | None = None,
    skip: Sequence[str] = (),
    finding: str = "11 test texts also occur in train",
) -> Path:
    """Write a sweep folder; the runs named in `skip` are planned but not done."""
    stream = np.random.default_rng(7)
    shares = np.array(_SHARES if len(labels) == len(_SHARES) else [1 / len(labels)] * len(labels))
    gold = stream.choice(len(labels), size=n, p=shares / shares.sum())
    if texts is None:
        texts = [" ".join(stream.choice(_WORDS, size=stream.integers(4, 16))) + f" {row}" for row in range(n)]
    hard = stream.random(n)  # a hard example is hard for every group, so that answers are paired
    runs: list[dict[str, Any]] = []
    planned = [f"{group.name}-seed{seed}" for group in groups for seed in seeds]
    for group in groups:
        for seed in seeds:
            name = f"{group.name}-seed{seed}"
            if name in skip:
                continue
            logits = _logits(group.skill, seed, gold, hard, len(labels))
            target = np.eye(len(labels), dtype=int)[gold]
            if multi_label:
                target[:, 0] |= (hard > 0.5).astype(int)
            home = folder / "runs" / f"{name}-0123456789"
            (home / "predictions").mkdir(parents=True)
            rows = _rows(logits, gold, target, labels, texts, multi_label)
            (home / "predictions" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            (home / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in _log(group.skill, seed)))
            score = score_multi(logits, target, labels) if multi_label else score_single(logits, gold, labels)
            runs.append(_run(group, name, seed, home.name, score.to_json()))
    data = {
        "source": {"kind": "argument", "location": "data"}, "sha256": "ab" * 32, "task": task, "labels": list(labels),
        "splits": splits or {"train": 16_000, "validation": 2_000, "test": 2_000},
    }  # fmt: skip
    result = {
        "schema": 1, "hash": "12" * 32, "system": "classify", "recipe": task,
        "title": "Low-rank adaptation against full fine-tuning",
        "created": "2026-01-02T03:04:05+00:00", "finished": len(runs) == len(planned), "data": data,
        "machine": {"processor": "Example CPU", "cores": 2, "threads": 2, "memory_bytes": 2**33, "cuda": []},
        "versions": {"python": "3.11", "torch": "2.13.0", "cuda": None}, "planned": planned,
        "selection": {"metric": "accuracy", "split": "validation"}, "runs": runs,
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "audit.json").write_text(json.dumps(_audit(data["splits"], labels, finding)))
    return folder


def _audit(splits: dict[str, int], labels: Sequence[str], finding: str) -> dict[str, Any]:
    counts = {
        name: {
            "examples": size, "by_label": dict.fromkeys(labels, size // len(labels)), "majority_correct": size // 3,
            "lengths": {"characters": [5, 20, 80, 200, 300], "words": [2, 5, 17, 41, 66]},
            "repeated_texts": 3, "conflicting_texts": 1,
        }
        for name, size in splits.items()
    }  # fmt: skip
    return {"splits": counts, "findings": [{"severity": "warning", "message": finding}]}


def _logits(skill: float, seed: int, gold: np.ndarray, hard: np.ndarray, classes: int) -> np.ndarray:
    stream = np.random.default_rng([seed, round(skill * 1000)])
    logits = stream.normal(0, 0.7, (len(gold), classes))
    right = hard + stream.normal(0, 0.03, len(gold)) < skill
    answer = np.where(right, gold, (gold + 1 + stream.integers(0, classes - 1, len(gold))) % classes)
    logits[np.arange(len(gold)), answer] += 3.5
    return logits


def _rows(
    logits: np.ndarray, gold: np.ndarray, target: np.ndarray, labels: Sequence[str], texts: Sequence[str], multi: bool
) -> list[dict[str, Any]]:
    chances = 1 / (1 + np.exp(-logits)) if multi else np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rows = []
    for number, text in enumerate(texts):
        row: dict[str, Any] = {"id": str(number), "text": text}
        if multi:
            row["labels"] = [label for label, there in zip(labels, target[number], strict=True) if there]
            row["predicted"] = [label for label, logit in zip(labels, logits[number], strict=True) if logit >= 0]
        else:
            row["label"], row["predicted"] = labels[gold[number]], labels[int(logits[number].argmax())]
        row["probabilities"] = {label: float(p) for label, p in zip(labels, chances[number], strict=True)}
        rows.append(row)
    return rows


def _log(skill: float, seed: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for step in range(50, 2001 + 250 * seed, 50):
        progress = 1 - np.exp(-step / 500)
        wobble = 0.004 * np.sin(step / 130 + seed)
        where = {"step": step, "epoch": step / 1000}
        rows.append({**where, "train_loss": 1.7 - 1.5 * progress + wobble, "learning_rate": 1e-3})
        if step % 250 == 0:
            accuracy = 0.3 + (skill - 0.3) * progress + wobble
            scores = {"accuracy": accuracy, "loss": 1.6 - 1.4 * progress, "macro_f1": accuracy, "weighted_f1": accuracy}
            rows.append({**where, "validation": scores})
    return rows


def _run(group: FakeGroup, name: str, seed: int, home: str, scores: dict[str, Any]) -> dict[str, Any]:
    trained, total = group.trainable, 22_700_000 + (0 if group.method == "full" else group.trainable)
    seconds = 180.0 + seed
    return {
        "name": name, "group": group.name, "method": group.method, "seed": seed,
        "folder": f"runs/{home}", "hash": "cd" * 32,
        "base": {"name": "embedded:minilm", "fingerprint": "ef" * 32},
        "settings": {
            "model": {"base": "embedded:minilm"},
            "tuning": {"method": group.method, "targets": group.targets, "r": group.r, "dropout": 0.1},
            "training": {"learning_rate": group.learning_rate, "weight_decay": group.weight_decay},
        },
        "best_step": 1750, "stopped": "patience", "metrics": {"validation": scores, "test": scores},
        "resources": {
            "train_seconds": seconds, "evaluation_seconds": 20.0, "wall_seconds": seconds + 20,
            "steps": 2000 + 250 * seed,
            "samples": 32_000, "tokens": 700_000, "padding_share": 0.1, "steps_per_second": 2000 / seconds,
            "samples_per_second": 32_000 / seconds, "tokens_per_second": 700_000 / seconds,
            "peak_memory_bytes": 900 * 2**20, "peak_memory_kind": "resident set, peak",
            "trainable_parameters": trained, "total_parameters": total, "trainable_share": trained / total,
            "adapter_bytes": 4 * trained + 2_000,
            "memory": {"parameters": 4 * total, "gradients": 4 * trained, "optimizer": 8 * trained,
                       "saved_activations": group.activations},
        },
    }  # fmt: skip
