"""A fusion that starts as the single-task adapter: equal at the start, stored with it, and refused where it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from toy_experts import saved_adapter
from toy_tuned import BATCH, GOLD, TASK, toy_loaded
from tunelet.base.errors import AdapterError, InputError
from tunelet.data.records import Label, Task
from tunelet.models.bases import Base
from tunelet.tuning.folder import load_adapter
from tunelet.tuning.fusion.adapters import Opened, build_backbone, open_experts
from tunelet.tuning.fusion.fusion_folder import FusedClassifier, build_fused, load_fusion, save_fusion
from tunelet.tuning.fusion.own_head import open_own
from tunelet.tuning.fusion.settings import FusionSettings

Made = tuple[Base, dict[str, Path]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("own")
    base = toy_loaded(folder / "base")
    return base, {
        "topic": saved_adapter(folder / "topic", base, seed=2, targets="qkv+dense", r=4),
        "mood": saved_adapter(folder / "mood", base, seed=1),
    }


def fused(made: Made, **settings: Any) -> tuple[FusedClassifier, Opened]:
    base, folders = made
    backbone = build_backbone(base)
    opened = open_experts(folders, base, backbone)
    chosen = FusionSettings.model_validate({"heads": 2, "query": "task", **settings})
    own = open_own("mood", folders["mood"], TASK) if chosen.needs_own else None
    return build_fused(chosen, backbone, opened.experts, labels=len(TASK.labels), seed=7, own=own).eval(), opened


@torch.no_grad()
def logits(model: Any, batch: dict[str, Any] = BATCH) -> torch.Tensor:
    found: torch.Tensor = model(**batch).logits
    return found


@pytest.mark.parametrize("kind", ["attention", "heads", "mean", "ffn-concat"])
def test_at_the_start_it_is_the_single_task_adapter(kind: str, made: Made) -> None:
    model, _ = fused(made, kind=kind, residual="own", head="expert")
    single = logits(load_adapter(made[1]["mood"]).model)
    torch.testing.assert_close(logits(model), single, atol=1e-5, rtol=1e-5)
    plain, _ = fused(made, kind=kind)
    assert (logits(plain) - single).abs().max() > 1e-3, "without the setting it is something else"


def test_a_fresh_head_starts_on_the_own_vector(made: Made) -> None:
    model, _ = fused(made, residual="own")
    own = open_own("mood", made[1]["mood"], TASK)
    with torch.no_grad():
        expected = model.fusion.classifier(own.vectors(**BATCH))
    torch.testing.assert_close(logits(model), expected, atol=1e-6, rtol=1e-5)
    borrowed, _ = fused(made, head="expert")
    assert torch.equal(borrowed.fusion.classifier.weight, own.weight)
    assert getattr(borrowed.fusion, "gate", None) is None


def test_after_a_step_all_of_it_learns_and_the_own_adapter_stays(made: Made) -> None:
    model, _ = fused(made, residual="own", head="expert", dropout=0.0)
    assert model.own is not None
    before = {name: value.clone() for name, value in model.own.model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        loss: Any = torch.nn.functional.cross_entropy(model.train()(**BATCH).logits, GOLD)
        loss.backward()
        optimizer.step()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert [name for name in still if name != "fusion.mix.key.bias"] == []
    assert all(torch.equal(value, before[name]) for name, value in model.own.model.state_dict().items())


def test_last_layers_of_all_experts_beside_the_own_one_are_stored(made: Made, tmp_path: Path) -> None:
    model, opened = fused(made, kind="heads", residual="own", head="expert")
    with torch.no_grad():
        model.fusion.says.fill_(0.1)
    save_fusion(tmp_path / "f", model, made[0], TASK, opened, copy_adapters=True)
    torch.testing.assert_close(logits(load_adapter(tmp_path / "f").model), logits(model), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("copied", [True, False], ids=["copied", "by reference"])
def test_it_is_stored_with_the_name_of_what_it_is_added_to(copied: bool, made: Made, tmp_path: Path) -> None:
    model, opened = fused(made, residual="own", head="expert")
    with torch.no_grad():
        gate: Any = model.fusion.gate
        gate.fill_(0.5)
    told = save_fusion(tmp_path / "f", model, made[0], TASK, opened, copy_adapters=copied)
    assert told.fusion.own == "mood"
    torch.testing.assert_close(logits(load_adapter(tmp_path / "f").model), logits(model), atol=1e-5, rtol=1e-5)
    path = tmp_path / "f" / "tunelet.json"
    path.write_text(path.read_text().replace('"own": "mood"', '"own": "mod"'))
    with pytest.raises(AdapterError, match=r"fusion.own: found 'mod', expected one of topic, mood"):
        load_fusion(tmp_path / "f")


def test_a_changed_head_of_the_own_adapter_is_found(made: Made, tmp_path: Path) -> None:
    base = made[0]
    folders = {"topic": made[1]["topic"], "mood": saved_adapter(tmp_path / "mood", base, seed=1)}
    model, opened = fused((base, folders), residual="own", head="expert")
    save_fusion(tmp_path / "f", model, base, TASK, opened)
    path = folders["mood"] / "adapter_model.safetensors"
    with_notes = {"format": "pt", "tunelet_labels": json.dumps(TASK.label_names)}
    head = {name: tensor + 1 if "classifier" in name else tensor for name, tensor in load_file(path).items()}
    save_file(head, path, metadata=with_notes)
    with pytest.raises(AdapterError, match=r"adapter_model.safetensors: .*tunelet.json says"):
        load_fusion(tmp_path / "f")


def test_what_cannot_be_started_from_is_refused(made: Made) -> None:
    other = Task("topics", "", (Label("sad"), Label("cross"), Label("glad")))
    with pytest.raises(AdapterError, match=r"'mood' is no adapter of the fusion's task: its labels are sad, glad"):
        open_own("mood", made[1]["mood"], other)
    model, _ = fused(made, residual="own")
    with pytest.raises(InputError, match=r"needs vectors \(3, \d+\) of the own adapter, found None"):
        fusion: Any = model.fusion
        fusion(torch.zeros(3, 2, fusion.width), torch.zeros(3, fusion.width))
    with pytest.raises(InputError, match="take head: fresh"):
        fusion.start_from(torch.zeros(9, 9), None)
