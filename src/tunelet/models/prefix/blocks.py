"""A prompt as blocks that are read apart: what is the same for all queries of a task is computed once.

    block 0        instruction, definitions, guidelines: sees itself
    blocks 1..k    demonstrations: each sees block 0 and itself
    block k + 1    the query and the answer slot: sees everything

Blocks after the first all begin at the same position, so demonstrations have no order and none depends on another: k
of them and k + 1 share all but the new one. A prompt gives the same states in one pass with the mask of `visible` and
block by block with `BlockStates`. After Ratner et al. 2023 (parallel context windows), here for an encoder. Not here:
reading prompts (`reading`), heads, or the choice between blocks and whole prompts (`model`).

Example:
    >>> blocks = np.array([0, 0, 1, 1, 2])
    >>> positions_of(blocks).tolist()
    [0, 1, 2, 3, 2]
    >>> visible(torch.from_numpy(told_apart(blocks, 0))[None])[0, 0, 2].tolist()
    [True, True, True, True, False]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from tunelet.data.understanding.prompt import Prompt

Ids = NDArray[np.int64]
_SHARED = ("instruction", "definitions", "guidelines")
#: More blocks than a prompt has.
_MOST = 1 << 16
#: Places of a batch of blocks, padding included.
PLACES = 4096
#: Bytes that are remembered before all are let go; a place of MiniLM takes 20 kB.
REMEMBERED = 1 << 30


def block_starts(prompt: Prompt) -> tuple[list[int], list[int]]:
    """Offsets at which parts of a prompt begin, and the block of each part."""
    shown = len(prompt.demonstrations)
    starts, blocks, demonstration = [], [], 0
    for part in prompt.parts:
        demonstration += part.kind == "demonstration"
        starts.append(part.start)
        blocks.append(0 if part.kind in _SHARED else demonstration if part.kind == "demonstration" else shown + 1)
    return starts, blocks


def positions_of(blocks: Ids) -> Ids:
    """(T,) positions: block 0 from 0 on, every other block from the end of block 0 on."""
    shared = int((blocks == 0).sum())
    begins = np.flatnonzero(np.diff(blocks, prepend=-1))
    lengths = np.diff(np.append(begins, len(blocks)))
    places = np.arange(len(blocks)) - np.repeat(begins, lengths)
    found: Ids = np.where(blocks == 0, places, places + shared)
    return found


def told_apart(blocks: Ids, prompt: int) -> Ids:
    """(T,) numbers of a prompt's blocks that tell them from those of other prompts in a row, as `visible` takes them.

    Block 0 is everybody's.

    Args:
        blocks: (T,) the block of each token.
        prompt: its number in the row, from 0.
    """
    own = np.where(blocks == blocks[-1], _MOST - 1, blocks)
    found: Ids = np.where(blocks == 0, 0, prompt * _MOST + own)
    return found


def visible(blocks: Tensor) -> Tensor:
    """(B, 1, T, T) bool, True where a query (third axis) sees a key (fourth).

    Args:
        blocks: (B, T) block of each token as `told_apart` numbers it, -1 for padding, which nobody sees.
    """
    keys, queries = blocks[:, None, :], blocks[:, :, None]
    asks = (queries % _MOST == _MOST - 1) & (queries // _MOST == keys // _MOST)
    seen = (keys == 0) | (keys == queries) | asks
    return (seen & (keys >= 0))[:, None]


@dataclass(frozen=True, eq=False)
class Block:
    """A block that was read.

    Attributes:
        states: (L, H) last states.
        memory: (layers, 2, heads, L, width of a head) keys and values, which later blocks see.
    """

    states: Tensor
    memory: Tensor


class _Before(DynamicCache):  # type: ignore[misc]
    """Keys and values before a batch of blocks, with room for its own after them: each is written once.

    Args:
        memory: (layers, 2, B, heads, T, width of a head).
        own: places at the end that the batch itself fills.
    """

    def __init__(self, memory: Tensor, own: int) -> None:
        super().__init__()
        self._memory, self._own = memory, own

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """All keys and values of a layer."""
        keys, values = self._memory[layer_idx]
        keys[:, :, -self._own :], values[:, :, -self._own :] = key_states, value_states
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Places before the batch."""
        return self._memory.shape[-2] - self._own


class BlockStates:
    """Last states of prompts of the same weights, block by block; blocks that come again are remembered.

    Args:
        language: an encoder of `transformers` that takes ``past_key_values``, in evaluation mode.
    """

    def __init__(self, language: Any) -> None:
        self._language = language
        self._device = next(language.parameters()).device
        #: by the tokens of block 0, and, of a demonstration, its own after them
        self._known: dict[tuple[bytes, ...], Block] = {}
        self._bytes = 0
        # of keys and values of a batch; fresh memory of this size for each costs a quarter of the time
        self._scratch = torch.empty(0, device=self._device)

    def states(self, ids: Sequence[Ids], blocks: Sequence[Ids], embedded: Sequence[Tensor | None]) -> list[Tensor]:
        """(T, H) last states of each prompt.

        Args:
            ids: (T,) tokens of each.
            blocks: (T,) the block of each token.
            embedded: (L, H) input embeddings of a prompt's last block, where they are not those of its tokens.
        """
        if self._bytes > REMEMBERED:
            self._known.clear()
            self._bytes = 0
        apart = [_apart(*one) for one in zip(ids, blocks, strict=True)]
        self._learn({(first.tobytes(),): first for first, _, _ in apart})
        self._learn({(first.tobytes(), one.tobytes()): one for first, shown, _ in apart for one in shown})
        return self._read_last(apart, embedded)

    def _learn(self, wanted: dict[tuple[bytes, ...], Ids]) -> None:
        """Read what is not known yet; what a block sees before it is known."""
        missing = sorted((key for key in wanted if key not in self._known), key=lambda key: len(wanted[key]))
        while missing:
            part = missing[-max(1, PLACES // len(wanted[missing[-1]])) :]
            del missing[-len(part) :]
            before = [[self._known[key[:1]]] if len(key) > 1 else [] for key in part]
            states, memory = self._read([wanted[key] for key in part], [None] * len(part), before)
            own = memory[..., -states.shape[1] :, :]
            for row, key in enumerate(part):
                length = len(wanted[key])
                # copies: a view would hold the whole batch, with what stood before each of its blocks
                block = Block(states[row, :length].clone(), own[:, :, row, :, :length].clone())
                self._known[key] = block
                self._bytes += block.states.nbytes + block.memory.nbytes

    def _read_last(
        self, apart: Sequence[tuple[Ids, list[Ids], Ids]], embedded: Sequence[Tensor | None]
    ) -> list[Tensor]:
        found: list[Tensor] = []
        seen = [
            [self._known[first.tobytes(),], *(self._known[first.tobytes(), one.tobytes()] for one in shown)]
            for first, shown, _ in apart
        ]
        places = [
            sum(len(block.states) for block in before) + len(last)
            for before, (_, _, last) in zip(seen, apart, strict=True)
        ]
        start = 0
        while start < len(apart):
            end = start + 1
            while end < len(apart) and (end + 1 - start) * max(places[start : end + 1]) <= 4 * PLACES:
                end += 1
            states, _ = self._read([last for _, _, last in apart[start:end]], embedded[start:end], seen[start:end])
            found += [
                torch.cat([*(block.states for block in before), own[: len(last)]])
                for before, own, (_, _, last) in zip(seen[start:end], states, apart[start:end], strict=True)
            ]
            start = end
        return found

    def _read(
        self, ids: Sequence[Ids], embedded: Sequence[Tensor | None], before: Sequence[Sequence[Block]]
    ) -> tuple[Tensor, Tensor]:
        """Read blocks together: each sees itself and what is `before` it; its positions begin where block 0 ends.

        Returns:
            (B, W, H) last states; (layers, 2, B, heads, D + W, width of a head) keys and values, of what is before in
            the first D places, of the blocks in the others; good until the next call.
        """
        lengths = [len(one) for one in ids]
        width = max(lengths)
        tokens = np.zeros((len(ids), width), dtype=np.int64)
        positions = np.zeros((len(ids), width), dtype=np.int64)
        for row, (one, seen) in enumerate(zip(ids, before, strict=True)):
            start = len(seen[0].states) if seen else 0
            tokens[row, : len(one)] = one
            positions[row, : len(one)] = np.arange(start, start + len(one))
        held = [sum(len(block.states) for block in seen) for seen in before]
        deep = max(held)
        keys = torch.zeros((len(ids), deep + width), dtype=torch.bool, device=self._device)
        for row, (count, length) in enumerate(zip(held, lengths, strict=True)):
            keys[row, :count] = True
            keys[row, deep : deep + length] = True
        words = self._language.get_input_embeddings()(torch.from_numpy(tokens).to(self._device))
        for row, own in enumerate(embedded):
            if own is not None:
                words[row, : len(own)] = own.to(words)
        memory = self._before(before, held, deep + width, words.dtype)
        states = self._language(
            inputs_embeds=words,
            attention_mask=keys[:, None, None, :].expand(-1, 1, width, -1),
            position_ids=torch.from_numpy(positions).to(self._device),
            past_key_values=_Before(memory, width),
        ).last_hidden_state
        return states, memory

    def _before(
        self, before: Sequence[Sequence[Block]], held: Sequence[int], places: int, dtype: torch.dtype
    ) -> Tensor:
        """Keys and values before a batch, with room for its own; zeros where a row has less before it."""
        config = self._language.config
        heads = config.num_attention_heads
        shape = (config.num_hidden_layers, 2, len(before), heads, places, config.hidden_size // heads)
        if self._scratch.numel() < prod(shape) or self._scratch.dtype != dtype:
            self._scratch = torch.empty(prod(shape), dtype=dtype, device=self._device)
        memory = self._scratch[: prod(shape)].view(shape)
        for row, (blocks, count) in enumerate(zip(before, held, strict=True)):
            start = 0
            for block in blocks:
                end = start + len(block.states)
                memory[:, :, row, :, start:end] = block.memory
                start = end
            memory[:, :, row, :, count:] = 0.0  # what is hidden must be a number all the same
        return memory


def _apart(ids: Ids, blocks: Ids) -> tuple[Ids, list[Ids], Ids]:
    """Tokens of block 0, of each demonstration, and of the last block."""
    cuts = np.flatnonzero(np.diff(blocks)) + 1
    first, *shown, last = np.split(ids, cuts)
    return first, shown, last
