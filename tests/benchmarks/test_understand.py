"""The benchmark of prompts at toy size: all sides answer the same prompts, and those that score agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import BertConfig, BertModel

from tunelet.cli.bench import load
from tunelet.models.bases import load_base
from tunelet.models.in_context.causal import CausalModel
from tunelet.models.language import build_causal_lm
from tunelet.models.settings import ModelSettings
from tunelet.models.speech.protocol import drawing

TEXTS = [
    "hello there",
    "yes",
    "i lost my card on monday",
    "uh huh",
    "could you say that again",
    "thank you so much",
    "no",
]
jobs = load("common.understand_jobs")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM's tokenizer with a tiny model."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = load_base(ModelSettings()).tokenizer
    tokenizer.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=512,
        initializer_range=0.3,
    )
    with drawing(1, "base"):
        BertModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("fixed", [False, True])
def test_the_loop_scores_as_we_do_and_generate_writes(base: Path, fixed: bool) -> None:
    found = load_base(ModelSettings(base=str(base), max_length=512))
    model = build_causal_lm(found, seed=1)
    given = jobs.Given(model, found.tokenizer, CausalModel(model, found.tokenizer))
    how = jobs.Answering(texts=Path("none"), fixed=fixed)
    questions = jobs.make_questions(TEXTS, how, given.ours.count)[:2]
    shown = [question.prompt.demonstrations for question in questions]
    assert [len(keys) for keys in shown] == [5, 5]
    assert (shown[0] == shown[1]) is fixed
    ours = jobs.SIDES["ours"](given, questions)
    assert np.shape(ours) == (2, 18)
    np.testing.assert_allclose(jobs.SIDES["each_label"](given, questions), ours, atol=1e-4)
    assert jobs.SIDES["generate"](given, questions) == jobs.SIDES["batches"](given, questions)


def test_texts_are_embedded_ones_without_a_folder_of_data(tmp_path: Path) -> None:
    texts = load("understand").read_texts(str(tmp_path), 300)
    assert len(texts) == 300
    assert len(set(texts)) > 100


def test_other_scores_are_an_error() -> None:
    understand = load("understand")
    same = understand._agreement([[-1.0, -2.0], [-3.0, -1.0]], [[-1.0, -2.0]])
    assert same == {"largest_difference": 0.0, "same_answers": 1, "compared": 1}
    for other in (-1.1, float("nan")):
        with pytest.raises(ValueError, match="scores of whole labels differ"):
            understand._agreement([[-1.0, -2.0]], [[other, -2.0]])


@pytest.mark.slow
def test_it_measures(base: Path) -> None:
    understand = load("understand")
    plan = understand.Plan({side: 1 for side in understand.SIDES}, rounds=1, base=str(base))
    told: list[str] = []
    found: dict[str, Any] = understand.compare(TEXTS, plan, told.append)
    assert json.loads(json.dumps(found)) == found
    assert set(found["ratios"]) == {f"{name}{suffix}" for name in understand.RATIOS for suffix in ("", "_fixed")}
    assert told
    for suffix, key in (("", "own"), ("_fixed", "fixed")):
        sides = found["figures"][key]
        rate = sides["ours"]["queries_per_second"] / sides["generate"]["queries_per_second"]
        assert found["ratios"][f"vs_generate{suffix}"] == pytest.approx(rate)
        assert sides["each_label"]["same_answers"] == 1
