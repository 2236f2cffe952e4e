"""Attention in segments against the same over whole rows, under masks of many shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import BertForMaskedLM

from fast_models import config, engine_of, stir
from tunelet.models.declared import READS_SEGMENTS
from tunelet.models.prefix.blocks import visible
from tunelet.tuning.fast import attention, engine, segments
from tunelet.tuning.fast.heads import merge, split
from tunelet.tuning.fast.segments import Segments, find_segments

HEADS, WIDTH = 2, 8


def mask_of(rows: list[tuple[int, list[int]]]) -> Tensor:
    """Masks (B, 1, L, L) of rows with so many places in front and segments of these lengths, padded at the end."""
    longest = max(front + sum(own) for front, own in rows)
    mask = torch.zeros(len(rows), 1, longest, longest, dtype=torch.bool)
    for row, (front, own) in enumerate(rows):
        start = front
        mask[row, 0, :front, :front] = True
        for size in own:
            mask[row, 0, start : start + size, :front] = True
            mask[row, 0, start : start + size, start : start + size] = True
            start += size
        mask[row, 0, start:, :front] = True  # whoever is padding may see: nobody looks at it
    return mask


def found(mask: Tensor) -> Segments:
    made = find_segments(mask, torch.float64)
    assert made is not None
    return made


def whole(joined: Tensor, mask: Tensor) -> Tensor:
    """The same by plain attention over whole rows; 0 at padding."""
    batch = len(mask)
    q, k, v = split(joined, batch, 3, HEADS)
    bias = (
        torch.zeros(mask.shape, dtype=joined.dtype).masked_fill_(~mask, attention.FAR)[:, 0].repeat_interleave(HEADS, 0)
    )
    context = torch.softmax(q @ k.transpose(1, 2) * q.shape[-1] ** -0.5 + bias, -1) @ v
    there = mask[:, 0].diagonal(dim1=1, dim2=2).flatten()
    return merge(context, batch, HEADS) * there[:, None]


SHAPES = st.lists(
    st.tuples(st.integers(0, 6), st.lists(st.integers(1, 9), min_size=2, max_size=6)), min_size=1, max_size=4
)


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.booleans())
def test_context_and_gradient_are_those_of_whole_rows(rows: list[tuple[int, list[int]]], small: bool) -> None:
    mask = mask_of(rows)
    made = find_segments(mask, torch.float64)
    if made is None:  # not worth it
        return
    generator = torch.Generator().manual_seed(len(rows))
    size = mask.shape[0] * mask.shape[-1]
    joined = torch.randn(size, 3 * WIDTH, dtype=torch.float64, generator=generator, requires_grad=True)
    upstream = torch.randn(size, WIDTH, dtype=torch.float64, generator=generator)
    piece, attention.PIECE = attention.PIECE, 40 if small else attention.PIECE  # several pieces, or one
    try:
        context = made.forward(joined.detach(), HEADS, lambda *_: None)
        gradient = made.backward(upstream, joined.detach(), HEADS, lambda *_: None)
    finally:
        attention.PIECE = piece
    expected = whole(joined, mask)
    torch.testing.assert_close(context, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, joined, upstream)[0])


def test_segments_of_like_length_are_computed_together_and_what_is_in_front_once() -> None:
    made = found(mask_of([(3, [8, 2, 7, 6]), (3, [8, 2, 1, 1])]))
    assert [tuple(part.places.shape) for part in made.parts] == [(2, 3), (4, 8), (2, 2), (2, 1)]
    assert [part.before.shape[1] for part in made.parts] == [0, 3, 3, 3]
    places = torch.cat([part.places.flatten()[part.there] for part in made.parts])
    assert sorted(places.tolist()) == [*range(26), *range(26, 26 + 15)]  # all but the padding, each once


def test_a_row_of_padding_alone_takes_nothing_and_gives_nothing() -> None:
    mask = mask_of([(2, [3, 3, 3]), (0, [])])
    joined = torch.randn(22, 3 * WIDTH, dtype=torch.float64)
    context = found(mask).forward(joined, HEADS, lambda *_: None)
    torch.testing.assert_close(context, whole(joined, mask))
    assert context[11:].eq(0).all()


def test_what_is_hidden_within_a_segment_stays_hidden() -> None:
    # two prompts of two demonstrations and a query, after definitions: a demonstration does not see the other
    blocks = torch.tensor([[0, 0, 1, 1, 2, 2, 65535, 65537, 65537, 131071, -1, -1]])
    mask = visible(blocks)
    made = found(mask)
    assert [part.places.tolist() for part in made.parts[1:]] == [[[2, 3, 4, 5, 6]], [[7, 8, 9]]]
    joined = torch.randn(12, 3 * WIDTH, dtype=torch.float64)
    torch.testing.assert_close(made.forward(joined, HEADS, lambda *_: None), whole(joined, mask))


@pytest.mark.parametrize(
    "mask",
    [
        torch.ones(1, 1, 6, 6, dtype=torch.bool),
        torch.ones(6, 6).tril().bool()[None, None],
        torch.ones(6, 6).triu().bool()[None, None],
        (torch.eye(6) + torch.eye(6).flip(1)).bool()[None, None],
    ],
    ids=["all see all", "backwards", "forwards", "across"],
)
def test_where_nothing_is_apart_rows_are_left_whole(mask: Tensor) -> None:
    assert find_segments(mask, torch.float32) is None


def test_a_place_in_the_midst_that_does_not_see_itself_is_no_padding() -> None:
    mask = mask_of([(0, [3, 3, 3, 3])])
    mask[0, 0, 4, 4] = False
    joined = torch.randn(12, 3 * WIDTH, dtype=torch.float64)
    q, k, v = split(joined, 1, 3, HEADS)
    bias = torch.zeros(12, 12, dtype=torch.float64).masked_fill_(~mask[0, 0], attention.FAR)
    context = torch.softmax(q @ k.transpose(1, 2) * q.shape[-1] ** -0.5 + bias, -1) @ v
    torch.testing.assert_close(found(mask).forward(joined, HEADS, lambda *_: None), merge(context, 1, HEADS))


def encoder(targets: list[str], **changes: Any) -> Any:
    """A model whose every state counts, in training mode, with an adapter that does something."""
    torch.manual_seed(0)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=targets, lora_dropout=changes.pop("dropout", 0.0))
    model: Any = get_peft_model(BertForMaskedLM(config(**changes)), lora)
    stir(model)
    return model.train()


def ran(model: Any, mask: Tensor, *, embedded: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """Last states at places that are no padding, and gradients; the same random numbers every time."""
    torch.manual_seed(5)
    model.zero_grad()
    backbone = model.get_base_model().bert
    ids = (torch.arange(mask.shape[0] * mask.shape[-1]) % 50 + 5).view(mask.shape[0], -1)
    given = {"inputs_embeds": backbone.get_input_embeddings()(ids)} if embedded else {"input_ids": ids}
    states = backbone(attention_mask=mask, **given).last_hidden_state
    there = mask[:, 0].diagonal(dim1=1, dim2=2)
    states[there].square().sum().backward()
    return states[there].detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("embedded", [False, True], ids=["ids", "embeddings"])
@pytest.mark.parametrize("targets", [["query", "value"], ["query", "key", "value", "dense"]], ids=["qv", "all"])
def test_a_model_that_trains_gets_the_same_gradients(
    targets: list[str], embedded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = mask_of([(4, [5, 3, 6]), (2, [4, 4])])
    plain, _ = ran(encoder(targets), mask, embedded=embedded)
    model = encoder(targets)
    fast = engine_of(model)
    assert getattr(fast.backbone, READS_SEGMENTS)
    states, gradients = ran(model, mask, embedded=embedded)
    torch.testing.assert_close(states, plain, atol=1e-4, rtol=1e-4)
    monkeypatch.setattr(engine, "find_segments", lambda *_: None)
    dense, expected = ran(model, mask, embedded=embedded)
    torch.testing.assert_close(states, dense, atol=1e-5, rtol=1e-5)
    assert expected.keys() == gradients.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-4, rtol=1e-3)
    fast.detach()
    assert not hasattr(fast.backbone, READS_SEGMENTS)


def test_with_dropout_the_gradient_is_that_of_the_masks_that_were_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same draws give the same loss, and a step along the gradient changes it by as much as the gradient says."""
    monkeypatch.setattr(segments, "_WORTH", 2.0)
    rates = {"dropout": 0.2, "attention_probs_dropout_prob": 0.2, "hidden_dropout_prob": 0.1}
    model = encoder(["query", "key", "value", "dense"], **rates).double()
    engine_of(model, torch.float64)
    mask = mask_of([(4, [5, 3, 6]), (2, [4, 4])])
    first, gradients = ran(model, mask)
    again, _ = ran(model, mask)
    assert torch.equal(first, again)
    name, parameter = next((n, p) for n, p in model.named_parameters() if p.requires_grad and "lora_B" in n)
    direction, step = torch.randn_like(parameter), 1e-6
    with torch.no_grad():
        parameter.add_(step * direction)
    more, _ = ran(model, mask)
    slope = (more.square().sum() - first.square().sum()) / step
    torch.testing.assert_close(slope, (gradients[name] * direction).sum(), rtol=1e-3, atol=1e-6)
