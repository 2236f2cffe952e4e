"""Frozen weights held in bf16: which are cast and which are not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from toy_tuned import toy_loaded, tuned_on
from tunelet.models.bases import Base
from tunelet.tuning.precision import freeze_in


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return toy_loaded(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("method", ["lora", "lora-fa", "dora"])
def test_linear_and_embedding_are_cast_norms_and_adapters_are_not(base: Base, method: str) -> None:
    tuned = tuned_on(base, method=method)
    freeze_in(tuned.model)
    kinds = {name: parameter.dtype for name, parameter in tuned.model.named_parameters()}
    small = {name for name, kind in kinds.items() if kind == torch.bfloat16}
    frozen = {name for name in kinds if "LayerNorm" not in name and ".lora_" not in name and "classifier" not in name}
    assert small == frozen
    assert any("word_embeddings" in name for name in small) and any("query.base_layer" in name for name in small)


def test_the_bytes_are_those_that_are_gone(base: Base) -> None:
    tuned = tuned_on(base)
    before = sum(p.nbytes for p in tuned.model.parameters())
    held = freeze_in(tuned.model)
    assert before - sum(p.nbytes for p in tuned.model.parameters()) == held.bytes_saved == 2 * held.parameters
    again = freeze_in(tuned.model)
    assert (again.tensors, again.bytes_saved) == (0, 0)


def test_under_full_fine_tuning_nothing_is_frozen(base: Base) -> None:
    assert freeze_in(tuned_on(base, method="full").model).tensors == 0


def test_the_base_on_disk_is_not_touched(base: Base, tmp_path: Path) -> None:
    tuned = tuned_on(base)
    freeze_in(tuned.model)
    assert toy_loaded(tmp_path).fingerprint == base.fingerprint
