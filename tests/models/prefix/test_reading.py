"""Reading prompts: the tokens are those of the whole text, and every class name is found in them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toy_language import WORDS, tokenizer
from toy_understanding import toy_example, toy_task
from tunelet.base.errors import BaseModelError, DataError
from tunelet.data.understanding.prompt import build_prompt
from tunelet.data.understanding.regimes import LabelMap
from tunelet.models.prefix import reading
from tunelet.models.prefix.reading import PromptReader

READER = PromptReader(tokenizer())
sentences = st.lists(st.sampled_from([*WORDS, "the cat's", "un-do!", "été"]), min_size=1, max_size=5).map(" ".join)


@given(sentences, st.lists(sentences, max_size=3), st.booleans())
def test_tokens_and_spans_are_those_of_the_whole_text(query: str, shown: list[str], again: bool) -> None:
    task = toy_task("unhappy", "cat", "redo the mats")
    names = LabelMap(task.label_names, ("cat", "redo the mats", "unhappy") if again else task.label_names)
    examples = [toy_example(i, text, task.label_names[i % 3]) for i, text in enumerate(shown)]
    prompt = build_prompt(task, toy_example(9, query, "cat"), examples, names=names)
    (read,) = READER.read([prompt])
    whole = tokenizer()(prompt.text, return_offsets_mapping=True)
    assert read.ids[: read.slot].tolist() == whole["input_ids"][:-1]
    assert read.ids[read.slot :].tolist() == [tokenizer().mask_token_id, whole["input_ids"][-1]]
    assert READER.count(prompt.text) == len(read.ids)
    for occurrence, (first, after) in zip(prompt.occurrences, read.spans.tolist(), strict=True):
        offsets = whole["offset_mapping"][first:after]
        assert (offsets[0][0], offsets[-1][1]) == (occurrence.start, occurrence.end)


def test_lines_are_remembered_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = build_prompt(toy_task("cat", "dog"), toy_example(1, "the cat sat", "cat"))
    reader, calls = PromptReader(tokenizer()), list[Any]()
    first = reader.read([prompt])[0].ids.tolist()
    whole = reader._tokenizer

    def counted(*texts: Any, **options: Any) -> Any:
        calls.append(texts)
        return whole(*texts, **options)

    reader._tokenizer = counted
    assert reader.read([prompt])[0].ids.tolist() == first and not calls
    monkeypatch.setattr(reading, "LINES", 3)  # fewer than one prompt has: all is learned anew
    reader._lines.pop("\n")
    assert reader.read([prompt])[0].ids.tolist() == first and len(calls) == 1


def test_speech_takes_its_places() -> None:
    prompt = build_prompt(
        toy_task("cat", "dog"), toy_example(1, "x", "cat"), [toy_example(2, "a mat", "dog")], speech=True
    )
    (none,), (five,) = READER.read([prompt], [0]), READER.read([prompt], [5])
    assert none.speech is not None and five.speech == (none.speech[0], 5)
    assert len(five.ids) == len(none.ids) + 5 and five.slot == none.slot + 5
    assert five.spans.tolist() == none.spans.tolist()  # all names stand before the query


def test_a_name_without_a_token_is_refused() -> None:
    prompt = build_prompt(toy_task("cat", "\u200b"), toy_example(1, "a mat", "cat"))
    silent = tokenizer()
    whole = silent.backend_tokenizer.normalizer
    from tokenizers import normalizers

    silent.backend_tokenizer.normalizer = normalizers.Sequence([whole, normalizers.Replace("\u200b", " ")])
    with pytest.raises(DataError, match=r"has no token in this model.*another name"):
        PromptReader(silent).read([prompt])


def test_a_tokenizer_without_a_mask_is_refused() -> None:
    with pytest.raises(BaseModelError, match="no mask token"):
        PromptReader(tokenizer(bert=False))
