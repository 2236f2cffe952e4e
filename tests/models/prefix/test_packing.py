"""Prompts in rows: who stands where, and that what is shared changes no logit and no gradient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toy_prefix import base_in, questions, single, spoken, texts
from toy_understanding import toy_example
from tunelet.data.understanding.asked import Asked
from tunelet.data.understanding.prompt import build_prompt
from tunelet.models.prefix.model import PrefixModel, build_prefix
from tunelet.models.prefix.packing import LONGEST, pack, row_places
from tunelet.tuning.methods import prepare
from tunelet.tuning.settings import TuningSettings


def alike(count: int) -> list[Asked]:
    """Questions that begin alike, with up to three demonstrations."""
    said, task = texts(4 * count, seed=5), single()
    made = []
    for number in range(count):
        names = [task.label_names[i % 3] for i in range(number, number + 4)]
        mine = [toy_example(4 * number + i, said[4 * number + i], name) for i, name in enumerate(names)]
        made.append(Asked(task, build_prompt(task, mine[0], mine[1 : 1 + number % 4], order=[2, 0, 1]), mine[0]))
    return made


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 9)), min_size=1, max_size=12), st.sampled_from([1, 8, 64]))
def test_every_prompt_stands_once_beside_others_that_begin_alike(drawn: list[tuple[int, int]], width: int) -> None:
    firsts = {1: [5], 2: [5, 6], 3: [7, 7]}
    ids = [[*firsts[kind], *range(rest)] for kind, rest in drawn]
    blocks = [[*[0] * len(firsts[kind]), *[1] * rest] for kind, rest in drawn]
    rows = pack(ids, blocks, width)
    assert sorted(member for row in rows for member in row.members) == list(range(len(drawn)))
    for row in rows:
        taken: dict[int, int] = {}
        for member, number in enumerate(row.members):
            assert drawn[number][0] == drawn[row.members[0]][0] and row.shared == len(firsts[drawn[number][0]])
            for token, word in enumerate(ids[number]):
                place = row.place(member, token)
                assert taken.setdefault(place, word) == word
                assert token < row.shared or list(taken).count(place) == 1
        assert sorted(taken) == list(range(row.length))


def test_rows_are_as_long_as_pays() -> None:
    def cost(shared: int, more: float) -> float:
        places = shared + more
        return (places + places**2 / (3 * 384)) / more

    for shared in (20, 90, 280):
        best = row_places(shared, 384)
        assert cost(shared, best) < min(cost(shared, 0.8 * best), cost(shared, 1.25 * best))
    ids = [[1] * 90 + [2] * 60] * 16
    rows = pack(ids, [[0] * 90 + [1] * 60] * 16, 384)
    assert [len(row.members) for row in rows] == [6, 5, 5] and rows[0].length == 90 + 6 * 60


def test_rows_of_a_model_that_computes_no_scores_between_prompts_are_long() -> None:
    ids = [[1] * 90 + [2] * 60] * 100
    rows = pack(ids, [[0] * 90 + [1] * 60] * 100, 384, apart=True)
    assert [len(row.members) for row in rows] == [50, 50] and all(row.length <= LONGEST for row in rows)


@pytest.mark.parametrize("speech", [False, True], ids=["text", "speech"])
def test_the_fast_path_reads_long_rows_and_changes_nothing(tmp_path: Path, speech: bool) -> None:
    model = build_prefix(base_in(tmp_path / "base"), blocks=True)
    vectors = 0.1 * torch.randn(5, model.config.hidden_size, generator=torch.Generator().manual_seed(2))
    model.listen(lambda queries: [vectors for _ in queries])
    asked = [*alike(9), *([spoken()] if speech else [])]
    section = TuningSettings.model_validate({"method": "lora", "targets": "attention+linear", "r": 2})
    tuned = prepare(model, section, total_steps=9, seed=1)
    model.eval()
    parts = [model.encode([one]) for one in asked]
    expected = [model(**part) for part in parts]
    assert len(model.encode(alike(9))["input_ids"]) > 1
    assert tuned.use_fast_path(torch.float32, seed=1) == "" and len(model.encode(alike(9))["input_ids"]) == 1
    for row, part, alone in zip(model(**model.encode(asked)), parts, expected, strict=True):
        torch.testing.assert_close(row[: part["classes"].shape[1]], alone[0, :-1], atol=1e-4, rtol=1e-4)


def test_sharing_changes_neither_logits_nor_gradients(tmp_path: Path) -> None:
    model = build_prefix(base_in(tmp_path / "base"), blocks=True)
    vectors = 0.1 * torch.randn(5, model.config.hidden_size, generator=torch.Generator().manual_seed(2))
    model.listen(lambda queries: [vectors for _ in queries])
    asked = [*alike(5), spoken(), *questions(3), *alike(7)[5:]]
    batch = model.encode(asked)
    assert len(batch["input_ids"]) < len(asked) and batch["gold"].shape[0] == len(asked)
    parts = [model.encode([one]) for one in asked]
    together, apart = model(**batch), [model(**part) for part in parts]
    for row, part in zip(together, apart, strict=True):
        torch.testing.assert_close(row[: part.shape[1] - 1], part[0, :-1], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(row[-1], part[0, -1], atol=1e-4, rtol=1e-4)
    found = _gradients(model, model.loss(batch))
    expected = _gradients(model, torch.stack([model.loss(part) for part in parts]).mean())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-4, rtol=1e-3)


def _gradients(model: PrefixModel, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_numbers_of_an_array_or_a_list_are_the_same() -> None:
    ids, blocks = [[1, 2, 3], [1, 2, 4]], [[0, 0, 1], [0, 0, 1]]
    assert pack(ids, blocks, 8) == pack([np.array(one) for one in ids], [np.array(one) for one in blocks], 8)
