"""Pseudo-likelihoods against a plain loop: one text, one masked position, the whole model, at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from toy_language import some_lists, toy_encoder
from tunelet.base.errors import InputError
from tunelet.models.bases import Base
from tunelet.models.language import build_masked_lm
from tunelet.models.scoring.pseudo_likelihood import PseudoLikelihood

LISTS = [["the cat sat", "the cats sat", "the cat sat"], [], ["unhappyly the dog ran on", "", "a dog"]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return toy_encoder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def model(base: Base) -> Any:
    return build_masked_lm(base, seed=1)


def plainly(model: Any, tokenizer: Any, text: str, variant: str, kept: Any = None) -> dict[int, float]:
    """log P of each token of `text`, by position."""
    encoded = tokenizer(text)
    ids, words = encoded["input_ids"], encoded.word_ids()
    found = {}
    for t in range(1, len(ids) - 1):
        masked = list(ids)
        for u in range(t, len(ids) - 1):
            if u == t or (variant == "word_l2r" and words[u] == words[t]):
                masked[u] = tokenizer.mask_token_id
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([masked])).logits[0, t].double()
        if kept is not None:
            logits[np.setdiff1d(np.arange(len(logits)), kept)] = -torch.inf
        found[t] = float(logits.log_softmax(-1)[ids[t]])
    return found


@pytest.mark.parametrize("variant", ["original", "word_l2r"])
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lists=some_lists)
def test_it_is_what_a_plain_loop_gives(lists: list[list[str]], variant: Any, base: Base, model: Any) -> None:
    scorer = PseudoLikelihood(model, base.tokenizer, max_length=32, variant=variant, token_budget=40, window=3)
    found = scorer.score(lists)
    assert [len(row) for row in found] == [len(row) for row in lists]
    for texts, scores in zip(lists, found, strict=True):
        expected = [sum(plainly(model, base.tokenizer, text, variant).values()) for text in texts]
        np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_the_two_variants_differ_in_words_of_several_pieces_alone(base: Base, model: Any) -> None:
    first, second = (
        PseudoLikelihood(model, base.tokenizer, max_length=32, variant=v).score([["the cat sat", "unhappyly"]])[0]
        for v in ("original", "word_l2r")
    )
    assert first[0] == pytest.approx(second[0], abs=1e-6)
    assert abs(first[1] - second[1]) > 1e-3


def test_the_order_and_the_batches_change_nothing(base: Base, model: Any) -> None:
    whole = PseudoLikelihood(model, base.tokenizer, max_length=32).score(LISTS)
    small = PseudoLikelihood(model, base.tokenizer, max_length=32, token_budget=1, window=1).score(LISTS[::-1])[::-1]
    for a, b in zip(whole, small, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert whole[0][0] == whole[0][2]
    assert whole[2][1] == 0.0  # the empty text


def test_equal_copies_are_run_once(base: Base, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import tunelet.models.scoring.pseudo_likelihood as module

    plain, sizes = module.hidden_at, []

    def counted(model: Any, ids: Any, mask: Any, position: Any) -> Any:
        sizes.append(len(ids))
        return plain(model, ids, mask, position)

    monkeypatch.setattr(module, "hidden_at", counted)
    scorer = PseudoLikelihood(model, base.tokenizer, max_length=32)
    scorer.score([["the cat sat", "the dog sat", "the cat sat"]])
    assert sum(sizes) == 5  # 3 + 3 positions, of which the masked animal is one copy


def test_a_cut_vocabulary_is_a_softmax_over_less(base: Base, model: Any) -> None:
    kept = np.array([5, 6, 7, 8, 9, 17])
    scorer = PseudoLikelihood(model, base.tokenizer, max_length=32, kept=kept)
    found = scorer.score([["the cat sat"]])[0][0]
    assert found == pytest.approx(
        sum(plainly(model, base.tokenizer, "the cat sat", "original", kept).values()), abs=1e-4
    )
    with pytest.raises(InputError, match="cut vocabulary"):
        scorer.score([["the mat"]])


def test_only_differing_tokens_are_scored_when_asked(base: Base, model: Any) -> None:
    texts = ["the cat sat on a mat", "the dog sat on a mat", "the dog sat on a mat"]
    positions = {0: [2], 1: [1, 2, 3]}
    for neighbours, places in positions.items():
        scorer = PseudoLikelihood(model, base.tokenizer, max_length=32, only_differing=True, neighbours=neighbours)
        found = scorer.score([texts, ["the cat"], ["a", "a"]])
        for text, score in zip(texts, found[0], strict=True):
            known = plainly(model, base.tokenizer, text, "original")
            assert score == pytest.approx(sum(known[t] for t in places), abs=1e-4)
        assert not found[1].any() and not found[2].any()


def test_progress_and_modes(base: Base, model: Any) -> None:
    seen: list[tuple[int, int]] = []
    model.train()
    PseudoLikelihood(model, base.tokenizer, max_length=32, window=2).score(
        LISTS, progress=lambda done, of: seen.append((done, of))
    )
    assert seen == [(2, 5), (4, 5), (5, 5)]
    assert all(module.training for module in model.modules())
    model.eval()


def test_too_long_is_an_error_or_cut_but_never_nothing(base: Base, model: Any) -> None:
    text = "the cat sat on a mat"
    with pytest.raises(InputError, match=r"'the cat sat on a mat' has 8 tokens, more than the 6 .*truncate"):
        PseudoLikelihood(model, base.tokenizer, max_length=6).score([["a", text]])
    cut = PseudoLikelihood(model, base.tokenizer, max_length=6, overlong="truncate").score([[text, "the cat sat on"]])
    assert cut[0][0] == cut[0][1] < 0


def test_after_bf16_it_is_about_the_same(base: Base, model: Any) -> None:
    plain, low = (
        PseudoLikelihood(model, base.tokenizer, max_length=32, autocast=dtype).score(LISTS)
        for dtype in (None, torch.bfloat16)
    )
    for a, b in zip(plain, low, strict=True):
        np.testing.assert_allclose(a, b, rtol=0.05, atol=0.1)
