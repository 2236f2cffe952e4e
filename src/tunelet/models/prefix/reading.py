"""Prompts to token ids, and where in them the answer slot, each class name, and speech stand. Not here: a model.

A prompt is tokenised line by line, and each different line once: definitions and guidelines come back in every prompt,
texts in many. For a tokenizer that parts words at blanks, as BERT's does, that gives the tokens of the whole text. The
end of the prompt is the slot::

    [CLS] ... Output: [MASK] [SEP]

Example:
    >>> reading = PromptReader(base.tokenizer).read([asked.prompt])[0]                  # doctest: +SKIP
    >>> reading.ids[reading.slot] == base.tokenizer.mask_token_id                       # doctest: +SKIP
    True
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunelet.base.errors import BaseModelError, DataError, Problem
from tunelet.data.understanding.prompt import Prompt
from tunelet.models.prefix.blocks import block_starts

#: Lines that are remembered; then it begins anew.
LINES = 200_000

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Reading:
    """A prompt as tokens.

    Attributes:
        ids: (T,) token ids, special ones included; where speech stands, `speech[1]` times the id of padding.
        slot: place of the answer slot.
        spans: (O, 2) first and last-but-one token of each of the prompt's occurrences.
        blocks: (T,) the block of each token (`models.prefix.blocks`).
        speech: first place of speech and how many it takes, or None.
    """

    ids: Ids
    slot: int
    spans: Ids
    blocks: Ids
    speech: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class _Line:
    ids: Ids
    starts: list[int]
    ends: list[int]


class PromptReader:
    """Reads prompts with a fast tokenizer that has a mask.

    Raises:
        BaseModelError: the tokenizer has no token for the slot.
    """

    def __init__(self, tokenizer: Any) -> None:
        if tokenizer.mask_token_id is None:
            message = "the tokenizer has no mask token, and the answer slot needs one"
            raise BaseModelError(Problem(message, hint="take an encoder such as BERT; causal models answer by writing"))
        self._tokenizer = tokenizer
        self._lines: dict[str, _Line] = {}
        around = list(tokenizer(tokenizer.mask_token)["input_ids"])
        place = around.index(tokenizer.mask_token_id)
        self._first = np.array(around[:place], dtype=np.int64)
        self._last = np.array(around[place:], dtype=np.int64)  # the slot and what ends an input
        self._filler = tokenizer.pad_token_id or 0

    def count(self, text: str) -> int:
        """Tokens of a text with the slot and special tokens, tokenised as `read` does."""
        pieces = _lines(text)
        self._learn(pieces)
        return len(self._first) + len(self._last) + sum(len(self._lines[piece].ids) for piece in pieces)

    def read(self, prompts: Sequence[Prompt], speech: Sequence[int | None] | None = None) -> list[Reading]:
        """Read prompts.

        Args:
            speech: how many places the speech of each prompt takes; None where it has none.

        Raises:
            DataError: a class name has no token.
        """
        pieces = [_pieces(prompt) for prompt in prompts]
        self._learn(piece for one in pieces for piece, _ in one)
        places = speech or [None] * len(prompts)
        return [self._read(*one) for one in zip(prompts, pieces, places, strict=True)]

    def _learn(self, texts: Iterable[str]) -> None:
        wanted = dict.fromkeys(texts)
        missing = [text for text in wanted if text not in self._lines]
        if not missing:
            return
        if len(self._lines) + len(missing) > LINES:
            self._lines.clear()
            missing = list(wanted)
        found = self._tokenizer(
            missing,
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            truncation=False,
            padding=False,
            verbose=False,
        )
        for text, ids, offsets in zip(missing, found["input_ids"], found["offset_mapping"], strict=True):
            starts, ends = [start for start, _ in offsets], [end for _, end in offsets]
            self._lines[text] = _Line(np.array(ids, dtype=np.int64), starts, ends)

    def _read(self, prompt: Prompt, pieces: Sequence[tuple[str, int]], places: int | None) -> Reading:
        parts, starts, length, heard = [self._first], [], len(self._first), None
        for text, start in pieces:
            if prompt.speech is not None and start == prompt.speech[0]:
                heard = (length, places or 0)
                parts.append(np.full(places or 0, self._filler, dtype=np.int64))
            else:
                parts.append(self._lines[text].ids)
            starts.append(length)
            length += len(parts[-1])
        offsets = [start for _, start in pieces]
        spans = np.empty((len(prompt.occurrences), 2), dtype=np.int64)
        for number, occurrence in enumerate(prompt.occurrences):
            piece = bisect_right(offsets, occurrence.start) - 1
            line, begin = self._lines[pieces[piece][0]], offsets[piece]
            first = bisect_right(line.ends, occurrence.start - begin)
            after = bisect_left(line.starts, occurrence.end - begin)
            if first >= after:
                name = prompt.text[occurrence.start : occurrence.end]
                message = f"the class name {name!r} has no token in this model"
                raise DataError(Problem(message, hint="give the class another name in the task file"))
            spans[number] = starts[piece] + first, starts[piece] + after
        parts.append(self._last)
        return Reading(
            np.concatenate(parts), length, spans, _blocks(prompt, offsets, [len(one) for one in parts]), heard
        )


def _blocks(prompt: Prompt, offsets: Sequence[int], lengths: Sequence[int]) -> Ids:
    """The block of each token; pieces begin at `offsets`, before them stands the first token, behind them the slot."""
    starts, blocks = block_starts(prompt)
    own = [blocks[bisect_right(starts, offset) - 1] for offset in offsets]
    return np.repeat(np.array([0, *own, blocks[-1]], dtype=np.int64), lengths)


def _pieces(prompt: Prompt) -> list[tuple[str, int]]:
    """The lines of a prompt with their offsets; the marker of speech is a piece of its own."""
    found, start = [], 0
    for line in _lines(prompt.text):
        end = start + len(line)
        if prompt.speech is not None and start <= prompt.speech[0] < end:
            cuts = (start, *prompt.speech, end)
            found += [(prompt.text[a:b], a) for a, b in pairwise(cuts) if a < b]
        else:
            found.append((line, start))
        start = end
    return found


def _lines(text: str) -> list[str]:
    """Lines with their ends; joined they are the text."""
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return [line for line in lines if line]
