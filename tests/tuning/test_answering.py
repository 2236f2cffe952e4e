"""The forward pass that only answers gives what the modules give, for every family, length and padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, DistilBertConfig, ElectraConfig, RobertaConfig

from tunelet.tuning.answering import AnsweringEncoder, can_answer

SIZES: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 40,
    "max_position_embeddings": 40, "num_labels": 4, "initializer_range": 0.4,
}  # fmt: skip


def model_of(kind: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    config: Any = {
        "bert": BertConfig,
        "roberta": lambda **sizes: RobertaConfig(pad_token_id=0, **sizes),
        "electra": lambda **sizes: ElectraConfig(embedding_size=16, **sizes),
    }[kind](**{**SIZES, **changes})
    model = AutoModelForSequenceClassification.from_config(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, 0, 0.3)  # zeros would hide a forgotten one
    return model


def batch(lengths: list[int]) -> dict[str, torch.Tensor]:
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(3, 50, (length,), generator=torch.Generator().manual_seed(row))
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
@pytest.mark.parametrize("lengths", [[1], [7, 7], [2, 9, 5], [30, 1, 17, 4]])
@pytest.mark.parametrize("hidden_act", ["gelu", "relu"])
def test_it_answers_as_the_modules_do(kind: str, lengths: list[int], hidden_act: str) -> None:
    model = model_of(kind, hidden_act=hidden_act)
    assert can_answer(model)
    with torch.inference_mode():
        told = model(**batch(lengths)).logits
        AnsweringEncoder(getattr(model, model.base_model_prefix))
        found = model(**batch(lengths)).logits
        without_mask = model(input_ids=batch([5, 5])["input_ids"]).logits
        with_mask = model(**batch([5, 5])).logits
    assert torch.allclose(found, told, atol=1e-4)
    assert torch.allclose(without_mask, with_mask, atol=1e-5)


def test_what_it_does_not_compute_is_computed_by_the_modules() -> None:
    model = model_of("bert")
    AnsweringEncoder(model.bert)
    inputs = batch([4, 6])
    with torch.inference_mode():
        assert len(model(**inputs, output_hidden_states=True).hidden_states) == 4
        assert model(**inputs, return_dict=False)[0].shape == (2, 4)
    model.train()
    assert model(**inputs).logits.requires_grad


def test_others_are_left_alone() -> None:
    torch.manual_seed(0)
    other = DistilBertConfig(vocab_size=50, dim=24, n_layers=1, n_heads=2, hidden_dim=40)
    assert not can_answer(AutoModelForSequenceClassification.from_config(other))
    assert not can_answer(model_of("bert", is_decoder=True))
    replaced = model_of("bert")
    replaced.bert.encoder.layer[0].output.dense = torch.nn.Sequential(replaced.bert.encoder.layer[0].output.dense)
    assert not can_answer(replaced)
