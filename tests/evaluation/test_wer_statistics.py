"""Bootstrap of word error rates against theory and a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelet.base.errors import InputError
from tunelet.evaluation.wer_statistics import paired_wer, two_sided, wer_interval

Counts = tuple[list[int], list[int], list[int]]


@st.composite
def counts(draw: st.DrawFn) -> Counts:
    n = draw(st.integers(1, 20))
    each = st.lists(st.integers(0, 6), min_size=n, max_size=n)
    words = draw(st.lists(st.integers(0, 9), min_size=n, max_size=n))
    words[0] += 1
    return draw(each), draw(each), words


def corpus(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors before and after, and words, of n utterances."""
    generator = np.random.default_rng(seed)
    words = generator.integers(5, 40, n)
    before = generator.binomial(words, 0.12)
    return before, generator.binomial(before, 0.9), words


@given(counts())
@settings(max_examples=40)
def test_swapping_the_systems_negates_the_reduction(case: Counts) -> None:
    one, other, words = case
    found, swapped = paired_wer(one, other, words, 3, samples=200), paired_wer(other, one, words, 3, samples=200)
    assert swapped.reduction == pytest.approx(-found.reduction)
    assert (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low), abs=1e-12)
    assert swapped.p == found.p
    assert (found.before, found.after) == pytest.approx((sum(one) / sum(words), sum(other) / sum(words)))


@given(counts())
@settings(max_examples=40)
def test_each_utterance_by_a_speaker_of_its_own_is_the_plain_bootstrap(case: Counts) -> None:
    errors, _, words = case
    names = [f"{i:02}" for i in range(len(errors))]
    plain, clustered = (wer_interval(errors, words, 3, speakers=s, samples=100) for s in (None, names))
    assert (clustered.low, clustered.high, clustered.value) == (plain.low, plain.high, plain.value)
    assert (plain.unit, clustered.unit, plain.units) == ("utterances", "speakers", len(errors))
    assert plain.low <= plain.high and plain.errors == sum(errors)


def test_the_interval_is_the_normal_one_for_many_utterances() -> None:
    errors, _, words = corpus(2000, 0)
    found = wer_interval(errors, words, 1)
    # delta method for a ratio of sums
    spread = (errors - found.value * words).std() / np.sqrt(len(words)) / words.mean()
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.05)
    assert found.value == errors.sum() / words.sum()


def test_speakers_who_differ_widen_the_interval() -> None:
    generator = np.random.default_rng(1)
    speakers = np.repeat(np.arange(20), 50)
    words = np.full(1000, 20)
    errors = generator.binomial(words, generator.uniform(0.02, 0.3, 20)[speakers])
    plain = wer_interval(errors, words, 1)
    clustered = wer_interval(errors, words, 1, speakers=[str(s) for s in speakers])
    assert clustered.high - clustered.low > 3 * (plain.high - plain.low)
    assert clustered.units == 20 and clustered.to_json()["unit"] == "speakers"
    assert (clustered.errors, clustered.words) == (plain.errors, plain.words) == (errors.sum(), words.sum())


def test_the_interval_is_that_of_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after, words = corpus(300, 2)
    generator, drawn = np.random.default_rng(5), []
    for _ in range(2000):
        rows = generator.integers(0, 300, 300)
        drawn.append(
            [(before[rows].sum() - after[rows].sum()) / total for total in (words[rows].sum(), before[rows].sum())]
        )
    absolute, relative = np.array(drawn).T
    found = paired_wer(before, after, words, 1)
    assert (found.low, found.high) == pytest.approx(np.quantile(absolute, [0.025, 0.975]), abs=0.2 * absolute.std())
    assert found.relative == (before.sum() - after.sum()) / before.sum()
    ends = (found.relative_low, found.relative_high)
    assert ends == pytest.approx(np.quantile(relative, [0.025, 0.975]), abs=0.2 * relative.std())
    assert found.p == 2 / 10_001
    monkeypatch.setattr("tunelet.evaluation.wer_statistics._CHUNK", 1000)
    assert paired_wer(before, after, words, 1) == found  # several chunks draw the same


def test_no_error_before_has_no_relative_reduction() -> None:
    found = paired_wer([0, 0], [1, 0], [3, 3], 1, samples=50)
    assert (found.relative, found.relative_low, found.relative_high) == (None, None, None)
    assert found.reduction == pytest.approx(-1 / 6)


def test_a_system_against_itself_and_the_seed() -> None:
    before, after, words = corpus(100, 3)
    same = paired_wer(before, before, words, 1, samples=99)
    assert (same.reduction, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    one, again, other = (paired_wer(before, after, words, seed, samples=500) for seed in (1, 1, 2))
    assert one == again and one.low != other.low


def test_two_sided_counts_both_tails() -> None:
    assert two_sided(np.array([1.0, 2.0, 3.0])) == 2 / 4
    assert two_sided(np.array([-1.0, 2.0, 3.0, 4.0] * 25)) == 2 * 26 / 101
    assert two_sided(np.zeros(9)) == 1.0


@pytest.mark.parametrize(
    ("errors", "words", "options", "message"),
    [
        ([], [], {}, "length U >= 1"),
        ([1], [1, 2], {}, r"\(1,\), \(2,\)"),
        ([1], [0], {}, "at least one word"),
        ([1, 1], [2, 2], {"speakers": ["a"]}, "1 speakers for 2"),
        ([1, 1], [2, 2], {"speakers": ["a", None]}, "1 of 2 utterances have no speaker"),
        ([1], [1], {"samples": 0}, "samples >= 1"),
        ([1], [1], {"level": 95}, "level between 0 and 1"),
    ],
)
def test_what_cannot_be_resampled_is_refused(
    errors: list[int], words: list[int], options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        wer_interval(errors, words, 1, **options)  # type: ignore[arg-type]
