"""The [CLS] scorer: zero at first, trained like any classifier, the same in every batch and on the fast path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from toy_language import toy_encoder
from tunelet.base.errors import InputError
from tunelet.models.bases import Base
from tunelet.models.classifier import head_modules
from tunelet.models.rescorer import build_rescorer
from tunelet.models.scoring.cls_scorer import ClsScorer
from tunelet.tuning.methods import prepare
from tunelet.tuning.settings import TuningSettings

LISTS = [["the cat sat", "the cats sat", "the cat sat"], [], ["unhappyly the dog ran on", "", "a dog"]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return toy_encoder(tmp_path_factory.mktemp("base"))


@pytest.fixture
def model(base: Base) -> Any:
    """With a head that is not zero."""
    made = build_rescorer(base)
    torch.nn.init.normal_(made.score.weight, generator=torch.Generator().manual_seed(1))
    return made


def test_it_starts_at_zero_for_every_text(base: Base) -> None:
    for scores in ClsScorer(build_rescorer(base), base.tokenizer, max_length=32).score(LISTS):
        assert not scores.any()


def test_it_is_the_head_over_the_first_token(base: Base, model: Any) -> None:
    found = ClsScorer(model, base.tokenizer, max_length=32, token_budget=20).score(LISTS)
    assert [len(row) for row in found] == [3, 0, 3]
    for texts, scores in zip(LISTS, found, strict=True):
        for text, score in zip(texts, scores, strict=True):
            ids = torch.tensor([base.tokenizer(text)["input_ids"]])
            with torch.no_grad():
                first = model.bert(input_ids=ids).last_hidden_state[0, 0]
            assert score == pytest.approx(
                float((first @ model.score.weight[0] + model.score.bias[0]).detach()), abs=1e-5
            )
    assert found[0][0] == found[0][2]


def test_its_head_trains_with_every_method(base: Base) -> None:
    model = build_rescorer(base)
    assert head_modules(model) == ("score",)
    for method in ("lora", "adalora", "full"):
        tuned = prepare(build_rescorer(base), TuningSettings(method=method, r=2), total_steps=10, seed=1)
        names = [name for name, _ in tuned.trainable()]
        assert any("score" in name for name in names)
        assert all("score" in name or "lora" in name for name in names) == (method != "full")
        out = tuned.model(input_ids=torch.tensor([[2, 5, 3]]), attention_mask=torch.ones(1, 3, dtype=torch.long))
        assert out.logits.shape == (1, 1)
        assert out.features.shape == (1, 16)


def test_the_fast_path_computes_the_same(base: Base) -> None:
    settings = TuningSettings(method="lora", r=2, dropout=0.0)
    tuned = prepare(build_rescorer(base), settings, total_steps=10, seed=1)
    for _, parameter in tuned.trainable():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(1))
    slow = ClsScorer(tuned.model, base.tokenizer, max_length=32).score(LISTS)
    assert tuned.use_fast_path(torch.float32, seed=1) == ""
    assert tuned.engine is not None and tuned.engine.first_only
    fast = ClsScorer(tuned.model, base.tokenizer, max_length=32).score(LISTS)
    for a, b in zip(slow, fast, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert abs(slow[0][0]) > 1e-3


def test_too_long_is_an_error_or_cut(base: Base, model: Any) -> None:
    with pytest.raises(InputError, match="more than the 4"):
        ClsScorer(model, base.tokenizer, max_length=4).score([["the cat sat"]])
    cut = ClsScorer(model, base.tokenizer, max_length=4, overlong="truncate").score([["the cat sat", "the cat"]])
    assert cut[0][0] == cut[0][1] != 0


def test_progress_ends_at_all(base: Base, model: Any) -> None:
    seen: list[tuple[int, int]] = []
    ClsScorer(model, base.tokenizer, max_length=32, token_budget=8).score(
        LISTS, progress=lambda done, of: seen.append((done, of))
    )
    assert seen[-1] == (5, 5) and len(seen) > 1
