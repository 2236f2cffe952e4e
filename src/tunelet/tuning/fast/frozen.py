"""What the frozen layers at the bottom of an encoder give for the texts of a run, computed once and held.

Below the lowest layer that trains nothing changes from step to step; where no dropout acts there either, a text's
hidden states are constants. They do not hang on the other texts of a batch, so real tokens alone are held, and padded
anew on use: T_i x H numbers for a text of T_i tokens, in the type in which the encoder computes.

A text is known by its token ids. Texts are computed in groups that are fixed beforehand, each at the first use of one
of its texts: what is held hangs on the list of texts and the budget, never on the batches that came before. So a run
that goes on from a saved state computes the same numbers again, to the bit, and a state holds none of them. The
shortest texts are held first: batches are of like length, so that a batch is held as a whole or not at all.

Not here: which layers are frozen (`engine`), their forward pass (`layer_function`).

Example:
    >>> held = FrozenStates(texts, compute, depth=4, like=x, budget=1 << 29, pad_id=0)     # doctest: +SKIP
    >>> x = held.states(input_ids, attention_mask)                                     # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: tokens of a group, padding included
GROUP = 4096
#: ids and mask (B, L) to the hidden states (B, L, H)
Compute = Callable[[Tensor, Tensor], Tensor]
Ids = NDArray[np.integer]


@dataclass(frozen=True)
class _Place:
    """Where a text's states are: the group it is computed with, and its rows in the store."""

    group: int
    rows: slice


class FrozenStates:
    """The hidden states of a list of texts behind the frozen layers.

    The memory is taken at once; torch gives it out page by page as it is filled.

    Args:
        texts: token ids of each, without padding; texts of the same ids count once.
        compute: the embeddings and the frozen layers. It has to give the same in every call.
        depth: how many layers these are.
        like: an empty tensor (0, H) of the type and on the device of the states.
        budget: bytes that may be held. What does not fit is computed each time.
        pad_id: token id of padding.

    Attributes:
        texts, kept: how many different texts there are, and how many of them fit into the budget.
    """

    def __init__(
        self, texts: Sequence[Ids], compute: Compute, *, depth: int, like: Tensor, budget: int, pad_id: int
    ) -> None:
        distinct = {_key(text): text for text in texts}
        self.depth = depth
        self.texts = len(distinct)
        self._compute = compute
        self._pad_id = pad_id
        self._groups: list[list[Ids]] = []
        self._places: dict[bytes, _Place] = {}
        self._filled: set[int] = set()
        most, tokens = budget // (like.shape[1] * like.itemsize), 0
        for key, text in sorted(distinct.items(), key=lambda item: (len(item[1]), item[0])):
            if tokens + len(text) > most:
                break
            if not self._groups or (len(self._groups[-1]) + 1) * len(text) > GROUP:
                self._groups.append([])
            self._places[key] = _Place(len(self._groups) - 1, slice(tokens, tokens + len(text)))
            self._groups[-1].append(text)
            tokens += len(text)
        self.kept = len(self._places)
        self._store = like.new_empty((tokens, like.shape[1]))

    @torch.inference_mode(False)
    @torch.no_grad()
    def states(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Hidden states (B, L, H) of a batch; zero at the padding of texts that are held.

        Args:
            input_ids: (B, L); a row that is not padded on the right is computed.
            attention_mask: (B, L), or None without padding.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        places = self._found(input_ids, mask)
        missing = [row for row, place in enumerate(places) if place is None]
        if len(missing) == len(places):
            return self._compute(input_ids, mask)
        held = [place for place in places if place is not None]
        for group in sorted({place.group for place in held} - self._filled):
            self._fill(group)
        x = self._store.new_zeros((*input_ids.shape, self._store.shape[1]))
        real = mask != 0
        if missing:
            real[missing] = False
            x[missing] = self._compute(input_ids[missing], mask[missing])
        # real tokens row by row, left to right: the order in which the places are joined
        rows = np.concatenate([np.arange(place.rows.start, place.rows.stop) for place in held])
        x[real] = self._store[torch.from_numpy(rows).to(self._store.device)]
        return x

    def tensors(self) -> list[Tensor]:
        """What is held, or will be."""
        return [self._store]

    def _found(self, input_ids: Tensor, mask: Tensor) -> list[_Place | None]:
        ids, real = input_ids.cpu().numpy(), mask.cpu().numpy() != 0
        lengths = real.sum(1)
        right = (real == (np.arange(ids.shape[1]) < lengths[:, None])).all(1)
        return [
            self._places.get(_key(row[:length])) if padded else None
            for row, length, padded in zip(ids, lengths, right, strict=True)
        ]

    def _fill(self, group: int) -> None:
        """Compute the texts of a group."""
        texts = self._groups[group]
        ids = np.full((len(texts), max(map(len, texts))), self._pad_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, : len(text)], mask[row, : len(text)] = text, 1
        computed = self._compute(torch.from_numpy(ids), torch.from_numpy(mask))
        for state, text in zip(computed, texts, strict=True):
            self._store[self._places[_key(text)].rows] = state[: len(text)]
        self._filled.add(group)


def _key(ids: Ids) -> bytes:
    return blake2b(np.ascontiguousarray(ids, dtype=np.int64).tobytes(), digest_size=16).digest()
