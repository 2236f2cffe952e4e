"""Token ids: what they are, what is truncated, and that the cache is invisible but for its speed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunelet.base.errors import DataError
from tunelet.data.records import Dataset, Task
from tunelet.data.token_cache import TokenCache, tokenizer_sha256
from tunelet.data.tokens import TokenisedSplit, label_array, tokenise

Make = Callable[..., Dataset]
TEXTS = [("w0 w1", "good"), ("w2", "odd"), ("w3 w4 w5 w6 w7", "bad"), ("w1 w2 w3 zebra", "good")]


@pytest.fixture
def dataset(make_dataset: Make) -> Dataset:
    return make_dataset(train=TEXTS, test=TEXTS[:1])


def equal(first: TokenisedSplit, second: TokenisedSplit) -> bool:
    arrays = (
        (first.ids, second.ids),
        (first.offsets, second.offsets),
        (first.labels, second.labels),
    )
    same = all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in arrays)
    return same and (first.example_ids, first.truncated) == (second.example_ids, second.truncated)


def test_ids_offsets_and_labels(dataset: Dataset, tokenizer: Any) -> None:
    split = tokenise(dataset, tokenizer, 6, None)["train"]
    assert [split.row(i).tolist() for i in range(4)] == [
        [1, 4, 5, 2],
        [1, 6, 2],
        [1, 7, 8, 9, 10, 2],
        [1, 5, 6, 7, 3, 2],
    ]
    assert split.lengths.tolist() == [4, 3, 6, 6]
    assert split.labels.tolist() == [0, 2, 1, 0]
    assert (split.ids.dtype, split.offsets.dtype, split.labels.dtype) == (np.int32, np.int64, np.int64)
    assert split.example_ids == ("0", "1", "2", "3")
    assert split.truncated == 1  # the fourth just fits
    with pytest.raises(IndexError):
        split.row(4)


def test_rows_equal_those_of_the_tokenizer(dataset: Dataset, tokenizer: Any) -> None:
    split = tokenise(dataset, tokenizer, 64, None)["train"]
    assert [split.row(i).tolist() for i in range(4)] == [tokenizer(text)["input_ids"] for text, _ in TEXTS]


def test_multi_label_gives_zeros_and_ones(make_dataset: Make, moods: Task, tokenizer: Any) -> None:
    dataset = make_dataset(moods, train=[("w1", "good", "odd"), ("w2",)])
    labels = tokenise(dataset, tokenizer, 8, None)["train"].labels
    assert labels.dtype == np.float32
    assert labels.tolist() == [[1, 0, 1], [0, 0, 0]]


def test_arrays_cannot_be_written_to(dataset: Dataset, tokenizer: Any, tmp_path: Path) -> None:
    for _ in range(2):  # the second time from the cache
        split = tokenise(dataset, tokenizer, 8, tmp_path)["train"]
        with pytest.raises(ValueError, match="read-only"):
            split.ids[0] = 7


def test_the_cache_gives_the_same_and_saves_the_work(dataset: Dataset, tokenizer: Any, tmp_path: Path) -> None:
    fresh = tokenise(dataset, tokenizer, 6, tmp_path)

    class Refusing:
        backend_tokenizer = tokenizer.backend_tokenizer
        num_special_tokens_to_add = tokenizer.num_special_tokens_to_add

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError("the texts were tokenised again")

    kept = tokenise(dataset, Refusing(), 6, tmp_path)
    assert all(equal(fresh[split], kept[split]) for split in ("train", "test"))


def test_the_key_depends_on_texts_tokenizer_and_length(dataset: Dataset, tokenizer: Any) -> None:
    texts = [text for text, _ in TEXTS]
    hashed = tokenizer_sha256(tokenizer)
    paths = {
        TokenCache(Path("x"), hashed, 6).path("train", texts),
        TokenCache(Path("x"), hashed, 7).path("train", texts),
        TokenCache(Path("x"), "0" * 64, 6).path("train", texts),
        TokenCache(Path("x"), hashed, 6).path("train", texts[:-1]),
        TokenCache(Path("x"), hashed, 6).path("train", [" ".join(texts)]),
    }
    assert len(paths) == 5


def test_using_a_tokenizer_does_not_change_its_hash(dataset: Dataset, tokenizer: Any) -> None:
    before = tokenizer_sha256(tokenizer)
    tokenise(dataset, tokenizer, 6, None)
    tokenizer(["w1", "w2 w3"], padding=True, truncation=True, max_length=4)
    assert tokenizer_sha256(tokenizer) == before
    tokenizer.add_tokens(["zebra"])
    assert tokenizer_sha256(tokenizer) != before


def damages(content: bytes) -> dict[str, bytes]:
    middle = len(content) // 2
    return {
        "empty": b"",
        "cut": content[:middle],
        "flipped": content[:200] + bytes([content[200] ^ 0xFF]) + content[201:],
        "noise": b"\x80\x04\x95" + bytes(range(200)),
    }


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "noise", "other"])
def test_a_damaged_file_is_made_again(damage: str, dataset: Dataset, tokenizer: Any, tmp_path: Path) -> None:
    fresh = tokenise(dataset, tokenizer, 6, tmp_path)["train"]
    path = next(tmp_path.glob("tokens-train-*.npz"))
    content = path.read_bytes()
    if damage == "other":
        np.savez(path, ids=np.zeros(3, np.int32), offsets=np.array([0, 3]), truncated=0)
    else:
        path.write_bytes(damages(content)[damage])
    assert equal(tokenise(dataset, tokenizer, 6, tmp_path)["train"], fresh)
    assert path.read_bytes() == content


def test_a_folder_that_cannot_be_written_is_no_obstacle(dataset: Dataset, tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert tokenise(dataset, tokenizer, 6, tmp_path / "file")["train"].labels.tolist() == [0, 2, 1, 0]


def test_no_room_for_a_text(dataset: Dataset, tokenizer: Any) -> None:
    with pytest.raises(DataError, match=r"model\.max_length: 2 tokens .* at least 3"):
        tokenise(dataset, tokenizer, 2, None)


def test_an_example_without_a_label_is_refused(make_dataset: Make, mood: Task) -> None:
    examples = make_dataset(train=[("w1", "good"), ("w2",)]).splits["train"]
    with pytest.raises(DataError, match="example 1 has 0 labels"):
        label_array(examples, mood)
