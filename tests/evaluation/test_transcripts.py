"""Word errors against jiwer, and lists with their oracle against a plain loop; the published figures of real lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toy_nbest import drawn_lists, nbest, sentences
from tunelet.base.errors import InputError
from tunelet.data.nbest import NBest
from tunelet.data.nbest_files import read_nbest
from tunelet.data.normalise import normaliser
from tunelet.evaluation.transcripts import (
    WordErrors,
    error_table,
    first_pass_scores,
    list_quality,
    padded,
    total,
    utterance_errors,
    word_errors,
)

AS_IS, LIBRISPEECH = normaliser("none"), normaliser("librispeech")


def counted_by_jiwer(refs: Sequence[str], hyps: Sequence[str]) -> WordErrors:
    """jiwer refuses an empty reference; ours counts each word there as inserted."""
    kept = [(ref, hyp) for ref, hyp in zip(refs, hyps, strict=True) if ref.split()]
    empty = WordErrors(insertions=sum(len(h.split()) for r, h in zip(refs, hyps, strict=True) if not r.split()))
    if not kept:
        return empty
    out = jiwer.process_words([ref for ref, _ in kept], [hyp for _, hyp in kept])
    return empty + WordErrors(out.hits, out.substitutions, out.deletions, out.insertions)


@given(st.lists(st.tuples(sentences(most=12), sentences(most=12)), min_size=1, max_size=5))
def test_counts_are_those_of_jiwer(pairs: list[tuple[str, str]]) -> None:
    refs, hyps = [ref for ref, _ in pairs], [hyp for _, hyp in pairs]
    found = total(utterance_errors(refs, hyps, AS_IS))
    assert found == counted_by_jiwer(refs, hyps)
    assert found.words == sum(len(ref.split()) for ref in refs)


@pytest.mark.parametrize(
    ("ref", "hyp", "counts"),
    [
        ("", "", WordErrors()),
        ("", "a b", WordErrors(insertions=2)),
        ("a b", "", WordErrors(deletions=2)),
        ("a b c", "a x c d", WordErrors(2, 1, 0, 1)),
        ("a\u2028b", " a  b ", WordErrors(2)),
        ("A", "a", WordErrors(substitutions=1)),
    ],
)
def test_small_cases(ref: str, hyp: str, counts: WordErrors) -> None:
    assert word_errors(ref, hyp) == counts


def test_a_rate_needs_words_and_empty_references_add_none() -> None:
    with pytest.raises(InputError, match="at least one word"):
        _ = word_errors("", "a").rate
    both = word_errors("", "a") + word_errors("a b", "a b")
    assert both.rate == 0.5 and both.to_json() == {"hits": 2, "substitutions": 0, "deletions": 0, "insertions": 1}


def test_the_normalisation_is_that_of_both_sides() -> None:
    heard = [nbest("a", "The well-known SEA.", ("the well known sea", -1.0))]
    assert error_table(heard, LIBRISPEECH).errors.tolist() == [[0]]
    assert error_table(heard, AS_IS).errors.tolist() == [[4]]
    assert utterance_errors(["SEA."], ["sea"], LIBRISPEECH) == (WordErrors(1),)


@given(drawn_lists())
def test_a_table_holds_the_errors_of_every_hypothesis(lists: list[NBest]) -> None:
    table = error_table(lists, AS_IS)
    for row, one in enumerate(lists):
        expected = [word_errors(str(one.ref), text).errors for text in one.texts]
        assert table.errors[row, table.present[row]].tolist() == expected
        assert table.oracle[row] == min(expected) and table.first_pass[row] == expected[0]
        assert expected.index(min(expected)) == table.oracle_choice[row]
    assert table.words.tolist() == [one.words for one in lists]
    scores = first_pass_scores(lists, table)
    assert table.choice(scores).tolist() == [one.scores.index(max(one.scores)) for one in lists]


@given(drawn_lists())
def test_quality_is_consistent(lists: list[NBest]) -> None:
    quality, table = list_quality(lists, AS_IS), error_table(lists, AS_IS)
    assert quality.first_pass.errors == table.first_pass.sum() and quality.oracle.errors == table.oracle.sum()
    by_depth = quality.oracle_errors_by_depth
    assert by_depth[0] == quality.first_pass.errors and by_depth[-1] == quality.oracle.errors
    assert list(by_depth) == sorted(by_depth, reverse=True)
    assert sum(quality.ranks) == quality.lists == len(lists)
    assert quality.hypotheses == sum(map(len, lists))
    assert quality.mean_rank == pytest.approx(np.mean(table.oracle_choice + 1))
    assert quality.to_json()["oracle"] == quality.oracle.to_json()


def test_padding_is_never_chosen() -> None:
    lists = [nbest("a", "x", ("x", -5.0)), nbest("b", "x", ("y", -5.0), ("x", -6.0))]
    table = error_table(lists, AS_IS)
    assert table.choice(first_pass_scores(lists, table)).tolist() == [0, 0]
    assert table.choice([[-5.0, np.nan], [-5.0, -4.0]]).tolist() == [0, 1]
    assert table.rate_of(table.errors_of([0, 1])) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lists, table: error_table([], AS_IS), "no list"),
        (lambda lists, table: list_quality([nbest("q", None, ("a", 0.0))], AS_IS), "1 of 1 lists.*'q'"),
        (lambda lists, table: table.choice([[0.0]]), r"\(1, 1\), the lists ask for \(2, 2\)"),
        (lambda lists, table: table.choice([[0.0, 0.0], [np.nan, 0.0]]), "'b' is NaN"),
        (lambda lists, table: padded([[1.0]], table), "for 1 lists, expected 2"),
        (lambda lists, table: padded([[1.0], [1.0]], table), "1 numbers for the 2 hypotheses of the list 'b'"),
        (lambda lists, table: utterance_errors(["a"], [], AS_IS), "0 transcripts for 1"),
    ],
)
def test_what_cannot_be_scored_is_refused(call: object, message: str) -> None:
    lists = [nbest("a", "x", ("x", -5.0)), nbest("b", "x", ("y", -5.0), ("x", -6.0))]
    with pytest.raises(InputError, match=message):
        call(lists, error_table(lists, AS_IS))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "first_pass", "oracle"),
    [("dev_clean", 6.12, 4.04), ("dev_other", 16.76, 13.02), ("test_clean", 6.42, 4.17)],
)
def test_the_real_lists_have_their_known_rates(real_data: Path, name: str, first_pass: float, oracle: float) -> None:
    lists = read_nbest(real_data / "nbest" / "librispeech_espnet100" / f"{name}.jsonl").lists
    quality = list_quality(lists, AS_IS)
    assert round(100 * quality.first_pass.rate, 2) == first_pass
    assert round(100 * quality.oracle.rate, 2) == oracle
    refs, first = [str(one.ref) for one in lists], [one.texts[0] for one in lists]
    assert quality.first_pass == counted_by_jiwer(refs, first)
    # the lists hold nothing that this normalisation would change beyond case
    assert list_quality(lists[:300], LIBRISPEECH).to_json() == list_quality(lists[:300], AS_IS).to_json()
