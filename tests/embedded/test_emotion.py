"""The embedded emotion sample keeps what its datasheet promises: counts, balance, format and no near-duplicates.

Not tested here: how a model scores on it, and how the package finds the files (`tests/data`).

Example: two texts are near-duplicates when their word sets have Jaccard similarity of at least 0.6, when they open
with the same five words, or when they share any run of six words.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib import resources
from itertools import combinations, pairwise
from pathlib import Path

import pytest

LABELS = ("sadness", "joy", "love", "anger", "fear", "surprise")
SIZES = {"train": 480, "validation": 120, "test": 120}
FOLDER = resources.files("tunelet.embedded") / "emotion"


def lines_of(split: str) -> list[str]:
    raw = (FOLDER / f"{split}.jsonl").read_bytes()
    assert raw.endswith(b"\n")
    return raw.decode("ascii").removesuffix("\n").split("\n")


def rows_of(split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in lines_of(split)]


def runs(words: list[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


def near_duplicates(texts: list[str]) -> list[tuple[str, str, str]]:
    """Every pair that breaks one of the three rules, with the rule it breaks first."""
    prepared = [(text, text.split()) for text in texts]
    views = [(text, set(words), tuple(words[:5]), runs(words, 6)) for text, words in prepared]
    found = []
    for (a, set_a, start_a, runs_a), (b, set_b, start_b, runs_b) in combinations(views, 2):
        if len(set_a & set_b) >= 0.6 * len(set_a | set_b):
            found.append(("jaccard", a, b))
        elif start_a == start_b:
            found.append(("opening", a, b))
        elif not runs_a.isdisjoint(runs_b):
            found.append(("run", a, b))
    return found


@pytest.fixture(scope="module")
def splits() -> dict[str, list[dict[str, str]]]:
    return {split: rows_of(split) for split in SIZES}


@pytest.mark.parametrize(("split", "size"), SIZES.items())
def test_counts_and_balance(splits: dict[str, list[dict[str, str]]], split: str, size: int) -> None:
    assert len(splits[split]) == size
    assert Counter(row["label"] for row in splits[split]) == dict.fromkeys(LABELS, size // len(LABELS))


@pytest.mark.parametrize("split", SIZES)
def test_every_row_has_exactly_the_three_fields_and_a_numbered_id(split: str) -> None:
    for number, line in enumerate(lines_of(split), start=1):
        row = json.loads(line)
        assert list(row) == ["id", "text", "label"], f"{split}.jsonl:{number}"
        assert row["id"] == f"{split}-{number:04d}", f"{split}.jsonl:{number}"
        assert json.dumps(row) == line, f"{split}.jsonl:{number} is not in the one canonical spelling"


def test_ids_and_texts_are_unique_over_all_splits(splits: dict[str, list[dict[str, str]]]) -> None:
    rows = [row for split in splits.values() for row in split]
    assert len({row["id"] for row in rows}) == len(rows)
    assert len({row["text"] for row in rows}) == len(rows)


def test_texts_are_lower_case_ascii_words_with_single_spaces(splits: dict[str, list[dict[str, str]]]) -> None:
    texts = [row["text"] for split in splits.values() for row in split]
    assert [text for text in texts if not re.fullmatch(r"[a-z]+( [a-z]+)*", text)] == []


@pytest.mark.parametrize("split", SIZES)
def test_lengths_are_within_bounds_and_spread(splits: dict[str, list[dict[str, str]]], split: str) -> None:
    lengths = sorted(len(row["text"].split()) for row in splits[split])
    assert lengths[0] >= 4
    assert lengths[-1] <= 40
    assert lengths[len(lengths) // 10] <= 9, "too few short sentences"
    assert lengths[-len(lengths) // 20] >= 22, "too few long sentences"


def test_rows_are_shuffled_not_grouped_by_label(splits: dict[str, list[dict[str, str]]]) -> None:
    for split, rows in splits.items():
        same = sum(a["label"] == b["label"] for a, b in pairwise(rows))
        assert same < len(rows) / 3, f"{split}: {same} neighbouring rows share a label; chance is a sixth"


def test_no_opening_gives_the_label_away(splits: dict[str, list[dict[str, str]]]) -> None:
    by_label: dict[str, set[str]] = {label: set() for label in LABELS}
    for row in splits["train"]:
        by_label[row["label"]].add(row["text"].split()[0])
    for label, openings in by_label.items():
        assert {"i", "im", "we", "he", "she", "they", "you"} <= openings, label


def test_no_near_duplicates_within_or_across_splits(splits: dict[str, list[dict[str, str]]]) -> None:
    assert near_duplicates([row["text"] for split in splits.values() for row in split]) == []


@pytest.mark.parametrize(
    ("rule", "a", "b"),
    [
        ("jaccard", "she wept for her old dog", "for her old dog he wept"),
        ("opening", "we went down to the harbour at dawn", "we went down to the mill and sang until nobody laughed"),
        ("run", "oddly all of us were late for the ferry", "nobody cared that all of us were late for supper again"),
    ],
)
def test_each_rule_finds_a_planted_near_duplicate(rule: str, a: str, b: str) -> None:
    assert near_duplicates([a, "something else entirely was said here", b]) == [(rule, a, b)]


def test_no_sentence_is_taken_from_the_published_emotion_data(
    splits: dict[str, list[dict[str, str]]], real_data: Path
) -> None:
    folder = real_data / "emotion"
    published: set[tuple[str, ...]] = set()
    texts: set[str] = set()
    for split in SIZES:
        for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").split("\n"):
            if line:
                text = json.loads(line)["text"]
                texts.add(text)
                published |= runs(text.split(), 8)
    assert texts, "the published data could not be read"
    for rows in splits.values():
        for row in rows:
            assert row["text"] not in texts
            assert published.isdisjoint(runs(row["text"].split(), 8)), row["text"]
