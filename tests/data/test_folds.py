"""Folds by speaker: every list once, no speaker twice, words balanced, and the seed decides."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toy_nbest import lists_of, nbest
from tunelet.base.errors import DataError
from tunelet.data.folds import held_out, speaker_folds
from tunelet.data.nbest import NBest


def words_by_speaker(lists: list[NBest]) -> Counter[str]:
    words: Counter[str] = Counter()
    for one in lists:
        words[str(one.speaker)] += one.words
    return words


@st.composite
def spoken(draw: st.DrawFn) -> list[NBest]:
    """Lists of two speakers or more, of different lengths."""
    drawn = draw(st.lists(st.tuples(st.sampled_from("abcdefg"), st.integers(0, 9)), min_size=2, max_size=30))
    drawn += [("x", 3), ("y", 1)]
    return [nbest(str(i), " ".join("w" * n), ("w", 0.0), speaker=name) for i, (name, n) in enumerate(drawn)]


@given(spoken(), st.integers(2, 4), st.integers(0, 9))
def test_folds_part_the_lists_by_speaker_and_balance_words(lists: list[NBest], folds: int, seed: int) -> None:
    words = words_by_speaker(lists)
    folds = min(folds, len(words))
    parts = speaker_folds(lists, folds, seed)
    assert sorted(i for part in parts for i in part) == list(range(len(lists)))
    owners = [{lists[i].speaker for i in part} for part in parts]
    assert sum(map(len, owners)) == len(words)
    sizes = [sum(lists[i].words for i in part) for part in parts]
    assert max(sizes) - min(sizes) <= max(words.values())


@given(spoken(), st.integers(0, 9), st.randoms())
def test_the_order_of_the_lists_does_not_matter(lists: list[NBest], seed: int, random: st.random_module) -> None:
    shuffled = list(lists)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = speaker_folds(lists, 2, seed), speaker_folds(shuffled, 2, seed)
    assert [{lists[i].id for i in part} for part in one] == [{shuffled[i].id for i in part} for part in other]


@given(spoken(), st.floats(0.05, 0.95), st.integers(0, 9))
def test_what_is_held_out_shares_no_speaker_with_what_is_kept(lists: list[NBest], share: float, seed: int) -> None:
    kept, held = held_out(lists, share, seed)
    assert sorted(kept + held) == list(range(len(lists)))
    assert {lists[i].speaker for i in kept}.isdisjoint({lists[i].speaker for i in held})
    assert kept and held


def test_the_share_is_met_as_far_as_speakers_allow_and_the_seed_decides_who() -> None:
    lists = lists_of([f"s{i:02}" for i in range(40)] * 5)
    parts = [held_out(lists, 0.2, seed)[1] for seed in (1, 1, 2)]
    assert [len(part) for part in parts] == [40, 40, 40]
    assert parts[0] == parts[1] != parts[2]
    assert speaker_folds(lists, 4, 1) == speaker_folds(lists, 4, 1) != speaker_folds(lists, 4, 2)


def test_a_list_without_reference_counts_the_words_of_its_first_hypothesis() -> None:
    lists = [nbest("a", None, ("one two three", 0.0), speaker="a"), nbest("b", "x", ("y", 0.0), speaker="b")]
    assert words_by_speaker(lists) == {"a": 3, "b": 1}


@pytest.mark.parametrize(
    ("speakers", "call", "message"),
    [
        (["a", "b"], lambda lists: speaker_folds(lists, 3, 1), "2 speakers cannot be parted into 3"),
        (["a", "b"], lambda lists: speaker_folds(lists, 1, 1), "into 1 folds"),
        (["a", "a"], lambda lists: held_out(lists, 0.5, 1), "two speakers"),
        (["a", "b"], lambda lists: held_out(lists, 1.0, 1), "share between 0 and 1"),
        (["a", None], lambda lists: held_out(lists, 0.5, 1), "1 of 2 lists have no speaker, such as 'None-1'"),
    ],
)
def test_what_cannot_be_parted_is_refused(speakers: list[str], call: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        call(lists_of(speakers))  # type: ignore[operator]
