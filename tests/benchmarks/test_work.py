"""The arithmetic that a share of peak counts is that which the fast path really does, product by product."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tunelet.cli.bench import load
from tunelet.data.records import Label, Task
from tunelet.models.bases import load_base
from tunelet.models.classifier import build_classifier
from tunelet.models.settings import ModelSettings
from tunelet.tuning.methods import prepare
from tunelet.tuning.settings import TuningSettings

work = load("common.work")
TEXTS, LENGTH = 3, 6
TASK = Task("moods", "which mood", (Label("sad", "lost"), Label("glad", "won")))


def counted(base: Path, settings: TuningSettings) -> tuple[Any, dict[str, int]]:
    """The model's config, and the FLOP of each kind of product in one step of the fast path, without padding."""
    model = build_classifier(load_base(ModelSettings(base=str(base), max_length=32)), TASK)
    tuned = prepare(model, settings, total_steps=1, seed=1)
    assert tuned.use_fast_path(torch.float32, seed=1) == ""
    tuned.model.train()
    ids = torch.full((TEXTS, LENGTH), 7)
    with FlopCounterMode(display=False) as counter:
        tuned.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.sum().backward()
    found = counter.get_flop_counts()["Global"]
    return model.config, {str(operation): int(count) for operation, count in found.items()}


@pytest.mark.parametrize(
    "settings",
    [
        TuningSettings(targets="qkv", r=2, dropout=0.0),
        TuningSettings(targets="qv", r=4, dropout=0.0),
        TuningSettings(targets="attention+linear", r=2, dropout=0.0),
        TuningSettings(method="full"),
    ],
    ids=["qkv", "qv", "linear", "full"],
)
def test_what_is_counted_is_what_a_step_needs(settings: TuningSettings, toy_folders: tuple[Path, Path]) -> None:
    config, found = counted(toy_folders[0], settings)
    shape = work.shape_of(config, 2)
    block = work.Block(TEXTS, TEXTS * LENGTH, TEXTS * LENGTH**2)
    needed = work.needed_flops(shape, work.trained_by(settings), block)
    done = sum(found.values())
    assert needed <= done, "more was counted than the fast path does"
    # what it does beyond that is stated: attention's context once more, and whole rows where part would do
    assert done - needed <= 0.15 * done


def test_the_example_in_the_documentation() -> None:
    shape = work.Shape(hidden=4, inner=8, layers=1, classes=2, pooler=False)
    assert work.needed_flops(shape, work.Trained(whole=False), work.Block(1, 1, 1)) == 304


def test_full_fine_tuning_needs_three_times_the_forward_products() -> None:
    shape = work.Shape(hidden=8, inner=32, layers=3, classes=2)
    block = work.Block(texts=2, tokens=10, squares=52)
    forward_and_head = work.needed_flops(shape, work.Trained(whole=False), block)
    head_gradient = 2 * 8 * 2 * 2
    forward = forward_and_head - head_gradient
    assert work.needed_flops(shape, work.Trained(whole=True), block) == 3 * forward


def test_unknown_targets_are_refused() -> None:
    with pytest.raises(ValueError, match="not known"):
        work.trained_by(TuningSettings(targets=["query"]))
