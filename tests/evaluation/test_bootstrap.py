"""The paired bootstrap against a plain one that resamples examples, against theory, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics

from tunelet.base.errors import InputError
from tunelet.evaluation.statistics import METRICS, compare_over_seeds, paired_bootstrap

Triple = tuple[np.ndarray, np.ndarray, np.ndarray]
NAMES = METRICS.names()


def noisy(gold: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Predictions of which about `share` are replaced by guesses."""
    generator = np.random.default_rng(seed)
    return np.where(generator.random(len(gold)) < share, generator.integers(0, gold.max() + 1, len(gold)), gold)


def measured(metric: str, gold: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    if metric == "accuracy":
        return float(metrics.accuracy_score(gold, predicted))
    average = metric.removesuffix("_f1")
    labels = list(range(classes))
    return float(metrics.f1_score(gold, predicted, labels=labels, average=average, zero_division=0))


@st.composite
def triples(draw: st.DrawFn) -> Triple:
    n = draw(st.integers(1, 40))
    rows = [draw(arrays(np.int64, n, elements=st.integers(0, 3))) for _ in range(3)]
    return rows[0], rows[1], rows[2]


@pytest.mark.parametrize("metric", NAMES)
@given(case=triples())
@settings(max_examples=30)
def test_observed_values_are_those_of_scikit_learn(metric: str, case: Triple) -> None:
    gold, first, second = case
    found = paired_bootstrap(metric, gold, first, second, seed=1, samples=5, labels=range(4))
    assert found.value_a == pytest.approx(measured(metric, gold, first, 4))
    assert found.value_b == pytest.approx(measured(metric, gold, second, 4))
    assert found.difference == pytest.approx(found.value_a - found.value_b)


@pytest.mark.parametrize("metric", NAMES)
@given(case=triples())
@settings(max_examples=30)
def test_swapping_the_systems_negates_everything_but_p(metric: str, case: Triple) -> None:
    gold, first, second = case
    one = paired_bootstrap(metric, gold, first, second, seed=3, samples=200)
    other = paired_bootstrap(metric, gold, second, first, seed=3, samples=200)
    assert other.difference == -one.difference
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low), abs=1e-12)
    assert other.p == one.p


@given(triples(), st.sampled_from(NAMES))
@settings(max_examples=50)
def test_bounds(case: Triple, metric: str) -> None:
    found = paired_bootstrap(metric, *case, seed=2, samples=100)
    assert -1 <= found.low <= found.high <= 1
    assert 2 / 101 <= found.p <= 1


@given(triples(), st.permutations(range(4)))
@settings(max_examples=50)
def test_names_of_the_labels_do_not_matter(case: Triple, order: list[int]) -> None:
    renamed = [np.array(["sadness", "joy", "love", "anger"])[np.array(order)[row]] for row in case]
    plain = paired_bootstrap("macro_f1", *case, seed=2, samples=50)
    named = paired_bootstrap("macro_f1", *renamed, seed=2, samples=50)
    assert (named.difference, named.low, named.high) == pytest.approx((plain.difference, plain.low, plain.high))


@given(triples(), st.integers(0, 99))
@settings(max_examples=50)
def test_order_of_the_examples_does_not_matter_to_the_difference(case: Triple, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(case[0]))
    shuffled = [row[order] for row in case]
    one = paired_bootstrap("macro_f1", *case, seed=2, samples=5)
    other = paired_bootstrap("macro_f1", *shuffled, seed=2, samples=5)
    assert other.difference == pytest.approx(one.difference)


def test_a_system_against_itself() -> None:
    gold = np.arange(50) % 3
    predicted = noisy(gold, 0.3, 1)
    found = paired_bootstrap("macro_f1", gold, predicted, predicted, seed=1, samples=300)
    assert (found.difference, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_a_system_that_is_always_right_against_one_that_never_is() -> None:
    gold = np.arange(50) % 3
    found = paired_bootstrap("accuracy", gold, gold, (gold + 1) % 3, seed=1, samples=999)
    assert (found.difference, found.low, found.high, found.p) == (1.0, 1.0, 1.0, 2 / 1000)


def test_the_interval_of_accuracy_is_the_normal_one_for_many_examples() -> None:
    gold = np.random.default_rng(0).integers(0, 6, 2000)
    first, second = noisy(gold, 0.08, 1), noisy(gold, 0.12, 2)
    found = paired_bootstrap("accuracy", gold, first, second, seed=1)
    each = (first == gold).astype(float) - (second == gold)
    error = each.std() / np.sqrt(len(each))
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.05)
    assert (found.low + found.high) / 2 == pytest.approx(each.mean(), abs=error / 10)


def test_the_interval_of_macro_f1_is_that_of_a_plain_bootstrap() -> None:
    gold = np.random.default_rng(0).choice(4, 150, p=[0.5, 0.3, 0.15, 0.05])
    first, second = noisy(gold, 0.1, 1), noisy(gold, 0.4, 2)
    generator, differences = np.random.default_rng(5), []
    for _ in range(600):
        drawn = generator.integers(0, len(gold), len(gold))
        values = [measured("macro_f1", gold[drawn], row[drawn], 4) for row in (first, second)]
        differences.append(values[0] - values[1])
    found = paired_bootstrap("macro_f1", gold, first, second, seed=1)
    spread = np.std(differences)
    assert found.low == pytest.approx(np.quantile(differences, 0.025), abs=0.3 * spread)
    assert found.high == pytest.approx(np.quantile(differences, 0.975), abs=0.3 * spread)


def test_the_seed_decides_the_draws() -> None:
    gold = np.random.default_rng(0).integers(0, 3, 100)
    first, second = noisy(gold, 0.1, 1), noisy(gold, 0.4, 2)
    results = [paired_bootstrap("macro_f1", gold, first, second, seed=seed, samples=500) for seed in (1, 1, 2)]
    assert results[0] == results[1]
    assert results[0].low != results[2].low


def test_draws_in_several_chunks_are_still_all_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    gold = np.random.default_rng(0).integers(0, 3, 60)
    case = gold, noisy(gold, 0.1, 1), noisy(gold, 0.4, 2)
    whole = paired_bootstrap("macro_f1", *case, seed=1, samples=100)
    monkeypatch.setattr("tunelet.evaluation.bootstrap._CHUNK", 70)
    assert paired_bootstrap("macro_f1", *case, seed=1, samples=100) == whole


def test_over_seeds_values_are_means_over_seeds() -> None:
    gold = np.random.default_rng(0).integers(0, 4, 120)
    first = [noisy(gold, 0.1, seed) for seed in (1, 2, 3)]
    second = [noisy(gold, 0.3, seed) for seed in (4, 5)]
    found = compare_over_seeds("macro_f1", gold, first, second, seed=1, samples=200)
    assert found.value_a == pytest.approx(np.mean([measured("macro_f1", gold, row, 4) for row in first]))
    assert found.value_b == pytest.approx(np.mean([measured("macro_f1", gold, row, 4) for row in second]))
    assert found.low <= found.difference <= found.high


def test_over_seeds_the_same_run_twice_counts_once() -> None:
    gold = np.random.default_rng(0).integers(0, 4, 120)
    first, second = noisy(gold, 0.1, 1), noisy(gold, 0.3, 2)
    one = paired_bootstrap("accuracy", gold, first, second, seed=1, samples=300)
    three = compare_over_seeds("accuracy", gold, [first] * 3, [second] * 3, seed=1, samples=300)
    assert (three.low, three.high, three.p) == pytest.approx((one.low, one.high, one.p))
    assert set(three.to_json()) >= {"difference", "low", "high", "p", "n", "samples", "metric"}


@pytest.mark.parametrize(
    ("metric", "rows", "message"),
    [
        ("acuracy", ([0], [0], [0]), "did you mean 'accuracy'"),
        ("accuracy", ([], [], []), "n >= 1"),
        ("accuracy", ([0, 1], [0, 1], [0]), r"\(2,\), \(2,\), \(1,\)"),
        ("accuracy", ([[0]], [[0]], [[0]]), r"\(1, 1\)"),
        ("accuracy", ([0], [7], [0]), r"labels \[7\] are not among those of the task"),
    ],
)
def test_what_cannot_be_compared_is_refused(metric: str, rows: tuple[list[int], ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        paired_bootstrap(metric, *rows, seed=1, labels=[0, 1])


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="samples >= 1"):
        paired_bootstrap("accuracy", [0], [0], [0], seed=1, samples=0)
    with pytest.raises(InputError, match="level between 0 and 1"):
        paired_bootstrap("accuracy", [0], [0], [0], seed=1, level=95)
    with pytest.raises(InputError, match="at least one run"):
        compare_over_seeds("accuracy", [0], [], [[0]], seed=1)
