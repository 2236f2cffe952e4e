"""Answers of a causal model against plain passes over whole texts, one at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toy_in_context import ROOM, asked, plain_score, plain_values, toy_bert, toy_rope
from toy_understanding import toy_task
from tunelet.base.errors import BaseModelError, DataError, InputError
from tunelet.data.understanding.asked import Asked
from tunelet.data.understanding.fitting import fit_prompt
from tunelet.models.in_context.answering import CHATTER
from tunelet.models.in_context.causal import CausalModel
from tunelet.models.in_context.settings import Asking
from tunelet.models.prompt_model import PromptModel
from tunelet.models.speech.language_half import add_lora
from tunelet.models.speech.protocol import drawing

MAKERS = {"bert": toy_bert, "rope": toy_rope}
names = st.lists(
    st.text("ab_", min_size=1, max_size=4).filter(lambda n: n.strip("_") == n), min_size=2, max_size=6, unique=True
)


@pytest.fixture(scope="module", params=sorted(MAKERS))
def model(request: pytest.FixtureRequest) -> CausalModel:
    return CausalModel(*MAKERS[request.param]())


def some(task: Any, count: int = 4) -> list[Asked]:
    texts = ("sun", "such a long and rainy day", "", "what? snow: again", "so")
    return [asked(task, texts[i % 5], task.label_names[0], shown=i % 3) for i in range(count)]


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shown=names)
def test_scores_are_what_teacher_forcing_gives_for_each_label(shown: list[str], model: CausalModel) -> None:
    task = toy_task(*shown)
    questions = some(task, 3)
    for question, answer in zip(questions, model.answer(questions), strict=True):
        wanted = [plain_score(model.language, model.tokens, question, [c]) for c in range(len(shown))]
        np.testing.assert_allclose(answer.scores, wanted, atol=1e-4)
        assert answer.labels == (shown[int(np.argmax(wanted))],)


def test_prefixes_batches_and_company_change_nothing(model: CausalModel) -> None:
    tasks = [toy_task("sun", "sunny", "snow"), toy_task("rain", "no"), toy_task("a", "b", "ab", multi_label=True)]
    questions = [question for task in tasks for question in some(task, 4)]
    questions.append(asked(tasks[0], "once", "sun", shown=2, order=[2, 0, 1]))  # a prefix that no other has
    together = model.answer(questions)
    for how in (Asking(batch_tokens=1), Asking(batch_tokens=900)):
        for one, other in zip(model.answer(questions[::-1], how)[::-1], together, strict=True):
            assert one.labels == other.labels
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
    for question, other in zip(questions, together, strict=True):
        (alone,) = model.answer([question])
        assert alone.labels == other.labels
        np.testing.assert_allclose(alone.scores, other.scores, atol=1e-4)


def test_a_prefix_is_read_once(model: CausalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunelet.models.in_context.running import Running

    read: list[int] = []
    plain = Running.read

    def counted(self: Running, vectors: torch.Tensor, *rest: Any) -> torch.Tensor:
        read.append(vectors.shape[0] * vectors.shape[1])
        return plain(self, vectors, *rest)

    monkeypatch.setattr(Running, "read", counted)
    task = toy_task("sun", "sunny", "snow")
    questions = [asked(task, text, shown=1) for text in ("so", "the sky", "no")]
    model.answer(questions)
    prefix = [model.tokens.prefix(question.prompt) for question in questions]
    rests = [model.tokens.sides(question.prompt)[0] for question in questions]
    assert len(set(prefix)) == 1
    same = next(i for i, ids in enumerate(zip(*rests, strict=False)) if len(set(ids)) > 1)  # the demonstration and more
    pieces = {name[: i + 1] for name in model.tokens.answers(task, asked(task, "so").prompt.names).names
              for i in range(len(name))}  # fmt: skip
    assert read == [len(prefix[0]) + same, 3 * (max(map(len, rests)) - same + len(pieces))]


def brute(model: CausalModel, question: Asked, prior: bool = False) -> tuple[str, ...]:
    """Greedy over all answers that are allowed, token by token, by plain passes over the whole text."""
    task, tokens = question.task, model.tokens.answers(question.task, question.prompt.names)
    subsets = [[c for c in range(len(task.labels)) if bits >> c & 1] for bits in range(2 ** len(task.labels))]
    allowed = {tokens.ids(classes): classes for classes in subsets if classes or tokens.none}
    said: tuple[int, ...] = ()
    while said not in allowed:
        nexts = sorted({ids[len(said)] for ids in allowed if ids[: len(said)] == said})
        values = []
        for side in (False, True)[: 1 + prior]:
            prompt = (*model.tokens.prefix(question.prompt), *model.tokens.sides(question.prompt, nothing=side)[0])
            rows = [plain_values(model.language, (*prompt, *said, token), len(prompt) + len(said)) for token in nexts]
            values.append(torch.cat(rows))
        said += (nexts[int((values[0] - (values[1] if prior else 0)).argmax())],)
    return tuple(task.label_names[c] for c in allowed[said])


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("none", [None, "nix"])
def test_several_labels_are_the_greedy_allowed_answer(model: CausalModel, none: str | None, calibrated: bool) -> None:
    task = toy_task("sun", "a", "sunny", "snow", multi_label=True, none=none)
    questions = [asked(task, text, "a", shown=i % 2) for i, text in enumerate(("so", "c", "xx rain", "?", "!"))]
    answers = model.answer(questions, Asking(calibrated=calibrated))
    found = [answer.labels for answer in answers]
    assert found == [brute(model, question, calibrated) for question in questions]
    if none is None and not calibrated:
        assert max(len(labels or ()) for labels in found) > 1
    # how likely it is that an answer begins with a class: over all answers that do
    tokens = model.tokens.answers(task, questions[0].prompt.names)
    prompt = (*model.tokens.prefix(questions[0].prompt), *model.tokens.sides(questions[0].prompt)[0])
    if not calibrated:
        ways = [(*tokens.names[0], tokens.end), (*tokens.names[0], *tokens.comma)]
        sums = [float(plain_values(model.language, (*prompt, *way), len(prompt)).sum()) for way in ways]
        assert answers[0].scores is not None
        assert answers[0].scores[0] == pytest.approx(np.logaddexp(*sums), abs=1e-4)


def test_calibration_subtracts_what_a_query_that_says_nothing_gets(model: CausalModel) -> None:
    questions = some(toy_task("sun", "sunny", "snow"), 3)
    for question, answer in zip(questions, model.answer(questions, Asking(calibrated=True)), strict=True):
        wanted = [
            plain_score(model.language, model.tokens, question, [c])
            - plain_score(model.language, model.tokens, question, [c], nothing=True)
            for c in range(3)
        ]
        np.testing.assert_allclose(answer.scores, wanted, atol=1e-4)
    empty = model.answer([asked(questions[0].task, "N/A")], Asking(calibrated=True))[0]
    np.testing.assert_allclose(empty.scores, 0, atol=1e-4)


def test_free_answers_are_the_likeliest_tokens(model: CausalModel) -> None:
    questions = some(toy_task("sun", "sunny", "snow"), 3)
    found = model.answer(questions, Asking(answers="free-strict"))
    for question, answer in zip(questions, found, strict=True):
        ids = [*model.tokens.prefix(question.prompt), *model.tokens.sides(question.prompt)[0]]
        said: list[int] = []
        most = model.tokens.answers(question.task, question.prompt.names).longest + CHATTER
        while len(said) < most:
            with torch.no_grad():
                token = int(model.language(input_ids=torch.tensor([ids + said])).logits[0, -1].argmax())
            if token == model.tokens.end:
                break
            said.append(token)
        assert answer.text == model.tokenizer.decode(said, skip_special_tokens=True)
        assert answer.labels is None
        assert answer.scores is None


def test_it_learns_and_then_says_what_it_learned(model: CausalModel) -> None:
    tuned = CausalModel(*MAKERS["bert" if "Bert" in type(model.language).__name__ else "rope"]())
    task = toy_task("sun", "sunny", "snow", multi_label=True)
    questions = [asked(task, "x", "sun", "snow"), asked(task, "yy z", "sunny")]
    batch = tuned.encode(questions)
    wanted = [plain_score(tuned.language, tuned.tokens, question, question.gold) for question in questions]
    tokens = int((batch["labels"] != -100).sum())
    assert tuned.loss(batch).item() == pytest.approx(-sum(wanted) / tokens, abs=1e-4)
    optimizer = torch.optim.AdamW(tuned.language.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        tuned.loss(batch).backward()
        optimizer.step()
    for how in (Asking(), Asking(answers="free-strict"), Asking(answers="free-lenient")):
        assert [answer.labels for answer in tuned.answer(questions, how)] == [("sun", "snow"), ("sunny",)]
    assert tuned.answer(questions, Asking(answers="free-strict"))[1].text.strip() == "sunny"  # type: ignore[union-attr]


def test_lora_scale_goes_from_the_base_to_the_adapter() -> None:
    plain = CausalModel(*toy_rope())
    language, tokenizer = toy_rope()
    language = add_lora(language, dropout=0.0)
    with drawing(1, "update"):
        for name, parameter in language.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, 0.0, 0.3)
    tuned = CausalModel(language, tokenizer)
    questions = some(toy_task("sun", "sunny", "snow"), 2)
    base, none, whole, trained = (
        [answer.scores for answer in answers]
        for answers in (
            plain.answer(questions),
            tuned.answer(questions, Asking(lora_scale=0.0)),
            tuned.answer(questions, Asking(lora_scale=1.0)),
            tuned.answer(questions),
        )
    )
    np.testing.assert_allclose(none, base, atol=1e-5)
    np.testing.assert_allclose(whole, trained, atol=1e-6)
    assert np.abs(np.array(none) - np.array(whole)).max() > 1e-2
    with pytest.raises(InputError, match="no LoRA"):
        plain.answer(questions, Asking(lora_scale=0.5))


def test_it_is_a_prompt_model_that_knows_its_room(model: CausalModel) -> None:
    assert isinstance(model, PromptModel)
    assert (model.room, model.hears) == (ROOM, False)
    task = toy_task("sun", "sunny", "snow")
    query = asked(task, "x" * 200, "sun").query
    pool = [asked(task, "y" * 150, "sunny").query]
    fitted = fit_prompt(task, query, pool, limit=ROOM, count=model.count, reserve=10)
    question = Asked(task, fitted.prompt, query)
    assert model.encode([question])["attention_mask"].sum() <= fitted.tokens
    assert model.answer([question])[0].labels
    long = asked(task, "z " * ROOM, "sun")
    for call in (model.encode, model.answer):
        with pytest.raises(DataError, match=rf"example '99' of 'sky'.*language model has {ROOM}"):
            call([question, long])


def test_an_answer_of_several_labels_ends_where_the_room_ends() -> None:
    model = CausalModel(*toy_rope())
    task = toy_task("sun", "a", "sunny", "snow", multi_label=True)
    text = next(text for text in "abcdefgh" if len(model.answer([asked(task, text)])[0].labels or ()) > 1)
    question = asked(task, text)
    length = len(model.tokens.prefix(question.prompt)) + len(model.tokens.sides(question.prompt)[0])
    longest = model.tokens.answers(task, question.prompt.names).longest_name
    free = model.answer([question])[0].labels
    model.language.config.max_position_embeddings = length + longest + 2
    cut = model.answer([question])[0].labels
    assert cut is not None and free is not None
    assert len(cut) == 1 < len(free)


def test_what_cannot_be_answered_is_told(model: CausalModel) -> None:
    task = toy_task("sun", "snow")
    with pytest.raises(DataError, match="question 1 of the batch: has no known answer"):
        model.loss(model.encode([asked(task, "a", "sun"), asked(task, "b")]))
    with pytest.raises(DataError, match="query is speech"):
        model.answer([asked(task, "a", speech=True)])
    with pytest.raises(ValueError, match="calibrated answers are constrained"):
        Asking(answers="free-strict", calibrated=True)
    assert model.answer([]) == []


def test_names_that_are_the_same_to_the_tokenizer_are_refused() -> None:
    model = CausalModel(*toy_bert())
    with pytest.raises(BaseModelError, match="'ö' has the tokens of 'ä'"):
        model.answer([asked(toy_task("ä", "ö"), "a")])
