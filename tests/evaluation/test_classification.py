"""Scores against scikit-learn on the examples themselves, and what must hold for any logits."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics

from tunelet.base.errors import InputError, TuneletError
from tunelet.evaluation.calibration import calibration_bins, expected_calibration_error
from tunelet.evaluation.classification import ClassificationScores, score, score_single
from tunelet.evaluation.multilabel import MultiLabelScores, score_multi

LABELS = ("sadness", "joy", "love", "anger")
LOGITS = st.floats(-30, 30, width=32)


@st.composite
def single(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(1, 30))
    logits = draw(arrays(np.float32, (n, len(LABELS)), elements=LOGITS))
    return logits, draw(arrays(np.int64, n, elements=st.integers(0, len(LABELS) - 1)))


@st.composite
def multi(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(1, 20))
    logits = draw(arrays(np.float32, (n, len(LABELS)), elements=LOGITS))
    return logits, draw(arrays(np.float32, (n, len(LABELS)), elements=st.sampled_from([0.0, 1.0])))


@given(single())
def test_single_label_scores_are_those_of_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    logits, gold = case
    scores, predicted = score_single(logits, gold, LABELS), logits.argmax(axis=1)
    indices = list(range(len(LABELS)))
    assert scores.n == len(gold)
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(gold, predicted))
    assert np.array_equal(scores.confusion, metrics.confusion_matrix(gold, predicted, labels=indices))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn remarks on a single class
        assert scores.mcc == pytest.approx(metrics.matthews_corrcoef(gold, predicted))
    for average in ("macro", "weighted"):
        expected = metrics.precision_recall_fscore_support(
            gold, predicted, labels=indices, average=average, zero_division=0
        )
        found = [getattr(scores, f"{average}_{name}") for name in ("precision", "recall", "f1")]
        assert found == pytest.approx(expected[:3])
    table = metrics.precision_recall_fscore_support(gold, predicted, labels=indices, zero_division=0)
    rows = [(row.precision, row.recall, row.f1, row.support) for row in scores.per_class]
    assert np.allclose(rows, np.transpose(table))
    assert [row.predicted for row in scores.per_class] == np.bincount(predicted, minlength=len(LABELS)).tolist()


@given(single())
def test_loss_is_the_log_loss_and_matches_torch(case: tuple[np.ndarray, np.ndarray]) -> None:
    logits, gold = case
    expected = torch.nn.functional.cross_entropy(torch.tensor(logits).double(), torch.tensor(gold))
    assert score_single(logits, gold, LABELS).loss == pytest.approx(expected.item(), abs=1e-9)


@given(single(), st.integers(0, 99))
def test_order_of_the_examples_does_not_matter(case: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    logits, gold = case
    order = np.random.default_rng(seed).permutation(len(gold))
    first, second = score_single(logits, gold, LABELS), score_single(logits[order], gold[order], LABELS)
    assert first.confusion == second.confusion
    assert first.loss == pytest.approx(second.loss)
    assert first.ece == pytest.approx(second.ece)


@given(single(), st.permutations(range(len(LABELS))))
def test_names_of_the_labels_do_not_matter_to_averages(case: tuple[np.ndarray, np.ndarray], order: list[int]) -> None:
    logits, gold = case
    top = np.sort(logits, axis=1)
    untied = (top[:, -1] > top[:, -2]).all()
    first = score_single(logits, gold, LABELS)
    renamed = score_single(logits[:, order], np.argsort(order)[gold], [LABELS[index] for index in order])
    assert renamed.loss == pytest.approx(first.loss)
    if untied:  # of equal logits the first label wins, and that one has changed
        assert renamed.macro_f1 == pytest.approx(first.macro_f1)
        assert renamed.mcc == pytest.approx(first.mcc)


@given(single())
def test_ratios_stay_in_their_bounds_and_survive_json(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores = score_single(*case, LABELS)
    row = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    for name in ("accuracy", "macro_precision", "macro_recall", "macro_f1", "weighted_f1", "ece"):
        assert 0 <= row[name] <= 1, name
    assert -1 <= row["mcc"] <= 1
    assert row["weighted_recall"] == pytest.approx(row["accuracy"])
    assert ClassificationScores.from_json(row) == scores


def test_perfect_and_hopeless_predictions() -> None:
    gold = np.array([0, 1, 2, 3, 0])
    right = 50.0 * np.eye(4)[gold]
    assert score_single(right, gold, LABELS).macro_f1 == 1.0
    assert score_single(right, gold, LABELS).mcc == 1.0
    assert score_single(-right, gold, LABELS).accuracy == 0.0


def test_a_label_that_never_occurs_counts_as_zero_in_the_macro_average() -> None:
    scores = score_single(9.0 * np.eye(4)[[0, 1]], np.array([0, 1]), LABELS)
    assert scores.macro_f1 == 0.5
    assert scores.weighted_f1 == 1.0


def test_logits_decide_where_probabilities_tie() -> None:
    logits = np.array([[100.0, 100.0 + 1e-13]])
    assert score_single(logits, [1], ["a", "b"]).accuracy == 1.0


@given(single(), st.integers(1, 20))
def test_calibration_is_the_definition_of_guo(case: tuple[np.ndarray, np.ndarray], count: int) -> None:
    logits, gold = case
    exps = np.exp(logits.astype(np.float64))
    probabilities = exps / exps.sum(axis=1, keepdims=True)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == gold
    expected = 0.0
    for index in range(count):
        inside = (np.ceil(confidence * count) == index + 1) & (confidence > 0)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    bins = calibration_bins(confidence, correct, count)
    assert expected_calibration_error(bins) == pytest.approx(expected)
    assert sum(bin_.count for bin_ in bins) == len(gold)


def test_edges_of_the_calibration_bins() -> None:
    bins = calibration_bins(np.array([0.0, 0.5, 0.500001, 1.0]), np.array([True, True, False, True]), bins=2)
    assert [(bin_.count, bin_.correct) for bin_ in bins] == [(2, 2), (2, 1)]
    assert expected_calibration_error(()) == 0.0


@given(multi())
def test_multi_label_scores_are_those_of_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    logits, gold = case
    scores = score_multi(logits, gold, LABELS)
    predicted = (1 / (1 + np.exp(-logits.astype(np.float64))) >= 0.5).astype(int)
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(gold, predicted))
    assert scores.hamming_loss == pytest.approx(metrics.hamming_loss(gold, predicted))
    row = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    for average in ("macro", "weighted", "micro"):
        expected = metrics.precision_recall_fscore_support(gold, predicted, average=average, zero_division=0)
        assert row[f"{average}_f1"] == pytest.approx(expected[2])
        if average != "micro":
            assert row[f"{average}_precision"] == pytest.approx(expected[0])
            assert row[f"{average}_recall"] == pytest.approx(expected[1])
    assert row["macro_f1"] == scores.macro_f1
    assert row["weighted_f1"] == scores.weighted_f1
    assert MultiLabelScores.from_json(row) == scores


@given(multi())
def test_multi_label_loss_matches_torch(case: tuple[np.ndarray, np.ndarray]) -> None:
    logits, gold = case
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(logits).double(), torch.tensor(gold).double()
    )
    assert score_multi(logits, gold, LABELS).loss == pytest.approx(expected.item(), abs=1e-9)


def test_threshold_moves_what_is_predicted() -> None:
    logits, gold = np.array([[0.5, -0.5]]), np.array([[1, 1]])
    counts = [score_multi(logits, gold, ["a", "b"], threshold=level).true_positives for level in (0.3, 0.5, 0.9)]
    assert counts == [(1, 1), (1, 0), (0, 0)]


def test_score_asks_the_task() -> None:
    logits = np.array([[1.0, 0.0]])
    assert isinstance(score(logits, [0], ["a", "b"], multi_label=False), ClassificationScores)
    assert isinstance(score(logits, [[1, 0]], ["a", "b"], multi_label=True), MultiLabelScores)


@pytest.mark.parametrize(
    ("logits", "gold", "message"),
    [
        (np.zeros((0, 4)), [], "no example"),
        (np.zeros((2, 3)), [0, 1], r"shape \(2, 3\), expected \(N, 4\)"),
        (np.zeros(4), [0], r"shape \(4,\)"),
        (np.zeros((2, 4)), [0], r"gold labels have shape \(1,\)"),
        (np.zeros((2, 4)), [0, 4], "gold label 4 in row 1 is not one of 0 ... 3"),
        (np.zeros((2, 4)), [-100, 0], "gold label -100 in row 0"),
        (np.zeros((2, 4)), [0.5, 0], "gold label 0.5 in row 0"),
        (np.zeros((2, 4)), [0, float("nan")], "gold label nan in row 1"),
        (np.zeros((2, 4)), ["joy", "love"], "expected numbers"),
    ],
)
def test_what_does_not_fit_is_refused(logits: np.ndarray, gold: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        score_single(logits, gold, LABELS)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_are_refused(bad: float) -> None:
    logits = np.zeros((3, 4))
    logits[1, 2] = bad
    with pytest.raises(TuneletError, match="1 of 3 examples have NaN or infinite logits, first in row 1"):
        score_single(logits, [0, 0, 0], LABELS)
    with pytest.raises(InputError, match=r"gold label 2 in row 0 is not one of 0 \.\.\. 1"):
        score_multi(np.zeros((1, 4)), [[0, 2, 0, 0]], LABELS)
