"""A model made ready to answer gives the adapter's answers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from toy_tuned import TASK, logits, toy_loaded, trained_on
from tunelet.base.errors import InputError
from tunelet.tuning import inference
from tunelet.tuning.folder import load_adapter, save_adapter
from tunelet.tuning.inference import backbone_of, for_inference
from tunelet.tuning.int8 import Int8Linear


@pytest.mark.parametrize("method", ["lora", "rslora", "dora", "pissa", "vera", "adalora", "lora-fa", "full"])
@pytest.mark.parametrize("merge", [True, False], ids=["merged", "unmerged"])
def test_the_answers_stay_in_fp32(method: str, merge: bool, tmp_path: Path) -> None:
    base = toy_loaded(tmp_path / "base")
    save_adapter(tmp_path / "adapter", trained_on(base, method=method), base, TASK)
    told = logits(load_adapter(tmp_path / "adapter").model)
    ready = for_inference(load_adapter(tmp_path / "adapter"), precision="fp32", merge=merge)
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
    merged = for_inference(load_adapter(tmp_path / "adapter"), precision="fp32")
    unmerged = for_inference(load_adapter(tmp_path / "adapter"), precision="fp32", merge=False)
    assert not any("lora_" in name for name, _ in merged.model.named_parameters())
    assert any("lora_" in name for name, _ in unmerged.model.named_parameters())


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """The folder of a trained adapter."""
    base = toy_loaded(tmp_path / "base", layers=3)
    save_adapter(tmp_path / "adapter", trained_on(base), base, TASK)
    return tmp_path / "adapter"


@pytest.mark.parametrize("faster", ["fp32", "bf16"])
def test_auto_is_the_faster_type(adapter: Path, monkeypatch: pytest.MonkeyPatch, faster: str) -> None:
    monkeypatch.setattr(inference, "faster_precision", lambda device: faster)
    ready = for_inference(load_adapter(adapter))
    assert ready.precision == faster
    assert (ready.exact is None) == (ready.guard is None) == (faster == "fp32")


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_the_copy_in_fp32_is_exact_and_apart(adapter: Path, precision: str) -> None:
    told = logits(load_adapter(adapter).model)
    ready = for_inference(load_adapter(adapter), precision=precision)  # type: ignore[arg-type]
    assert ready.exact is not None
    assert torch.allclose(logits(ready.exact), told, atol=1e-5)
    found = logits(ready.model)
    assert not torch.allclose(found, told, atol=1e-5)
    assert torch.allclose(found, told, atol=0.1 * float(told.abs().max()) + 0.02)
    assert (ready.task, ready.max_length, ready.manifest) == (TASK, 32, load_adapter(adapter).manifest)


def test_int8_holds_all_layers_but_the_last_and_shares_the_rest(adapter: Path) -> None:
    ready = for_inference(load_adapter(adapter), precision="int8")
    small = {name for name, module in ready.model.named_modules() if isinstance(module, Int8Linear)}
    assert len(small) == 12 and all(".layer.0." in name or ".layer.1." in name for name in small)
    assert ready.exact is not None
    theirs = dict(ready.exact.named_parameters())
    assert all(parameter is theirs[name] for name, parameter in ready.model.named_parameters())
    assert len(theirs) > len(dict(ready.model.named_parameters()))


def test_int8_needs_merged_weights(adapter: Path) -> None:
    with pytest.raises(InputError, match="merged weights"):
        for_inference(load_adapter(adapter), precision="int8", merge=False)


def test_other_architectures_have_int8_layers_too(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = logits(load_adapter(adapter).model)
    monkeypatch.setattr(inference, "can_answer", lambda model: False)
    ready = for_inference(load_adapter(adapter), precision="int8")
    assert sum(isinstance(module, Int8Linear) for module in backbone_of(ready.model).modules()) == 18
    assert torch.allclose(logits(ready.model), told, atol=0.1 * float(told.abs().max()) + 0.02)
