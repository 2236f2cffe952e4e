"""The presets in each architecture, and names that match nothing."""

from __future__ import annotations

import re

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    FunnelConfig,
    PretrainedConfig,
    RobertaConfig,
)

from tunelet.base.errors import InputError
from tunelet.tuning.methods import prepare
from tunelet.tuning.settings import PRESETS, TuningSettings
from tunelet.tuning.targets import linear_modules, target_names, target_options
from tunelet.tuning.trainable import trainable_table

SIZES = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
CONFIGS: dict[str, PretrainedConfig] = {
    "bert": BertConfig(**SIZES),
    "roberta": RobertaConfig(**SIZES),
    "electra": ElectraConfig(**SIZES, embedding_size=4),
    "deberta-v2": DebertaV2Config(**SIZES),
    "distilbert": DistilBertConfig(vocab_size=20, dim=8, n_layers=1, n_heads=2, hidden_dim=16),
}


def built(config: PretrainedConfig) -> torch.nn.Module:
    return AutoModelForSequenceClassification.from_config(config)


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_works_in_every_architecture_and_the_head_trains(kind: str, preset: str) -> None:
    model = built(CONFIGS[kind])
    linear = linear_modules(model)
    tuned = prepare(model, TuningSettings(targets=preset, r=2), total_steps=1, seed=0)
    adapted = {
        name.split(".lora_A")[0].removeprefix("base_model.model.") for name, _ in tuned.trainable() if "lora_A" in name
    }
    expected = {"qv": 2, "qkv": 3, "attention": 3}.get(preset, len(linear))
    if kind == "electra" and preset in ("qkv+dense", "attention+linear"):
        expected -= 1  # its projection of the embeddings is not called dense
    assert len(adapted) == expected
    heads = {row.pattern for row in trainable_table(tuned.model).rows if "lora_" not in row.pattern}
    assert heads == {
        "bert": {"classifier.weight", "classifier.bias"},
        "distilbert": {"classifier.weight", "classifier.bias", "pre_classifier.weight", "pre_classifier.bias"},
        "deberta-v2": {"classifier.weight", "classifier.bias", "pooler.dense.weight", "pooler.dense.bias"},
    }.get(
        kind,
        {f"classifier.{name}.{part}" for name in ("dense", "out_proj") for part in ("weight", "bias")},
    )


def test_attention_is_the_papers_text_and_qv_its_code() -> None:
    model = built(CONFIGS["bert"])
    assert target_names(model, "attention") == target_names(model, "qkv") == ["query", "key", "value"]
    assert target_names(model, "qv") == ["query", "value"]
    assert target_names(model, "attention+linear") == ["query", "key", "value", "dense"]
    assert target_names(built(CONFIGS["distilbert"]), "qv") == ["q_lin", "v_lin"]


def test_names_that_match_nothing_are_all_told_with_what_there_is() -> None:
    with pytest.raises(InputError) as caught:
        target_names(built(CONFIGS["bert"]), ["query", "valeu", "nothing"])
    message = str(caught.value)
    assert "'valeu' matches no linear module; did you mean 'value'?" in message
    assert "'nothing' matches no linear module" in message
    assert "linear modules: query (1), key (1), value (1), dense (4)" in message


def test_the_head_is_no_target() -> None:
    with pytest.raises(InputError, match="'classifier' matches no linear module"):
        target_names(built(CONFIGS["bert"]), ["classifier"])


def test_a_preset_in_an_unknown_architecture_says_what_to_do() -> None:
    model = built(FunnelConfig(vocab_size=20, block_sizes=[1], d_model=8, n_head=2, d_head=4, d_inner=16))
    with pytest.raises(InputError, match=re.escape("'qv' is not defined for the architecture 'funnel'")) as caught:
        target_names(model, "qv")
    assert "q_head (" in str(caught.value)
    assert target_names(model, "all-linear") == "all-linear"
    assert target_names(model, ["q_head"]) == ["q_head"]


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "deberta-v2", "distilbert"])
@pytest.mark.parametrize("method", ["lora", "vera", "adalora", "pissa"])
@pytest.mark.parametrize("targets", ["qv", "all-linear"])
def test_adapters_are_in_the_chosen_layers_alone(kind: str, method: str, targets: str) -> None:
    config = type(CONFIGS[kind]).from_dict({**CONFIGS[kind].to_dict(), "num_hidden_layers": 3, "n_layers": 3})
    settings = TuningSettings(method=method, targets=targets, r=2, layers=(0, 2))
    tuned = prepare(built(config), settings, total_steps=1, seed=0)
    adapted = [name for name, _ in tuned.trainable() if "lora_" in name or "vera_" in name]
    layers = {int(number) for name in adapted for number in re.findall(r"\.(\d+)\.", name)}
    assert layers == {0, 2}
    assert len([name for name in adapted if not re.search(r"\.\d+\.", name)]) == 0
    assert tuned.export().config["layers_to_transform"] == [0, 2]


def test_layers_without_a_target_are_named_with_those_that_have_one() -> None:
    with pytest.raises(InputError, match=r"layers: no target in layer 1, 7; layers with targets: 0"):
        target_options(built(CONFIGS["bert"]), "qv", (0, 1, 7))
    with pytest.raises(InputError, match="is a single module, and layers chooses among many"):
        target_options(built(CONFIGS["bert"]), ["bert.encoder.layer.0.attention.self.query"], (0,))
    with pytest.raises(InputError, match="layers with targets: none"):
        target_options(built(CONFIGS["bert"]), ["pooler.dense"], (0,))
