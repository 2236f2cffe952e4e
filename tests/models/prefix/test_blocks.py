"""Reading in blocks: who sees whom, and that block by block gives what one pass with the mask gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toy_prefix import base_in, questions, single, spoken
from toy_understanding import toy_example
from tunelet.data.understanding.asked import Asked
from tunelet.data.understanding.prompt import build_prompt
from tunelet.models.bases import Base
from tunelet.models.prefix import blocks as module
from tunelet.models.prefix.blocks import BlockStates, block_starts, positions_of, told_apart, visible
from tunelet.models.prefix.model import PrefixModel, build_prefix
from tunelet.models.prompt_model import remembering


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return base_in(tmp_path_factory.mktemp("blocks") / "base")


@pytest.fixture(scope="module")
def model(base: Base) -> PrefixModel:
    return build_prefix(base, blocks=True)


def test_who_sees_whom() -> None:
    # (prompt, block) of each place: two prompts in the first row, one in the second
    rows = [
        [(0, 0), (0, 0), (0, 1), (0, 2), (0, 3), (0, 3), (1, 1), (1, 2), None],
        [(0, 0), (0, 1), (0, 1), (0, 1), None, None, None, None, None],
    ]
    last = {(0, 0): 3, (0, 1): 2, (1, 0): 1}  # of each row and prompt
    blocks = torch.full((2, 9), -1)
    for row, places in enumerate(rows):
        for place, told in enumerate(places):
            if told is not None:
                whole = np.array([*range(last[row, told[0]] + 1)])
                blocks[row, place] = int(told_apart(whole, told[0])[told[1]])
    seen = visible(blocks)[:, 0]
    for row, places in enumerate(rows):
        for query, mine in enumerate(places):
            for key, other in enumerate(places):
                expected = other is not None and other[1] == 0
                if mine is not None and other is not None and mine[1] > 0 and mine[0] == other[0]:
                    expected = expected or mine == other or mine[1] == last[row, mine[0]]
                if mine is not None:
                    assert bool(seen[row, query, key]) == expected


def test_blocks_after_the_first_begin_where_it_ends() -> None:
    assert positions_of(np.array([0, 0, 0, 1, 1, 2, 3, 3])).tolist() == [0, 1, 2, 3, 4, 3, 3, 4]


def test_parts_of_a_prompt_as_blocks() -> None:
    asked = questions(3)[2]
    starts, blocks = block_starts(asked.prompt)
    kinds = [part.kind for part in asked.prompt.parts]
    assert starts == [part.start for part in asked.prompt.parts]
    by_kind = dict(zip(kinds, blocks, strict=True))
    assert [by_kind[kind] for kind in ("instruction", "definitions", "guidelines")] == [0, 0, 0]
    shown = [block for kind, block in zip(kinds, blocks, strict=True) if kind == "demonstration"]
    assert shown == [1, 2]
    assert {block for kind, block in zip(kinds, blocks, strict=True) if kind in ("request", "query", "output")} == {3}


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([40, 4096]))
def test_block_by_block_is_one_pass(model: PrefixModel, seed: int, places: int) -> None:
    readings = model.reader.read([asked.prompt for asked in questions(5, seed=seed, shown=3)])
    ids, blocks = [one.ids for one in readings], [one.blocks for one in readings]
    with pytest.MonkeyPatch.context() as patched, torch.no_grad():
        patched.setattr(module, "PLACES", places)
        found = BlockStates(model.language).states(ids, blocks, [None] * 5)
        for own, block, states in zip(ids, blocks, found, strict=True):
            expected = model.language(
                input_ids=torch.from_numpy(own)[None],
                attention_mask=visible(torch.from_numpy(told_apart(block, 0))[None]),
                position_ids=torch.from_numpy(positions_of(block))[None],
            ).last_hidden_state[0]
            torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)


def test_demonstrations_have_no_order(model: PrefixModel) -> None:
    query = toy_example(1, "we felt happy", "dog")
    shown = [
        toy_example(2, "the sun at home", "home"),
        toy_example(3, "low work", "work"),
        toy_example(4, "a dog", "dog"),
    ]
    answers = [
        model.answer([Asked(single(), build_prompt(single(), query, order), query)])[0].scores
        for order in (shown, shown[::-1], [shown[1], shown[2], shown[0]])
    ]
    for scores in answers[1:]:
        np.testing.assert_allclose(scores, answers[0], atol=1e-5)
    other = model.answer([Asked(single(), build_prompt(single(), query, shown[:2]), query)])[0].scores
    assert np.abs(np.asarray(other) - np.asarray(answers[0])).max() > 1e-3


def test_what_is_shared_is_read_once(model: PrefixModel, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    usual = BlockStates._read

    def counted(self: BlockStates, ids: list[np.ndarray], *others: object) -> object:
        read.extend(len(one) for one in ids)
        return usual(self, ids, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(BlockStates, "_read", counted)
    task, shown = single(), [toy_example(9, "the sun at home", "home")]
    queries = [toy_example(number, text, "dog") for number, text in enumerate(("we felt happy", "low", "a dog"))]
    asked = [Asked(task, build_prompt(task, query, shown), query) for query in queries]
    model.answer(asked)
    readings = model.reader.read([one.prompt for one in asked])
    whole = sum(len(one.ids) for one in readings)
    shared = int((readings[0].blocks < 2).sum())
    assert sum(read) == whole - 2 * shared
    read.clear()
    with remembering(model):
        apart = [model.answer([one])[0] for one in asked]
    assert sum(read) == whole - 2 * shared
    for found, expected in zip(apart, model.answer(asked), strict=True):
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    read.clear()
    model.answer(asked[:1])
    assert sum(read) == len(readings[0].ids)  # nothing is kept after the block
    monkeypatch.setattr(module, "REMEMBERED", 0)
    read.clear()
    with remembering(model):
        for one in asked:
            model.answer([one])
    assert sum(read) == whole  # too much was held each time, so all was read again


def test_what_is_remembered_holds_nothing_else(model: PrefixModel) -> None:
    readings = model.reader.read([asked.prompt for asked in questions(6, shown=3)])
    held = BlockStates(model.language)
    with torch.no_grad():
        held.states([one.ids for one in readings], [one.blocks for one in readings], [None] * 6)
    kept = [tensor for block in held._known.values() for tensor in (block.states, block.memory)]
    assert len(held._known) > 2
    assert held._bytes == sum(tensor.untyped_storage().nbytes() for tensor in kept)


def test_speech_in_a_block(base: Base) -> None:
    model = build_prefix(base, blocks=True)
    vectors = 0.1 * torch.randn(5, model.config.hidden_size, generator=torch.Generator().manual_seed(2))
    model.listen(lambda queries: [vectors for _ in queries])
    asked = spoken()
    (answer,) = model.answer([asked])
    with torch.no_grad():
        logits = model(**model.encode([asked]))[0, : asked.classes]
    np.testing.assert_allclose(answer.scores, logits.double().numpy(), atol=1e-4)
