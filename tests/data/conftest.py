"""Shared by the tests of the data layer: a toy task, folders of split files, a tiny tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from data.broken_data import good
from tunelet.data.records import Dataset, DataSource, Label, Task, TextExample

# a machine may be busy, and first calls read a dictionary: no deadlines
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

MOOD = Task(
    "mood", "how it is", (Label("good", "it is well"), Label("bad", "it is not"), Label("odd", "it is strange"))
)
MOODS = Task(MOOD.name, MOOD.description, MOOD.labels, multi_label=True)


@pytest.fixture
def mood() -> Task:
    return MOOD


@pytest.fixture
def moods() -> Task:
    """The same labels, any number of them."""
    return MOODS


@pytest.fixture
def emotion_folder(tmp_path: Path) -> Path:
    """A folder with three good splits of the emotion task, twelve texts in each."""
    folder = tmp_path / "emotion"
    folder.mkdir()
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_bytes(good(split))
    return folder


@pytest.fixture
def make_dataset() -> Callable[..., Dataset]:
    """Makes a dataset of (text, label, ...) tuples by split."""

    def make(task: Task = MOOD, **splits: Sequence[tuple[str, ...]]) -> Dataset:
        examples = {
            split: tuple(TextExample(str(i), text, tuple(labels)) for i, (text, *labels) in enumerate(given))
            for split, given in splits.items()
        }
        return Dataset(task, examples, DataSource("recipe", "memory"))

    return make


@pytest.fixture
def tokenizer() -> Any:
    """A fast tokenizer of words: [CLS] words [SEP]; it knows w0 ... w89."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {name: i for i, name in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]"])}
    vocabulary |= {f"w{i}": i + 4 for i in range(90)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
