"""Rows of predictions: to disk and back, matched over runs, and what is said about a file that is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tunelet.base.errors import InputError, TuneletError
from tunelet.data.records import TextExample
from tunelet.evaluation.classification import score_single
from tunelet.evaluation.predictions import Prediction, align, make_predictions, read_predictions, write_predictions

LABELS = ("sadness", "joy", "love")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def predictions(draw: st.DrawFn) -> list[Prediction]:
    n, multi_label = draw(st.integers(1, 8)), draw(st.booleans())
    logits = draw(arrays(np.float32, (n, 3), elements=st.floats(-60, 60, width=32)))
    some = st.lists(st.sampled_from(LABELS), unique=True, max_size=3) if multi_label else st.sampled_from(LABELS)
    wrapped = some.map(lambda label: tuple(label) if isinstance(label, list) else (label,))
    examples = [TextExample(str(index), draw(TEXTS), draw(wrapped)) for index in range(n)]
    return list(make_predictions(examples, logits, LABELS, multi_label=multi_label, labelled=draw(st.booleans())))


@given(rows=predictions())
def test_rows_come_back_equal(tmp_path_factory: pytest.TempPathFactory, rows: list[Prediction]) -> None:
    path = tmp_path_factory.mktemp("rows") / "test.jsonl"
    assert write_predictions(path, iter(rows)) == len(rows)
    assert list(read_predictions(path)) == rows
    assert path.read_bytes().count(b"\n") == len(rows)  # a line separator inside a text must not break the line


@given(rows=predictions())
def test_probabilities_and_predictions_agree(rows: list[Prediction]) -> None:
    for row in rows:
        assert tuple(row.probabilities) == LABELS
        assert all(0 <= share <= 1 for share in row.probabilities.values())
        if row.multi_label:
            # the decision is taken before the probabilities are rounded to six digits
            sure = {name for name, share in row.probabilities.items() if share > 0.5}
            assert sure <= set(row.predicted) <= {name for name, share in row.probabilities.items() if share >= 0.5}
        else:
            assert sum(row.probabilities.values()) == pytest.approx(1, abs=1e-5)
            assert row.probabilities[row.predicted[0]] == row.confidence


def test_a_row_as_it_is_written() -> None:
    logits = np.log([[0.1, 0.7, 0.2]])
    example = TextExample("17", "i am glad", ("love",))
    (one,) = make_predictions([example], logits, LABELS, multi_label=False)
    probabilities = {"sadness": 0.1, "joy": 0.7, "love": 0.2}
    assert one.to_json() == {
        "id": "17", "text": "i am glad", "label": "love", "predicted": "joy", "probabilities": probabilities
    }  # fmt: skip
    assert (one.correct, one.confidence) == (False, 0.7)
    (several,) = make_predictions([example], [[9.0, -9.0, 9.0]], LABELS, multi_label=True)
    assert several.to_json()["labels"] == ["love"]
    assert several.to_json()["predicted"] == ["sadness", "love"]


def test_no_label_and_unknown_label_are_different_things() -> None:
    example, logits = TextExample("1", "hm", ()), [[-9.0, -9.0, -9.0]]
    (known,) = make_predictions([example], logits, LABELS, multi_label=True)
    (unknown,) = make_predictions([example], logits, LABELS, multi_label=True, labelled=False)
    (single,) = make_predictions([example], logits, LABELS, multi_label=False)
    assert (known.labels, known.correct) == ((), True)
    assert (unknown.labels, unknown.correct) == (None, None)
    assert (single.labels, single.correct) == (None, None)
    assert "labels" in known.to_json()
    assert not {"label", "labels"} & (unknown.to_json().keys() | single.to_json().keys())


def test_scores_can_be_traced_to_the_rows() -> None:
    generator = np.random.default_rng(0)
    logits, gold = generator.normal(0, 8, (200, 3)).astype(np.float32), generator.integers(0, 3, 200)
    examples = [TextExample(str(index), "", (LABELS[label],)) for index, label in enumerate(gold)]
    rows = list(make_predictions(examples, logits, LABELS, multi_label=False))
    scores = score_single(logits, gold, LABELS)
    assert sum(row.correct or 0 for row in rows) == scores.correct
    losses = [-np.log(row.probabilities[row.labels[0]]) for row in rows if row.labels]
    assert np.mean(losses) == pytest.approx(scores.loss, rel=1e-5)


def test_rows_of_another_number_or_not_finite_are_refused() -> None:
    example = TextExample("1", "hm")
    with pytest.raises(InputError, match="1 examples, but 2 rows of logits"):
        list(make_predictions([example], np.zeros((2, 3)), LABELS, multi_label=False))
    with pytest.raises(TuneletError, match="NaN"):
        list(make_predictions([example], [[0, np.nan, 0]], LABELS, multi_label=False))


def test_a_write_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "test.jsonl"
    row = Prediction("1", "a", ("joy",), ("joy",), {"joy": 1.0})
    write_predictions(path, [row])
    before = path.read_bytes()

    def broken() -> Iterator[Prediction]:
        yield replace(row, text="b")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_predictions(path, broken())
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


GOOD = {"id": "1", "text": "a", "label": "joy", "predicted": "joy", "probabilities": {"joy": 1.0}}


def test_all_bad_rows_are_told_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    lines = [
        json.dumps(GOOD).encode(),
        b'{"id": "2"',
        b'"a string"',
        json.dumps(GOOD | {"id": 3}).encode(),
        json.dumps({key: value for key, value in GOOD.items() if key != "probabilities"}).encode(),
        b'{"id": "\xff"}',
        json.dumps(GOOD | {"predicted": ["joy"], "labels": "joy"}).encode(),
    ]
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(InputError) as caught:
        read_predictions(path)
    places = [(problem.line, problem.field) for problem in caught.value.problems]
    assert places == [(2, None), (3, None), (4, "id"), (5, "probabilities"), (6, None), (7, "labels")]
    assert "expected a str, found 3" in str(caught.value)
    assert "expected a dict, found nothing" in str(caught.value)
    with pytest.raises(InputError, match="no such file"):
        read_predictions(tmp_path / "absent.jsonl")


def rows(*given: tuple[str, str, str]) -> list[Prediction]:
    return [Prediction(key, "text " + key, (gold,), (found,), {"joy": 1.0}) for key, gold, found in given]


def test_runs_are_matched_by_id() -> None:
    first = rows(("1", "joy", "joy"), ("2", "love", "joy"), ("3", "sadness", "sadness"))
    second = rows(("3", "sadness", "love"), ("1", "joy", "joy"), ("2", "love", "love"))
    gold, predicted = align(first, second)
    assert gold.tolist() == ["joy", "love", "sadness"]
    assert predicted.tolist() == [["joy", "joy", "sadness"], ["joy", "love", "love"]]


ONE = rows(("1", "joy", "joy"), ("2", "love", "joy"))


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([], "no predictions"),
        ([[]], "no predictions"),
        ([ONE, ONE[:1]], "run 2: 1 ids are not in both it and run 1, first '2'"),
        ([ONE + ONE], "run 1: 2 ids occur twice"),
        ([ONE, rows(("1", "joy", "joy"), ("2", "joy", "joy"))], r"run 2: id '2' is \('joy',\).*\('love',\)"),
        ([ONE, [ONE[0], replace(ONE[1], text="other")]], "run 2: id '2' is .* 'other', but .* 'text 2' in run 1"),
        ([[replace(ONE[0], labels=None)]], "run 1: id '1' needs one right label, found None"),
        ([[replace(ONE[0], multi_label=True)]], "run 1: id '1' needs one right label"),
    ],
)
def test_runs_on_other_examples_are_refused(runs: list[list[Prediction]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        align(*runs)
