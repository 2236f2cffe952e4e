"""A model made ready to answer gives the adapter's answers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from toy_tuned import TASK, logits, toy_loaded, trained_on
from tunelet.tuning.folder import load_adapter, save_adapter
from tunelet.tuning.inference import for_inference


@pytest.mark.parametrize("method", ["lora", "rslora", "dora", "pissa", "vera", "adalora", "lora-fa", "full"])
@pytest.mark.parametrize("merge", [True, False], ids=["merged", "unmerged"])
def test_the_answers_stay_in_fp32(method: str, merge: bool, tmp_path: Path) -> None:
    base = toy_loaded(tmp_path / "base")
    save_adapter(tmp_path / "adapter", trained_on(base, method=method), base, TASK)
    told = logits(load_adapter(tmp_path / "adapter").model)
    ready = for_inference(load_adapter(tmp_path / "adapter"), merge=merge)
    assert torch.allclose(logits(ready.model), told, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in ready.model.parameters())


@pytest.mark.parametrize("method", ["lora", "dora", "full"])
def test_the_answers_stay_near_in_bf16(method: str, tmp_path: Path) -> None:
    base = toy_loaded(tmp_path / "base")
    save_adapter(tmp_path / "adapter", trained_on(base, method=method), base, TASK)
    told = logits(load_adapter(tmp_path / "adapter").model)
    ready = for_inference(load_adapter(tmp_path / "adapter"), precision="bf16")
    found = logits(ready.model)
    assert found.dtype == torch.float32
    assert torch.allclose(found, told, atol=0.1 * float(told.abs().max()) + 0.02)
    assert not torch.equal(found, told)  # it did compute in another type


def test_an_unmerged_adapter_keeps_its_update_apart(tmp_path: Path) -> None:
    base = toy_loaded(tmp_path / "base")
    save_adapter(tmp_path / "adapter", trained_on(base), base, TASK)
    merged = for_inference(load_adapter(tmp_path / "adapter"))
    unmerged = for_inference(load_adapter(tmp_path / "adapter"), merge=False)
    assert not any("lora_" in name for name, _ in merged.model.named_parameters())
    assert any("lora_" in name for name, _ in unmerged.model.named_parameters())
