"""Where prompts and answers are cut, and that answers are spelled as they were asked for."""

from __future__ import annotations

import pytest

from toy_in_context import asked, toy_bert, toy_bytes
from toy_understanding import toy_task
from tunelet.base.errors import BaseModelError, DataError
from tunelet.models.in_context.answer_tree import answer_tree
from tunelet.models.in_context.tokens import SALMONN, Frame, PromptTokens

TASK = toy_task("sun", "rain", multi_label=True, none="nix")


def test_the_sides_make_up_the_prompt_and_no_token_reaches_over_a_cut() -> None:
    tokenizer = toy_bytes()
    tokens = PromptTokens(tokenizer, SALMONN)
    question = asked(TASK, "sunny", "sun", shown=1)
    prefix, (rest, after) = tokens.prefix(question.prompt), tokens.sides(question.prompt)
    assert after is None
    whole = f"<s>USER: {question.prompt.text}\nASSISTANT: sun</s>"
    assert tokenizer.decode((*prefix, *rest, *tokens.target(question))) == whole
    assert tokenizer.decode(prefix) == f"<s>USER: {question.prompt.text[: question.prompt.prefix_end]}"
    # the blank belongs to the name, as it would within a text: " su" is one token
    assert tokenizer.convert_ids_to_tokens(tokens.target(question)) == ["Ġsu", "n", "</s>"]
    assert tokens.count(question.prompt.completed) >= len(prefix) + len(rest) + len(tokens.target(question))


def test_speech_leaves_its_place_and_nothing_takes_the_querys() -> None:
    tokenizer = toy_bytes()
    tokens = PromptTokens(tokenizer)
    spoken = asked(TASK, "x", speech=True).prompt
    before, after = tokens.sides(spoken)
    assert after is not None
    assert tokenizer.decode(before) == "Now analyze this input:\n<Speech>"
    assert tokenizer.decode(after) == "</Speech>\nOutput:"
    assert tokens.sides(spoken, nothing=True) == ((*before, *after), None)
    text = asked(TASK, "x", "sun", shown=1).prompt
    plain, empty = (tokenizer.decode(tokens.sides(text, nothing=nothing)[0]) for nothing in (False, True))
    assert empty == plain.replace("Text: x\n", "Text: N/A\n")
    assert empty != plain


def test_answers_are_put_together_from_names() -> None:
    tokenizer = toy_bytes()
    tokens = PromptTokens(tokenizer).answers(TASK, asked(TASK, "x").prompt.names)
    for classes, text in (([1, 0], " sun, rain</s>"), ([], " nix</s>"), ([1], " rain</s>")):
        assert tokenizer.decode(tokens.ids(classes)) == text
        assert len(tokens.ids(classes)) <= tokens.longest
    chat = PromptTokens(tokenizer, Frame("", "\nme\n", "")).answers(TASK, asked(TASK, "x").prompt.names)
    assert tokenizer.decode(chat.ids([0, 1])) == "sun, rain</s>"
    assert len(answer_tree(chat, 1).ways) == 1
    single = toy_task("sun", "rain")
    with pytest.raises(DataError, match="no known answer"):
        PromptTokens(tokenizer).answers(single, asked(single, "x").prompt.names).ids([])


def test_what_a_tokenizer_loses_is_spelled_as_asked_for() -> None:
    _, tokenizer = toy_bert()
    task = toy_task("a_b", "Ab", multi_label=True)
    question = asked(task, "x", "a_b", "Ab")
    tokens = PromptTokens(tokenizer)
    ids = tokens.target(question)[:-1]
    assert tokenizer.decode(ids) != "a_b, Ab"
    assert tokens.text(question, ids) == "a_b, Ab"
    assert tokens.text(question, ids[:1]) == tokenizer.decode(ids[:1])


def test_a_tokenizer_without_an_end_is_refused() -> None:
    tokenizer = toy_bytes()
    tokenizer.eos_token = tokenizer.bos_token = None
    with pytest.raises(BaseModelError, match="neither BOS and EOS"):
        PromptTokens(tokenizer)
