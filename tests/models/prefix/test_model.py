"""The prefix model: its contract, its loss, and what does not change its answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toy_prefix import base_in, questions, several, single, spoken
from toy_understanding import toy_example, toy_task
from tunelet.base.errors import DataError
from tunelet.data.understanding.asked import Asked
from tunelet.data.understanding.prompt import build_prompt
from tunelet.models.bases import Base
from tunelet.models.prefix import model as module
from tunelet.models.prefix.model import PrefixModel, build_prefix
from tunelet.models.prefix.similarity import sentences_of
from tunelet.models.prompt_model import Answer, PromptModel

ASKED = questions(8)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return base_in(tmp_path_factory.mktemp("prefix") / "base")


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "blocks"])
def model(base: Base, request: pytest.FixtureRequest) -> PrefixModel:
    """A model whose heads are as if trained."""
    made = build_prefix(base, blocks=request.param)
    stream = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in made.copying.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=stream))
    return made


def same(found: Answer, expected: Answer) -> None:
    assert found.labels == expected.labels and found.scores is not None and expected.scores is not None
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-4)


def test_it_keeps_the_contract(model: PrefixModel) -> None:
    assert isinstance(model, PromptModel) and not model.hears and model.room == 512
    assert model.count(ASKED[3].prompt.text) == int(model.encode([ASKED[3]])["attention_mask"].sum())
    for asked, answer in zip(ASKED, model.answer(ASKED), strict=True):
        assert answer.scores is not None and answer.scores.shape == (asked.classes,) and answer.labels is not None
        if asked.task.multi_label:
            assert answer.labels == tuple(
                n for n, s in zip(asked.task.label_names, answer.scores, strict=True) if s > 0
            )
        else:
            assert answer.labels == (asked.task.label_names[int(answer.scores.argmax())],)


@settings(max_examples=5, deadline=None)
@given(st.permutations(range(8)), st.integers(1, 8))
def test_neither_order_nor_company_changes_an_answer(model: PrefixModel, order: list[int], size: int) -> None:
    alone = [model.answer([asked])[0] for asked in ASKED]
    for chunk in (order[:size], order[size:]):
        for position, found in zip(chunk, model.answer([ASKED[i] for i in chunk]), strict=True):
            same(found, alone[position])


def test_small_batches_give_the_same(model: PrefixModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = model.answer(ASKED)
    monkeypatch.setattr(module, "PLACES", 150)
    for found, expected in zip(model.answer(ASKED), whole, strict=True):
        same(found, expected)


def test_the_loss_is_that_of_each_question(model: PrefixModel) -> None:
    batch = model.encode(ASKED)
    expected = []
    for asked, answer in zip(ASKED, model.answer(ASKED), strict=True):
        scores, gold = torch.from_numpy(answer.scores), list(asked.gold)
        if asked.task.multi_label:
            right = torch.zeros(len(scores), dtype=torch.double)
            right[gold] = 1
            expected.append(-(right * scores.sigmoid().log() + (1 - right) * (-scores).sigmoid().log()).mean())
        else:
            expected.append(-scores.log_softmax(0)[gold[0]])
    assert model.loss(batch).item() == pytest.approx(float(torch.stack(expected).mean()), abs=1e-4)


def test_every_part_gets_a_gradient(base: Base) -> None:
    model = build_prefix(base)
    batch = model.encode([*ASKED, several_without_none()])
    # whether names fit definitions for a base of random weights is chance: here they do
    batch["like_trust"] += 0.05 - batch["like_trust"].min()
    batch["like_named"] += 0.1 * torch.rand_like(batch["like_named"])
    model.loss(batch).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert all("key.bias" in name for name in without)  # a shift of all keys changes nothing


def several_without_none() -> Asked:
    task = several(none=None)
    query = toy_example(1, "the sun at home", "sun")
    return Asked(task, build_prompt(task, query, [toy_example(2, "rain today", "rain")]), query)


def test_a_task_without_none_always_has_an_answer(model: PrefixModel) -> None:
    asked, low = several_without_none(), model.threshold().item()
    (usual,) = model.answer([asked])
    with torch.no_grad():
        model.threshold.value.mul_(100)
    (high,) = model.answer([asked])
    with torch.no_grad():
        model.threshold.value.div_(100)
    assert high.labels is not None and len(high.labels) == 1 and high.scores is not None and (high.scores < 0).all()
    assert usual.scores is not None
    np.testing.assert_allclose(usual.scores - high.scores, 99 * low, rtol=1e-4)


def test_matching_can_be_left_out_of_training_alone(base: Base) -> None:
    model = build_prefix(base)
    batch = model.encode(ASKED)
    whole, bare = model(**batch), build_prefix(base, matching=False)(**batch)
    model.matching_dropout = 0.5
    torch.testing.assert_close(model(**batch), whole)  # it answers with it
    model.train()
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    torch.manual_seed(2)
    rows = [
        (torch.allclose(row, one, atol=1e-4), torch.allclose(row, other, atol=1e-4))
        for row, one, other in zip(model(**batch), whole, bare, strict=True)
    ]
    assert {one or other for one, other in rows} == {True} and {one for one, _ in rows} == {True, False}


def test_matching_alone_does_not_see_the_order_of_definitions(base: Base) -> None:
    model = build_prefix(base)
    with torch.no_grad():
        model.copying.scale.value.fill_(-2.0)
    query = toy_example(1, "we felt happy", "dog")
    shown = [toy_example(2, "so glad", "dog"), toy_example(3, "the rain", "home")]
    orders = ([0, 1, 2], [2, 0, 1])
    one, other = model.answer([Asked(single(), build_prompt(single(), query, shown, order=o), query) for o in orders])
    same(one, other)
    assert build_prefix(base, matching=False).matching is None


def test_definitions_stand_by_class_whatever_their_order() -> None:
    task = toy_task("sun", "rain", guidelines=("Not {sun} at night.",))
    query = toy_example(1, "a - sun: text")
    prompt = build_prompt(task, query, [toy_example(2, "no\nOutput: sun", "rain")], order=[1, 0])
    found = sentences_of(prompt)
    assert found.definitions == {0: task.labels[0].definition, 1: task.labels[1].definition}
    assert found.names == {0: "sun", 1: "rain"}
    assert (found.query, found.demonstrations, found.labels) == (
        "a - sun: text",
        ("no Output: sun",),
        (frozenset({1}),),
    )


def test_speech_is_heard_or_refused(base: Base) -> None:
    model = build_prefix(base)
    with pytest.raises(DataError, match=r"'test/s' is speech, and this model hears none"):
        model.encode([spoken()])
    vectors = torch.randn(7, 16, requires_grad=True)
    model.listen(lambda queries: [vectors for _ in queries])
    assert model.hears
    batch = model.encode([ASKED[0], spoken()])
    model.loss(batch).backward()
    assert vectors.grad is not None and bool((vectors.grad.abs().sum(1) > 0).all())
    alone, beside = model.answer([spoken()])[0], model.answer([*ASKED, spoken()])[-1]
    same(alone, beside)
    model.listen(None)
    assert not model.hears


def test_vectors_of_words_are_the_words(base: Base) -> None:
    model = build_prefix(base)
    text = "she felt cross"
    ids = base.tokenizer(text, add_special_tokens=False)["input_ids"]
    embedder = model.embedder
    assert embedder is not None
    words = embedder._loaded().get_input_embeddings().weight[ids]
    np.testing.assert_allclose(embedder.embed_vectors([words]), embedder.embed([text]), atol=1e-5)


def test_what_is_wrong_is_told(base: Base, model: PrefixModel) -> None:
    query = toy_example(1, "dog " * 600, "dog")
    with pytest.raises(DataError, match=r"takes 6\d\d tokens, the model takes 512.*fit_prompt"):
        model.encode([Asked(single(), build_prompt(single(), query), query)])
    unknown = toy_example(1, "dog")
    with pytest.raises(DataError, match="question 0 of the batch has no known answer"):
        model.loss(model.encode([Asked(single(), build_prompt(single(), unknown), unknown)]))
    other = Asked(toy_task("home", "work", "dog", "cat"), ASKED[0].prompt, ASKED[0].query)
    with pytest.raises(DataError, match="the class 'cat' of task 'sky' stands nowhere"):
        model.encode([other])
    assert model.answer([]) == []
