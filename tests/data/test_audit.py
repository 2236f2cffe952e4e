"""The audit: its counts, its findings, and what is known of the published Emotion data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tunelet.data.audit import Audit, audit, comparable
from tunelet.data.records import Dataset, Task
from tunelet.data.settings import DataSettings
from tunelet.data.sources import load_dataset

Make = Callable[..., Dataset]


@pytest.fixture
def troubled(make_dataset: Make) -> Audit:
    """Six texts of train, of which two are repeated and one of these conflicts; one of test stands in train."""
    return audit(
        make_dataset(
            train=[
                ("one", "good"),
                ("One ", "bad"),
                ("two", "good"),
                ("two", "good"),
                ("three words here", "good"),
                ("four", "bad"),
            ],
            validation=[("five", "good"), ("six", "bad")],
            test=[("two", "good"), ("seven", "odd"), ("eight", "bad")],
        )
    )


def test_counts(troubled: Audit) -> None:
    train, validation, test = troubled.splits
    assert (train.examples, validation.examples, test.examples) == (6, 2, 3)
    assert train.by_label == {"good": 4, "bad": 2, "odd": 0}
    assert train.lengths is not None
    assert (train.lengths.words[0], train.lengths.words[-1]) == (1, 3)
    assert train.lengths.characters == (3, 3, 3, 16, 16)
    assert troubled.majority == ("good",)
    assert [split.majority_correct for split in troubled.splits] == [4, 1, 1]


def test_repeats(troubled: Audit) -> None:
    assert troubled.repeated_within("train") == 2
    assert troubled.conflicting_within("train") == 1
    assert troubled.repeated_within("test") == 0
    assert troubled.shared("train", "test") == 1
    assert troubled.shared("train", "validation") == 0
    two = next(text for text in troubled.repeated if text.text == "two")
    assert [(place.split, place.id) for place in two.places] == [("train", "2"), ("train", "3"), ("test", "0")]


def test_findings_are_sentences_with_the_worst_first(troubled: Audit) -> None:
    severities = [severity for severity, _ in troubled.findings]
    assert severities == sorted(severities, key=["error", "warning", "info"].index)
    told = "\n".join(message for _, message in troubled.findings)
    assert "train has no example of 'odd', but test ask" in told
    assert "1 text of test also stands in train" in told
    assert "2 texts of train stand there more than once, 1 of them with different labels" in told
    assert "train has only 2 examples of 'bad'" in told
    assert "always guessing 'good' is right for 1 of 3 texts of test (33.3 %)" in told


def test_a_shift_of_the_labels_is_told(make_dataset: Make) -> None:
    same = [(f"text {i}", "good" if i % 2 else "bad") for i in range(100)]
    other = [(f"other {i}", "good" if i % 5 else "bad") for i in range(100)]
    messages = [m for _, m in audit(make_dataset(train=same, validation=other)).findings]
    assert any("(30 % would have to change)" in message for message in messages)
    assert not any("would have to change" in m for _, m in audit(make_dataset(train=same, validation=same)).findings)


def test_a_clean_dataset_has_no_warnings(make_dataset: Make) -> None:
    labels = ["good", "bad", "odd"]
    splits = {s: [(f"{s} {i}", labels[i % 3]) for i in range(90)] for s in ("train", "validation", "test")}
    assert {severity for severity, _ in audit(make_dataset(**splits)).findings} == {"info"}


def test_empty_texts_and_empty_splits_made_in_memory_are_told(make_dataset: Make) -> None:
    found = audit(make_dataset(train=[(" ", "good")], test=[]))
    told = [message for _, message in found.findings]
    assert "test has no examples" in told
    assert "1 text of train hold no visible character" in " ".join(told)
    assert json.dumps(found.to_json(), allow_nan=False)


def test_multi_label_counts_sets_of_labels(make_dataset: Make, moods: Task) -> None:
    train = [("a", "good", "odd"), ("b", "good", "odd"), ("c",)]
    found = audit(make_dataset(moods, train=train, test=[("d", "good"), ("e", "good", "odd")]))
    assert found.majority == ("good", "odd")
    assert found.splits[0].unlabelled == 1
    assert found.splits[1].majority_correct == 1


def test_the_json_holds_everything_that_is_told(troubled: Audit) -> None:
    stored = json.loads(json.dumps(troubled.to_json(), allow_nan=False))
    assert stored["splits"]["train"]["repeated_texts"] == 2
    assert stored["splits"]["train"]["conflicting_texts"] == 1
    assert {"first": "train", "second": "test", "examples_of_second": 1} in stored["shared"]
    assert len(stored["repeated"]["listed"]) == stored["repeated"]["texts"] == 2
    assert [finding["message"] for finding in stored["findings"]] == [m for _, m in troubled.findings]


def test_texts_are_compared_without_case_width_and_white_space() -> None:
    assert comparable(" Gre\u0301at\n FUN ") == comparable("gr\u00e9at fun")
    assert comparable("great") != comparable("great!")


def test_the_embedded_sample_has_no_errors_or_warnings() -> None:
    found = audit(load_dataset(DataSettings(source="embedded")))
    assert [finding for finding in found.findings if finding.severity != "info"] == []


def test_what_is_known_of_the_published_emotion_data(real_data: Path) -> None:
    found = audit(load_dataset(DataSettings(), real_data))
    train = found.splits[0]
    assert train.by_label == {
        "sadness": 4666,
        "joy": 5362,
        "love": 1304,
        "anger": 2159,
        "fear": 1937,
        "surprise": 572,
    }
    assert found.repeated_within("train") == 31
    assert found.conflicting_within("train") == 30
    assert found.shared("train", "test") == 11
    assert found.splits[2].majority_correct == 695
