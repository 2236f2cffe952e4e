"""Log probabilities over a tree of tokens against one text at a time through the whole model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from toy_language import some_lists, toy_decoder, toy_encoder
from tunelet.base.errors import BaseModelError, InputError
from tunelet.models.bases import Base
from tunelet.models.language import build_causal_lm
from tunelet.models.scoring.causal import CausalScorer, boundaries

Made = tuple[Base, Any]
LISTS = [["the cat sat", "the cat ran on", "the cat sat", "the"], [], ["unhappy dog", "", "a dog"]]


@pytest.fixture(scope="module", params=[toy_encoder, toy_decoder], ids=["bert", "gpt2"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    maker: Callable[..., Base] = request.param
    base = maker(tmp_path_factory.mktemp("base"))
    return base, build_causal_lm(base, seed=1)


def plainly(made: Made, text: str, kept: Any = None) -> float:
    """log P of `text` and its end."""
    base, model = made
    begin, end = boundaries(base.tokenizer)
    ids = [begin, *base.tokenizer(text, add_special_tokens=False)["input_ids"], end]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].double()
    if kept is not None:
        logits[:, np.setdiff1d(np.arange(logits.shape[1]), kept)] = -torch.inf
    return float(logits.log_softmax(-1)[torch.arange(len(ids) - 1), ids[1:]].sum())


@pytest.mark.parametrize("share", [True, False])
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lists=some_lists)
def test_it_is_what_a_plain_loop_gives(lists: list[list[str]], share: bool, made: Made) -> None:
    base, model = made
    found = CausalScorer(model, base.tokenizer, max_length=32, share=share, token_budget=30).score(lists)
    assert [len(row) for row in found] == [len(row) for row in lists]
    for texts, scores in zip(lists, found, strict=True):
        np.testing.assert_allclose(scores, [plainly(made, text) for text in texts], atol=1e-4)


def test_sharing_and_batches_change_nothing(made: Made) -> None:
    base, model = made
    whole = CausalScorer(model, base.tokenizer, max_length=32).score(LISTS)
    for other in ({"share": False}, {"token_budget": 1}, {"share": False, "token_budget": 7}):
        again = CausalScorer(model, base.tokenizer, max_length=32, **other).score(LISTS)
        for a, b in zip(whole, again, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    assert whole[0][0] == whole[0][2]


def test_shared_beginnings_are_run_once(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    base, model = made
    backbone = getattr(model, model.base_model_prefix)
    plain, nodes = type(backbone).forward, []

    def counted(self: Any, **given: Any) -> Any:
        nodes.append(given["input_ids"].numel())
        return plain(self, **given)

    monkeypatch.setattr(type(backbone), "forward", counted)
    monkeypatch.setattr("tunelet.models.scoring.causal._can_share", lambda backbone: None)
    texts = [["the cat sat", "the cat ran", "the cat sat"]]
    CausalScorer(model, base.tokenizer, max_length=32).score(texts)
    assert sum(nodes) == 5  # begin, the, cat, sat, ran
    nodes.clear()
    CausalScorer(model, base.tokenizer, max_length=32, share=False).score(texts)
    assert sum(nodes) == 8


def test_the_chances_of_all_next_tokens_sum_to_one(made: Made) -> None:
    base, model = made
    words = [base.tokenizer.convert_ids_to_tokens(i) for i in range(5, 13)]
    kept = np.array([3, *range(5, 13)])
    scorer = CausalScorer(model, base.tokenizer, max_length=32, kept=kept)
    (found,) = scorer.score([["the", *(f"the {word}" for word in words)]])
    assert found[0] == pytest.approx(plainly(made, "the", kept), abs=1e-4)
    # P(the, end) and P(the, w, end) / P(end | the, w) share P(the)
    ends = [_end(made, f"the {word}", kept) for word in words]
    total = np.exp(found[0]) + sum(np.exp(score - end) for score, end in zip(found[1:], ends, strict=True))
    assert total == pytest.approx(np.exp(found[0] - _end(made, "the", kept)), rel=1e-4)


def _end(made: Made, text: str, kept: Any) -> float:
    base, model = made
    begin, end = boundaries(base.tokenizer)
    ids = [begin, *base.tokenizer(text, add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1].double()[torch.from_numpy(kept)]
    return float(logits.log_softmax(-1)[kept.tolist().index(end)])


def test_too_long_is_an_error_or_cut(made: Made) -> None:
    base, model = made
    with pytest.raises(InputError, match="has 3 tokens, more than the 2"):
        CausalScorer(model, base.tokenizer, max_length=4).score([["the cat sat"]])
    cut = CausalScorer(model, base.tokenizer, max_length=4, overlong="truncate").score([["the cat sat", "the cat"]])
    assert cut[0][0] == cut[0][1] < 0


def test_progress_ends_at_all(made: Made) -> None:
    base, model = made
    seen: list[tuple[int, int]] = []
    CausalScorer(model, base.tokenizer, max_length=32, token_budget=1).score(
        LISTS, progress=lambda done, of: seen.append((done, of))
    )
    assert seen == [(1, 2), (2, 2)]


def test_what_cannot_be_scored_is_told(made: Made) -> None:
    base, _ = made

    class Bare:
        bos_token_id = eos_token_id = cls_token_id = sep_token_id = None

    with pytest.raises(BaseModelError, match="neither BOS and EOS"):
        boundaries(Bare())
    scorer = CausalScorer(torch.nn.Linear(1, 1), base.tokenizer, max_length=32)
    scorer.model.base_model_prefix, scorer.model.model = "model", torch.nn.ReLU()
    with pytest.raises(BaseModelError, match="ReLU takes no position_ids"):
        scorer.score([["a"]])
