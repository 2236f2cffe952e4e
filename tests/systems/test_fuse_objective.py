"""Losses of `fuse` over vectors: the quick scores of an evaluation are those of the report."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelet.base.errors import InputError
from tunelet.evaluation.classification import score_single
from tunelet.systems.fuse_objective import VectorObjective
from tunelet.systems.fuse_probe import fake_objective
from tunelet.tuning.fusion.attention import OutputFusion
from tunelet.tuning.fusion.settings import FusionSettings

LABELS = ("a", "b", "c")


@settings(max_examples=15, deadline=None)
@given(gold=st.lists(st.integers(0, 2), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_an_evaluation_says_what_the_scores_say(gold: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors = {"validation": torch.randn((len(gold), 3, 8), generator=generator)}
    objective = VectorObjective(vectors, {"validation": torch.tensor(gold)}, LABELS, ())
    module = OutputFusion(FusionSettings(heads=2), width=8, experts=2, labels=3, seed=seed)
    _, logits, _ = objective.score(module, "validation")
    expected = score_single(logits, np.array(gold), LABELS)
    found = objective.evaluate(module)
    assert found == pytest.approx({key: getattr(expected, key) for key in found})
    assert set(found) == {"accuracy", "loss", "macro_f1", "weighted_f1"}


def test_own_vectors_come_with_their_texts() -> None:
    objective = fake_objective(6, 2, 8, LABELS, own=True)
    batch = objective.batch(np.array([4, 1]))
    assert torch.equal(batch["own"], batch["base"]) and batch["experts"].shape == (2, 2, 8)
    assert "own" not in fake_objective(6, 2, 8, LABELS, own=False).batch(np.array([4, 1]))
    with pytest.raises(InputError, match="needs vectors"):
        plain = fake_objective(6, 2, 8, LABELS, own=False)
        module = OutputFusion(FusionSettings(heads=2, residual="own"), width=8, experts=2, labels=3, seed=1)
        plain.loss(module, plain.batch(np.array([0])))
