"""The head: new, drawn from its own stream, found in every architecture."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    PretrainedConfig,
    RobertaConfig,
)

from toy import toy_base
from toy_tuned import TASK, toy_loaded
from tunelet.base.errors import BaseModelError
from tunelet.data.records import Label, Task
from tunelet.models.bases import Base, load_base
from tunelet.models.classifier import build_classifier, head_modules, output_weight_name
from tunelet.models.settings import ModelSettings
from tunelet.tuning.folder import load_adapter, save_adapter
from tunelet.tuning.methods import prepare
from tunelet.tuning.settings import TuningSettings


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return toy_loaded(tmp_path_factory.mktemp("base"))


def test_it_knows_its_labels(base: Base) -> None:
    model = build_classifier(base, TASK)
    assert model.config.id2label == {0: "sad", 1: "glad", 2: "cross"}
    assert model.config.label2id == {"sad": 0, "glad": 1, "cross": 2}
    assert model.config.problem_type == "single_label_classification"
    many = build_classifier(base, Task("t", "", TASK.labels, multi_label=True))
    assert many.config.problem_type == "multi_label_classification"
    assert {p.dtype for p in model.parameters()} == {torch.float32} and not model.training


def test_the_head_hangs_on_the_seed_alone_and_leaves_the_global_generator(base: Base) -> None:
    torch.manual_seed(1)
    first = build_classifier(base, TASK, seed=7)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = build_classifier(base, TASK, seed=7)
    assert torch.get_rng_state().equal(before)
    assert first.classifier.weight.equal(second.classifier.weight)
    assert not first.classifier.weight.equal(build_classifier(base, TASK, seed=8).classifier.weight)
    assert first.classifier.bias.eq(0).all()


def test_the_backbone_is_the_stored_one(base: Base) -> None:
    own = build_classifier(base, TASK).bert.state_dict()
    stored = load_file(base.folder / "model.safetensors")
    assert own.keys() == stored.keys() and all(own[name].equal(tensor) for name, tensor in stored.items())


@pytest.mark.parametrize("labels", [3, 5])
def test_a_stored_head_is_not_used(base: Base, labels: int, tmp_path: Path) -> None:
    AutoModelForSequenceClassification.from_pretrained(base.folder, num_labels=labels).save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    headed = load_base(ModelSettings(base=str(tmp_path), max_length=32))
    assert build_classifier(headed, TASK, seed=7).classifier.weight.equal(
        build_classifier(base, TASK, seed=7).classifier.weight
    )


def test_a_pooler_without_weights_trains_with_the_head_and_comes_back(base: Base, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base.folder, tmp_path / "base"))
    tensors = {name: t for name, t in load_file(folder / "model.safetensors").items() if "pooler" not in name}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    bare = load_base(ModelSettings(base=str(folder), max_length=32))
    model = build_classifier(bare, TASK, seed=1)
    assert head_modules(model) == ("classifier", "bert.pooler")
    tuned = prepare(model, TuningSettings(targets="qv"), total_steps=1, seed=1)
    assert any("pooler" in name for name, _ in tuned.trainable())
    save_adapter(tmp_path / "a", tuned, bare, TASK)
    assert load_adapter(tmp_path / "a").overridden == ()


def test_a_backbone_without_a_layers_weights_is_refused(base: Base, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base.folder, tmp_path / "base"))
    tensors = {name: t for name, t in load_file(folder / "model.safetensors").items() if "layer.1." not in name}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseModelError, match=r"lacks 16 weights of the backbone, such as .*layer\.1\."):
        build_classifier(load_base(ModelSettings(base=str(folder), max_length=32)), TASK)


def test_weights_of_another_width_than_the_config_says_are_refused(base: Base, tmp_path: Path) -> None:
    wide = toy_base(tmp_path / "wide", hidden=32)
    shutil.copy(base.folder / "model.safetensors", wide / "model.safetensors")
    with pytest.raises(BaseModelError, match=r"do not fit the config: .* in the file"):
        build_classifier(load_base(ModelSettings(base=str(wide), max_length=32)), TASK)


@pytest.mark.parametrize(
    ("config", "head", "output"),
    [
        (BertConfig(), ("classifier",), "classifier.weight"),
        (RobertaConfig(), ("classifier",), "classifier.out_proj.weight"),
        (DistilBertConfig(), ("pre_classifier", "classifier"), "classifier.weight"),
        (DebertaV2Config(), ("pooler", "classifier"), "classifier.weight"),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_the_head_of_each_architecture(config: PretrainedConfig, head: tuple[str, ...], output: str) -> None:
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    assert head_modules(model) == head
    assert output_weight_name(config) == output


def test_one_label_is_enough_for_a_multi_label_task(base: Base) -> None:
    task = Task("t", "", (Label("only"),), multi_label=True)
    assert build_classifier(base, task).classifier.weight.shape == (1, 16)
