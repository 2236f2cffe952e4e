"""What runs of all systems share: their batches, steps and threads, and which examples make the largest batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tunelet.systems.training_run import batches_of, longest_batch, steps_of, use_threads
from tunelet.training.settings import BatchSettings, TrainingSettings


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        ({"size": 3}, [1, 4, 3]),
        ({"size": 99}, [1, 4, 3, 2, 0, 5]),
        ({"tokens": 20}, [1, 4]),  # in place of the size, of which 16 are the default
        ({"tokens": 17}, [1]),
        ({"tokens": 1}, [1]),  # a longer text is a batch of its own
    ],
    ids=str,
)
def test_the_longest_are_as_many_as_a_batch_has(given: dict[str, int], rows: list[int]) -> None:
    batch = BatchSettings.model_validate(given)
    assert longest_batch(np.array([3, 9, 4, 8, 9, 2]), batch).tolist() == rows


def test_batches_and_steps_follow_the_recipe_and_the_seed() -> None:
    lengths = np.arange(1, 13)
    training = TrainingSettings.model_validate({"epochs": 3, "batch": {"size": 4, "accumulate": 2}})
    batches, steps = batches_of(training, lengths, 5)
    again, _ = batches_of(training, lengths, 5)
    epoch = [batches.next() for _ in range(batches.batches_per_epoch)]
    assert steps == steps_of(training, 3) == 4  # 9 batches, two a step
    assert sorted(np.concatenate(epoch).tolist()) == list(range(12))
    assert all(np.array_equal(one, again.next()) for one in epoch)
    capped = TrainingSettings.model_validate({"epochs": 3, "max_steps": 2, "batch": {"tokens": 12}})
    by_tokens, few = batches_of(capped, lengths, 5)
    rows = by_tokens.next()
    assert few == 2 and len(rows) * lengths[rows].max() <= 12


def test_threads_stay_unless_the_recipe_says_how_many() -> None:
    before = torch.get_num_threads()
    try:
        use_threads(TrainingSettings.model_validate({"threads": 1}))
        assert torch.get_num_threads() == 1
        use_threads(TrainingSettings.model_validate({}))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
