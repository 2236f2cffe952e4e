"""The loss over lists and the scores of lists agree with a plain computation, one text at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from toy_language import toy_encoder
from toy_rescore import toy_lists
from tunelet.data.normalise import normaliser
from tunelet.evaluation.transcripts import error_table, padded
from tunelet.models.bases import Base
from tunelet.models.rescorer import RescorerForSequenceClassification, build_rescorer
from tunelet.systems.rescore_objective import Rescoring
from tunelet.systems.rescore_recipe import ScorerSettings
from tunelet.systems.rescore_results import ScoredSet, choose_weights, ranked

LISTS = toy_lists("train", 8)
TABLE = error_table(LISTS, normaliser("lower"))
TEXTS = [one.texts for one in LISTS]
WORDS = padded([[float(len(text.split())) for text in own] for own in TEXTS], TABLE)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return toy_encoder(Path(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def model(base: Base) -> RescorerForSequenceClassification:
    built = build_rescorer(base)
    torch.nn.init.normal_(built.score.weight, generator=torch.Generator().manual_seed(1))
    return built


def objective_of(base: Base, **settings: object) -> Rescoring:
    dev = ScoredSet(LISTS, TABLE, {"words": WORDS})
    scorer = ScorerSettings(**settings)
    return Rescoring.of(LISTS, TABLE, TEXTS, base.tokenizer, scorer, 24, dev, TEXTS, seed=1)


def plain(base: Base, model: RescorerForSequenceClassification, text: str) -> float:
    encoded = base.tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        out = model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"])
    return float(out.logits[0, 0])


def test_the_loss_is_the_mean_over_lists_of_expected_errors(
    base: Base, model: RescorerForSequenceClassification
) -> None:
    objective = objective_of(base, first_pass=0.5, hypotheses=2)
    expected = []
    for row, one in enumerate(LISTS):
        errors = TABLE.errors[row, :2].astype(float)
        if errors[0] == errors[1]:
            continue
        scores = [0.5 * h.score + plain(base, model, h.text) for h in one.hypotheses[:2]]
        chances = np.exp(np.array(scores) - max(scores))
        expected.append(float((chances / chances.sum() * (errors - errors.mean())).sum()))
    assert len(objective.train) == len(expected) > 1
    found = objective.loss(model, objective.batch(np.arange(len(expected))))
    assert found.item() == pytest.approx(np.mean(expected), abs=1e-5)
    found.backward()
    assert model.score.weight.grad is not None and bool(model.score.weight.grad.abs().sum() > 0)


def test_each_text_of_a_batch_is_scored_once(base: Base) -> None:
    objective = objective_of(base)
    batch = objective.batch(np.array([0, 0, 1]))
    texts = {text for row in (0, 1) for text in objective.train[row].texts.tolist()}
    assert len(batch["input_ids"]) == len(texts)
    assert batch["places"].shape == (3, 3) and bool((batch["places"][0] == batch["places"][1]).all())


def test_scores_are_those_of_single_texts(base: Base, model: RescorerForSequenceClassification) -> None:
    found = objective_of(base).score(model, TEXTS, TABLE)
    expected = [[plain(base, model, text) for text in own] for own in TEXTS]
    np.testing.assert_allclose(found, np.array(expected), atol=1e-5)


def test_a_perfect_scorer_gets_the_oracle_and_its_rows_say_so() -> None:
    dev = ScoredSet(LISTS, TABLE, {"words": WORDS, "scorer": -TABLE.errors.astype(float)})
    chosen = choose_weights(dev, seed=1)["scorer"]
    assert chosen.errors == int(TABLE.oracle.sum()) and chosen.weights["scorer"] > 0
    second = dev.second(chosen.weights)
    for row, one in enumerate(LISTS):
        assert ranked(one, second[row].tolist())["text"] == one.ref
