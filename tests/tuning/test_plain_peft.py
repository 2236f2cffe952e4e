"""Adapters that plain PEFT saved load here, strictly, with what is unknown said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from toy import toy_base
from toy_tuned import logits, toy_loaded
from tunelet.base.errors import AdapterError, BaseModelError
from tunelet.models.bases import Base
from tunelet.tuning.folder import load_adapter


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return toy_loaded(tmp_path_factory.mktemp("base"))


def plain(base: Base, folder: Path, task_type: str | None = "SEQ_CLS") -> torch.nn.Module:
    """A LoRA with random B, saved by PEFT alone."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(base.folder, num_labels=4, dtype=torch.float32)
    tuned = get_peft_model(
        model, LoraConfig(task_type=task_type, r=2, target_modules=["query"], init_lora_weights=False)
    )
    tuned.save_pretrained(folder)
    return tuned


def test_it_loads_with_the_same_logits_and_says_what_is_unknown(base: Base, tmp_path: Path) -> None:
    tuned = plain(base, tmp_path / "a")
    loaded = load_adapter(tmp_path / "a")
    torch.testing.assert_close(logits(loaded.model), logits(tuned), atol=1e-6, rtol=0)
    assert loaded.task.label_names == ("label_0", "label_1", "label_2", "label_3")
    assert loaded.manifest is None
    assert "without tunelet.json" in loaded.warnings[0]
    assert "no names" in loaded.warnings[1]


def test_labels_of_a_config_beside_it_are_taken(base: Base, tmp_path: Path) -> None:
    plain(base, tmp_path / "a").config.save_pretrained(tmp_path / "a")
    config = tmp_path / "a" / "config.json"
    values = json.loads(config.read_text())
    values["id2label"] = {"0": "north", "1": "east", "2": "south", "3": "west"}
    config.write_text(json.dumps(values))
    assert load_adapter(tmp_path / "a").task.label_names == ("north", "east", "south", "west")


def test_tensors_that_find_no_place_are_not_dropped(base: Base, tmp_path: Path) -> None:
    plain(base, tmp_path / "a")
    short = toy_base(tmp_path / "short", layers=1)
    with pytest.raises(AdapterError, match=r"layer\.1.*the model on this base has no such tensor"):
        load_adapter(tmp_path / "a", base=str(short))


def test_tensors_that_are_missing_do_not_stay_random(base: Base, tmp_path: Path) -> None:
    plain(base, tmp_path / "a")
    long = toy_base(tmp_path / "long", layers=3)
    with pytest.raises(AdapterError, match=r"layer\.2.*the file does not hold it"):
        load_adapter(tmp_path / "a", base=str(long))


def test_another_width(base: Base, tmp_path: Path) -> None:
    plain(base, tmp_path / "a")
    wide = toy_base(tmp_path / "wide", hidden=32)
    with pytest.raises(AdapterError, match=r"do not fit the base(.|\n)*16(.|\n)*32"):
        load_adapter(tmp_path / "a", base=str(wide))


def test_without_a_head_it_is_no_classifier(base: Base, tmp_path: Path) -> None:
    plain(base, tmp_path / "a", task_type=None)
    with pytest.raises(AdapterError, match=r"no head: expected base_model\.model\.classifier\.weight"):
        load_adapter(tmp_path / "a", base=base.name)


def test_a_pickle_is_not_opened(base: Base, tmp_path: Path) -> None:
    plain(base, tmp_path / "a")
    (tmp_path / "a" / "adapter_model.safetensors").rename(tmp_path / "a" / "adapter_model.bin")
    with pytest.raises(AdapterError, match=r"adapter_model\.bin is a pickle"):
        load_adapter(tmp_path / "a")


def test_not_a_number(base: Base, tmp_path: Path) -> None:
    plain(base, tmp_path / "a")
    path = tmp_path / "a" / "adapter_model.safetensors"
    tensors = {name: tensor.fill_(float("nan")) for name, tensor in load_file(path).items()}
    save_file(tensors, path)
    with pytest.raises(AdapterError, match="NaN or infinity"):
        load_adapter(tmp_path / "a")


def test_no_base_is_named_or_there(base: Base, tmp_path: Path) -> None:
    plain(base, tmp_path / "a")
    config = tmp_path / "a" / "adapter_config.json"
    values = json.loads(config.read_text())
    for name, error in ((None, AdapterError), (str(tmp_path / "gone"), BaseModelError)):
        config.write_text(json.dumps({**values, "base_model_name_or_path": name}))
        with pytest.raises(error, match="no base is named" if name is None else "no such folder"):
            load_adapter(tmp_path / "a")
    found = load_adapter(tmp_path / "a", base=base.name).base
    assert found is not None and found.fingerprint == base.fingerprint


@pytest.mark.parametrize("text", ["", "[]", '{"peft_type": "NONSENSE"}'])
def test_a_config_that_is_none(base: Base, tmp_path: Path, text: str) -> None:
    plain(base, tmp_path / "a")
    (tmp_path / "a" / "adapter_config.json").write_text(text)
    with pytest.raises(AdapterError, match="adapter_config"):
        load_adapter(tmp_path / "a", base=base.name)
