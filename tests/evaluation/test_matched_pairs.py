"""The matched-pairs test: segments by hand, sums that must agree, and the statistic against SciPy's paired t."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from toy_nbest import sentences
from tunelet.base.errors import InputError
from tunelet.data.normalise import normaliser
from tunelet.evaluation.matched_pairs import errors_by_place, matched_pairs
from tunelet.evaluation.transcripts import word_errors

AS_IS = normaliser("none")
TRIPLES = st.lists(st.tuples(*[sentences(most=12)] * 3), min_size=1, max_size=6)


@given(sentences(most=12), sentences(most=12))
def test_places_hold_every_error_once(ref: str, hyp: str) -> None:
    places, counts = errors_by_place(ref.split(), hyp.split()), word_errors(ref, hyp)
    assert places[1::2].sum() == counts.substitutions + counts.deletions and places[1::2].max(initial=0) <= 1
    assert places[::2].sum() == counts.insertions


@given(TRIPLES, st.integers(1, 3))
def test_all_errors_are_in_some_segment(triples: list[tuple[str, str, str]], buffer: int) -> None:
    refs, first, second = zip(*triples, strict=True)
    fine = matched_pairs(refs, first, second, AS_IS, buffer=buffer)
    coarse = matched_pairs(refs, first, second, AS_IS, cut="utterances")
    for found in (fine, coarse):
        assert found.errors_a == sum(word_errors(r, h).errors for r, h in zip(refs, first, strict=True))
        assert found.errors_b == sum(word_errors(r, h).errors for r, h in zip(refs, second, strict=True))
        assert found.mean * found.segments == pytest.approx(found.errors_a - found.errors_b)
    assert fine.segments >= coarse.segments
    swapped = matched_pairs(refs, second, first, AS_IS, buffer=buffer)
    assert (swapped.segments, swapped.p) == (fine.segments, fine.p)
    assert swapped.w is None if fine.w is None else swapped.w == -fine.w


@pytest.mark.parametrize(
    ("a", "b", "buffer", "segments"),
    [
        # the reference is: a b c d e f g h
        ("a b c d e f g h", "a b c d e f g h", 2, 0),
        ("x b c d e f g h", "a b c d e f g h", 2, 1),
        ("x b c x e f g h", "a b c d e f g h", 2, 2),  # two good words between
        ("x b x d e f g h", "a b c d e f g h", 2, 1),  # one good word between
        ("x b x d e f g h", "a b c d e f g h", 1, 2),
        ("x b c d e f g h", "a b c x e f g h", 2, 2),  # good for both is what counts
        ("x b c d e f g h", "a b x d e f g h", 2, 1),
        ("x b c d e f g h", "a y b c d e f g h", 2, 1),  # an insertion right behind
        ("a b c d e f g h y", "y a b c d e f g h", 2, 2),
        ("b c d e f g h", "a b c d e f g x", 2, 2),
    ],
)
def test_segments_by_hand(a: str, b: str, buffer: int, segments: int) -> None:
    assert matched_pairs(["a b c d e f g h"], [a], [b], AS_IS, buffer=buffer).segments == segments


def test_the_statistic_is_that_of_a_paired_t_test_over_segments() -> None:
    generator = np.random.default_rng(0)
    # each utterance is one word: a segment is an utterance with an error
    a, b = (["w" if right else "x" for right in generator.random(400) < share] for share in (0.7, 0.85))
    found = matched_pairs(["w"] * 400, a, b, AS_IS, cut="utterances")
    pairs = [((one != "w"), (other != "w")) for one, other in zip(a, b, strict=True) if "x" in (one, other)]
    expected = stats.ttest_rel(*np.array(pairs, dtype=float).T)
    assert found.segments == len(pairs)
    assert found.w == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(expected.statistic)))
    assert found.to_json()["cut"] == "utterances"


def test_without_variation_there_is_no_statistic() -> None:
    same = matched_pairs(["a b", "c"], ["x b", "c"], ["y b", "c"], AS_IS)
    assert (same.w, same.p, same.segments) == (None, 1.0, 1)
    once = matched_pairs(["a b"], ["x b"], ["a b"], AS_IS)
    assert (once.w, once.p, once.mean) == (None, None, 1.0)


@pytest.mark.parametrize(
    ("refs", "options", "message"),
    [
        ([], {}, "found 0"),
        (["a", "b"], {}, "found 2, 1 and 1"),
        (["a"], {"buffer": 0}, "buffer"),
        (["a"], {"cut": "x"}, "'x'"),
    ],
)
def test_what_cannot_be_compared_is_refused(refs: list[str], options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        matched_pairs(refs, ["a"][: len(refs)], ["a"][: len(refs)], AS_IS, **options)  # type: ignore[arg-type]
