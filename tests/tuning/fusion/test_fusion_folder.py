"""The folder of a fusion: what was saved is what is loaded, and what is not is refused with both sides named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from toy_experts import saved_adapter
from toy_tuned import BATCH, TASK, toy_loaded
from tunelet.base.errors import AdapterError, InputError, TrainingError
from tunelet.base.files import verify_folder
from tunelet.data.records import TextExample
from tunelet.evaluation.inference import predict_stream
from tunelet.models.bases import Base
from tunelet.tuning.folder import load_adapter
from tunelet.tuning.fusion.adapters import Opened, build_backbone, open_experts
from tunelet.tuning.fusion.fusion_folder import (
    FusedClassifier,
    LoadedFusion,
    build_fused,
    gather,
    load_fusion,
    save_fusion,
)
from tunelet.tuning.fusion.settings import FusionSettings
from tunelet.tuning.inference import for_inference

KINDS: dict[str, dict[str, Any]] = {
    "self": {},
    "task": {"query": "task"},
    "mean": {"kind": "mean"},
    "concat": {"kind": "ffn-concat"},
    "layer": {"level": "layer", "dim": 4},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Base, dict[str, Path]]:
    """A base, and folders of two adapters of ours and one that PEFT alone trained."""
    folder = tmp_path_factory.mktemp("made")
    base = toy_loaded(folder / "base")
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(base.folder, num_labels=4, dtype=torch.float32)
    config = LoraConfig(task_type="SEQ_CLS", r=3, target_modules=["query", "dense"], init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(folder / "theirs")
    return base, {
        "mood": saved_adapter(folder / "mood", base, seed=1),
        "topic": saved_adapter(folder / "topic", base, seed=2, targets="qkv+dense", r=4),
        "theirs": folder / "theirs",
    }


def fused(made: tuple[Base, dict[str, Path]], **settings: Any) -> tuple[FusedClassifier, Opened]:
    base, folders = made
    backbone = build_backbone(base)
    opened = open_experts(folders, base, backbone)
    chosen = FusionSettings.model_validate({"heads": 2, **settings})
    return build_fused(chosen, backbone, opened.experts, labels=len(TASK.labels), seed=7).eval(), opened


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(**BATCH).logits
    return found


@pytest.mark.parametrize("copied", [True, False], ids=["copied", "by reference"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_saved_is_what_is_loaded(
    kind: str, copied: bool, made: tuple[Base, dict[str, Path]], tmp_path: Path
) -> None:
    model, opened = fused(made, **KINDS[kind])
    told = save_fusion(tmp_path / "f", model, made[0], TASK, opened, copy_adapters=copied, scores={"accuracy": 0.5})
    verify_folder(tmp_path / "f")
    loaded = load_fusion(tmp_path / "f")
    torch.testing.assert_close(logits(loaded.model), logits(model), atol=1e-5, rtol=1e-5)
    assert loaded.experts == ("mood", "topic", "theirs") and loaded.task == TASK
    assert loaded.warnings == opened.warnings and "theirs: saved without" in loaded.warnings[0]
    assert told.trainable_parameters == sum(p.numel() for p in model.parameters())
    assert (tmp_path / "f" / "adapters").is_dir() is copied
    rows = list(predict_stream(loaded, [TextExample("1", "i feel happy"), TextExample("2", "she was sad")]))
    assert [row.predicted[0] in TASK.label_names for row in rows] == [True, True]


def test_copies_make_a_folder_that_can_go_anywhere(made: tuple[Base, dict[str, Path]], tmp_path: Path) -> None:
    model, opened = fused(made)
    save_fusion(tmp_path / "f", model, made[0], TASK, opened, copy_adapters=True)
    (tmp_path / "far").mkdir()
    shutil.move(tmp_path / "f", tmp_path / "far" / "g")
    torch.testing.assert_close(logits(load_fusion(tmp_path / "far" / "g").model), logits(model), atol=1e-5, rtol=1e-5)
    assert load_adapter(tmp_path / "far" / "g" / "adapters" / "00").task == TASK


def test_a_fusion_by_reference_is_gathered_into_one_that_can_go_anywhere(
    made: tuple[Base, dict[str, Path]], tmp_path: Path
) -> None:
    base, folders = made
    own = {name: Path(shutil.copytree(folder, tmp_path / "own" / name)) for name, folder in folders.items()}
    model, opened = fused((base, own))
    save_fusion(tmp_path / "f", model, base, TASK, opened, scores={"accuracy": 0.5})
    told = gather(load_fusion(tmp_path / "f"), tmp_path / "g")
    assert all(entry.copied for entry in told.fusion.experts) and told.scores == {"accuracy": 0.5}
    shutil.rmtree(tmp_path / "own")
    torch.testing.assert_close(logits(load_fusion(tmp_path / "g").model), logits(model), atol=1e-5, rtol=1e-5)
    forced = replace(load_fusion(tmp_path / "g"), overridden=("the seal is broken",))
    with pytest.raises(AdapterError, match="not stored again: the seal is broken"):
        gather(forced, tmp_path / "h")


def test_a_fusion_answers_in_fp32_alone(whole: Path) -> None:
    ready = for_inference(load_adapter(whole))
    assert (ready.precision, ready.exact, ready.guard) == ("fp32", None, None)
    rows = list(predict_stream(ready, [TextExample(str(n), f"i feel {n}") for n in range(9)], batch_size=2, window=4))
    again = list(predict_stream(ready, [TextExample(str(n), f"i feel {n}") for n in range(9)]))
    assert [row.predicted for row in rows] == [row.predicted for row in again]
    precisions: tuple[Any, ...] = ("bf16", "int8")
    for precision in precisions:
        with pytest.raises(InputError, match=f"a fusion answers in fp32 alone, found {precision}"):
            for_inference(load_adapter(whole), precision=precision)
    with pytest.raises(InputError, match="merged weights"):
        for_inference(load_adapter(whole), merge=False)


def test_training_mode_of_the_fusion_leaves_experts_alone(made: tuple[Base, dict[str, Path]]) -> None:
    for kind in ("self", "layer"):
        model, _ = fused(made, **KINDS[kind], dropout=0.0)
        first = logits(model)
        model.train()
        torch.testing.assert_close(logits(model), first, atol=1e-6, rtol=1e-6)
        assert not any("encoder." in name or "lora" in name for name, _ in model.named_parameters())


def test_padding_and_the_batch_do_not_matter(made: tuple[Base, dict[str, Path]]) -> None:
    model, _ = fused(made)
    whole = logits(model)
    wide = {name: torch.nn.functional.pad(tensor, (0, 4)) for name, tensor in BATCH.items()}
    with torch.no_grad():
        torch.testing.assert_close(model(**wide).logits, whole, atol=1e-5, rtol=1e-5)
        for row in (2, 0, 1):
            alone = model(**{name: tensor[row : row + 1] for name, tensor in BATCH.items()})
            torch.testing.assert_close(alone.logits[0], whole[row], atol=1e-5, rtol=1e-5)


def retensor(path: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    save_file(change(load_file(path)), path)


def test_an_adapter_that_was_changed_is_told_with_both_hashes(
    made: tuple[Base, dict[str, Path]], tmp_path: Path
) -> None:
    base, folders = made
    own = {name: Path(shutil.copytree(folder, tmp_path / name)) for name, folder in folders.items()}
    model, opened = fused((base, own))
    save_fusion(tmp_path / "f", model, base, TASK, opened)
    retensor(own["theirs"] / "adapter_model.safetensors", lambda t: {n: 1.5 * x for n, x in t.items()})
    now = open_experts(own, base, build_backbone(base)).experts[2].sha256
    with pytest.raises(AdapterError, match=f"'theirs' computes something else.*{opened.experts[2].sha256}.*{now}"):
        load_fusion(tmp_path / "f")
    assert len(load_fusion(tmp_path / "f", force=True).overridden) == 2  # that, and the answers
    shutil.rmtree(own["mood"])
    with pytest.raises(AdapterError, match=r"mood: the adapter of the expert 'mood' is not there.*adapters="):
        load_fusion(tmp_path / "f")
    places = {"mood": folders["mood"], "theirs": folders["theirs"]}
    torch.testing.assert_close(logits(load_fusion(tmp_path / "f", adapters=places).model), logits(model))
    with pytest.raises(AdapterError, match="no expert 'moood'; it has mood, topic, theirs"):
        load_fusion(tmp_path / "f", adapters={**places, "moood": folders["mood"]})


def test_an_adapter_of_another_base_and_another_base_are_told_with_both_fingerprints(
    made: tuple[Base, dict[str, Path]], tmp_path: Path
) -> None:
    model, opened = fused(made)
    save_fusion(tmp_path / "f", model, made[0], TASK, opened)
    other = toy_loaded(tmp_path / "other", seed=5)
    sides = f"{made[0].fingerprint[:16]}.*{other.fingerprint[:16]}"
    with pytest.raises(AdapterError, match=sides):
        load_fusion(tmp_path / "f", base=str(other.folder))
    alien = saved_adapter(tmp_path / "alien", other, seed=1)
    with pytest.raises(AdapterError, match=f"{other.fingerprint[:16]}.*{made[0].fingerprint[:16]}"):
        load_fusion(tmp_path / "f", adapters={"mood": alien})


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "tunelet.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


HARM: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a weight": (lambda f: retensor(f / "fusion.safetensors", lambda t: {n: x + 1 for n, x in t.items()}),
                 "fusion.safetensors: the (content|file) has .*tunelet.json says"),
    "cut off": (lambda f: (f / "fusion.safetensors").write_bytes(b"123"), "has 3 bytes"),
    "a copied adapter": (lambda f: (f / "adapters/01/adapter_config.json").write_text("{}"), "adapters/01.*says"),
    "labels": (lambda f: edit(f, lambda v: v["task"]["labels"].reverse()), "the order of the labels was changed"),
    "settings": (lambda f: edit(f, lambda v: v["fusion"]["settings"].update(temperature=0.1)), "seal"),
    "heads": (lambda f: edit(f, lambda v: v["fusion"]["settings"].update(kind="mean")), "do not fit the fusion"),
    "a key": (lambda f: edit(f, lambda v: v["fusion"].pop("experts")), "fusion.experts: this key is missing"),
    "another kind": (lambda f: edit(f, lambda v: v.pop("fusion")), "holds a classifier, expected a fusion"),
    "no manifest": (lambda f: (f / "tunelet.json").unlink(), "not a fusion: tunelet.json is not there"),
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(made: tuple[Base, dict[str, Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "f"
    model, opened = fused(made)
    save_fusion(folder, model, made[0], TASK, opened, copy_adapters=True)
    return folder


@pytest.mark.parametrize("case", HARM)
def test_harm_is_found(case: str, whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "f"))
    harm, sentence = HARM[case]
    harm(folder)
    with pytest.raises(AdapterError, match=sentence):
        load_fusion(folder)


def test_a_fusion_is_loaded_as_an_adapter_is_but_no_adapter_as_a_fusion(
    made: tuple[Base, dict[str, Path]], whole: Path
) -> None:
    loaded = load_adapter(whole)
    assert isinstance(loaded, LoadedFusion) and loaded.fused and loaded.experts == ("mood", "topic", "theirs")
    torch.testing.assert_close(logits(loaded.model), logits(load_fusion(whole).model))
    with pytest.raises(AdapterError, match="holds one adapter"):
        load_adapter(made[1]["mood"], adapters={"mood": made[1]["mood"]})
    with pytest.raises(AdapterError, match="holds a classifier, expected a fusion of adapters"):
        load_fusion(made[1]["mood"])


def test_nothing_is_saved_of_a_fusion_that_diverged(made: tuple[Base, dict[str, Path]], tmp_path: Path) -> None:
    model, opened = fused(made)
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"norm_experts.*NaN"):
        save_fusion(tmp_path / "f", model, made[0], TASK, opened)
    assert not (tmp_path / "f").exists()
