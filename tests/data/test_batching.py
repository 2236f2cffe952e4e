"""The order of the examples: complete, bucketed, a function of seed and epoch, and exactly resumable."""

from __future__ import annotations

import json
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelet.base.errors import ResumeError
from tunelet.data.batching import LengthBucketBatches, in_order, pad_waste, padding

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=70)
SHAPES = {
    "batch_size": st.integers(1, 9),
    "pool_batches": st.integers(1, 5),
    "shuffle": st.booleans(),
    "tokens": st.none() | st.integers(1, 200),
}


def taken(batches: LengthBucketBatches, count: int) -> list[list[int]]:
    return [batch.tolist() for batch in islice(batches, count)]


@settings(deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 5), shape=st.fixed_dictionaries(SHAPES))
def test_every_example_comes_once_in_every_epoch(lengths: list[int], seed: int, shape: dict[str, Any]) -> None:
    batches = LengthBucketBatches(lengths, seed=seed, **shape)
    for epoch in range(3):
        assert batches.epoch == epoch
        drawn = [index for batch in taken(batches, batches.batches_per_epoch) for index in batch]
        assert sorted(drawn) == list(range(len(lengths)))


@settings(deadline=None)
@given(lengths=LENGTHS, shape=st.fixed_dictionaries(SHAPES), first=st.integers(0, 40), rest=st.integers(1, 40))
def test_the_first_k_and_the_rest_after_a_restore_are_all(
    lengths: list[int], shape: dict[str, Any], first: int, rest: int
) -> None:
    whole = taken(LengthBucketBatches(lengths, seed=3, **shape), first + rest)
    before = LengthBucketBatches(lengths, seed=3, **shape)
    head = taken(before, first)
    state = json.loads(json.dumps(before.state_dict()))
    after = LengthBucketBatches(lengths, seed=3, **shape)
    after.load_state_dict(state)
    assert head + taken(after, rest) == whole
    assert after.state_dict() != state


@settings(deadline=None)
@given(lengths=LENGTHS, tokens=st.integers(1, 200))
def test_a_budget_of_tokens_is_kept_and_used(lengths: list[int], tokens: int) -> None:
    batches = LengthBucketBatches(lengths, 4, 1, shuffle=False, tokens=tokens)
    drawn = [[lengths[i] for i in batch] for batch in taken(batches, batches.batches_per_epoch)]
    assert all(max(batch) * len(batch) <= tokens or len(batch) == 1 for batch in drawn)
    # a batch ends only where the next text, which is at least as long, would not have fitted
    assert all((len(batch) + 1) * following[0] > tokens for batch, following in pairwise(drawn))


def test_seed_and_epoch_change_the_order() -> None:
    lengths = list(range(1, 65))
    one, two = LengthBucketBatches(lengths, 4, seed=1), LengthBucketBatches(lengths, 4, seed=2)
    epochs = [taken(one, 16), taken(one, 16), taken(two, 16)]
    assert all(a != b for i, a in enumerate(epochs) for b in epochs[i + 1 :])


def test_the_order_is_the_same_on_every_machine() -> None:
    batches = LengthBucketBatches([5, 1, 4, 2, 3, 6, 7], 2, seed=1, pool_batches=2)
    assert taken(batches, 4) == [[4, 6], [1, 3], [5], [2, 0]]


def test_without_shuffling_the_order_is_that_of_the_examples() -> None:
    batches = LengthBucketBatches([1, 2, 3, 4, 5], 2, seed=1, shuffle=False)
    assert taken(batches, 6) == [[0, 1], [2, 3], [4], [0, 1], [2, 3], [4]]


def test_buckets_waste_less_than_shuffling_alone() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, size=2000)
    bucketed, shuffled = (
        pad_waste(lengths, list(islice(LengthBucketBatches(lengths, 16, 1, pool_batches=pool), 125)))
        for pool in (100, 1)
    )
    assert bucketed < 0.05 < 0.3 < shuffled


@pytest.mark.parametrize(
    "key",
    ["epoch", "position", "seed", "examples", "lengths_sha256", "batch_size", "pool_batches", "shuffle", "tokens"],
)
def test_a_missing_part_of_a_state_is_an_error(key: str) -> None:
    batches = LengthBucketBatches([1, 2, 3], 2, seed=1)
    state = batches.state_dict()
    del state[key]
    with pytest.raises(ResumeError, match=key):
        batches.load_state_dict(state)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 9}, "seed was 9, is 1"),
        ({"batch_size": 3}, "batch_size was 3, is 2"),
        ({"lengths_sha256": "0"}, "lengths_sha256"),
        ({"position": 2}, "no|not have"),
        ({"epoch": -1}, "epoch -1"),
        ({"position": 0.5}, "0.5"),
        ({"extra": 1}, "extra"),
    ],
    ids=str,
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change: dict[str, Any], told: str) -> None:
    batches = LengthBucketBatches([1, 2, 3], 2, seed=1)
    before = batches.state_dict()
    with pytest.raises(ResumeError, match=told):
        batches.load_state_dict({**before, **change})
    assert batches.state_dict() == before


@pytest.mark.parametrize(("lengths", "batch_size", "pool"), [([], 2, 1), ([1], 0, 1), ([1], 1, 0), ([[1]], 1, 1)])
def test_what_cannot_be_batched(lengths: list[Any], batch_size: int, pool: int) -> None:
    with pytest.raises(ValueError, match="at least"):
        LengthBucketBatches(lengths, batch_size, 1, pool_batches=pool)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 9))
def test_evaluation_takes_every_example_once_the_longest_first(lengths: list[int], batch_size: int) -> None:
    batches = in_order(lengths, batch_size)
    order = [int(index) for batch in batches for index in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[i] for i in order] == sorted(lengths, reverse=True)
    assert all(len(batch) == batch_size for batch in batches[:-1])
    waste = padding(lengths, batches)
    assert waste.tokens == sum(lengths) <= waste.positions
    assert 0 <= waste.share < 1


def test_padding_is_counted() -> None:
    assert padding([2, 4, 3], [np.array([0, 1]), np.array([2])]).positions == 11
    assert pad_waste([2, 4, 3], [np.array([0, 1]), np.array([2])]) == pytest.approx(2 / 11)
    assert pad_waste([2], []) == 0
