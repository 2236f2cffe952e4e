"""What a second-pass scorer is, and what all of them share: each text scored once, tokens, batches by length.

A scorer gets lists of hypotheses as plain texts and gives log probabilities, higher is better, in the same shape.
Not here: how a text is scored (one module a scorer), weights between scorers, anything about references.

Example:
    >>> unique = Unique.of([["a b", "a c"], ["a b"]])
    >>> unique.texts, unique.spread(np.array([1.0, 2.0]))
    (('a b', 'a c'), [array([1., 2.]), array([1.])])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tunelet.base.errors import InputError, Problem

Lists = Sequence[Sequence[str]]
Scores = list[NDArray[np.float64]]
#: Called with the texts (or lists) that are done, and all of them.
Progress = Callable[[int, int], None]
#: What happens to a text of more tokens than the model takes: it is refused, or scored as far as the model goes.
Overlong = Literal["error", "truncate"]
Ids = NDArray[np.int64]


class Scorer(Protocol):
    """Scores hypotheses."""

    def score(self, lists: Lists, *, progress: Progress | None = None) -> Scores:
        """Log probabilities.

        Args:
            lists: N-best lists of texts; a list may be empty, a text may be empty or repeated.
            progress: told how much is done.

        Returns:
            For each list an array of as many numbers as it has texts.

        Raises:
            InputError: a text is too long, and the scorer does not truncate.
        """


@dataclass(frozen=True, eq=False)
class Unique:
    """The different texts of some lists.

    Attributes:
        texts: each once, in the order in which they first come.
        places: for each list, the positions of its texts in `texts`.
    """

    texts: tuple[str, ...]
    places: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, lists: Lists) -> Unique:
        """Collect the texts of `lists`."""
        known: dict[str, int] = {}
        places = tuple(
            np.array([known.setdefault(text, len(known)) for text in texts], dtype=np.int64) for texts in lists
        )
        return cls(tuple(known), places)

    def spread(self, values: NDArray[np.float64]) -> Scores:
        """Values of the unique texts, back in the shape of the lists."""
        return [values[place] for place in self.places]


@dataclass(frozen=True, eq=False)
class Encoded:
    """Tokenised texts.

    Attributes:
        ids: token ids of each text.
        words: for each token the number of its word, -1 at special tokens.
        truncated: how many texts were cut.
    """

    ids: tuple[Ids, ...]
    words: tuple[Ids, ...]
    truncated: int

    @property
    def lengths(self) -> Ids:
        """Tokens of each text."""
        return np.array([len(row) for row in self.ids], dtype=np.int64)


def encode(
    texts: Sequence[str], tokenizer: Any, max_length: int, overlong: Overlong, *, special: bool = True
) -> Encoded:
    """Token ids of each text.

    Args:
        tokenizer: a fast tokenizer of `transformers`.
        max_length: tokens that a text may have, special tokens included where they are added.
        overlong: what is done to longer ones.
        special: whether [CLS] and [SEP], or what the tokenizer has in their place, are added.

    Raises:
        InputError: a text is longer, and `overlong` is "error"; all such texts are named.
    """
    if not texts:
        return Encoded((), (), 0)
    found = _call(tokenizer, list(texts), special).encodings
    long = {i: len(row.ids) for i, row in enumerate(found) if len(row.ids) > max_length}
    if long and overlong == "error":
        raise InputError(
            [
                Problem(
                    f"the hypothesis {_start(texts[i])!r} has {length} tokens, more than the {max_length} that the "
                    "model is given",
                    hint="a larger max_length, or overlong='truncate' to score its beginning",
                )
                for i, length in long.items()
            ]
        )
    if long:
        cut = _call(tokenizer, [texts[i] for i in long], special, truncation=True, max_length=max_length).encodings
        found = list(found)
        for i, row in zip(long, cut, strict=True):
            found[i] = row
    return Encoded(
        tuple(np.array(row.ids, dtype=np.int64) for row in found),
        tuple(np.array([-1 if w is None else w for w in row.word_ids], dtype=np.int64) for row in found),
        len(long),
    )


def _call(tokenizer: Any, texts: list[str], special: bool, **cutting: Any) -> Any:
    return tokenizer(
        texts,
        add_special_tokens=special,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
        **cutting,
    )


def budget_on(device: torch.device, given: int | None) -> int:
    """Tokens in a batch: as given, or what is fast. A CPU wants what fits into its caches, a GPU wants much."""
    if given is not None:
        return given
    return 512 if device.type == "cpu" else 32_768


def token_batches(lengths: Sequence[int] | NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Positions of texts of like length, the longest first, so many that padded they have at most `budget` tokens.

    The longest first, so that what does not fit into memory fails at once. A text beyond the budget comes alone.
    """
    known = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-known, kind="stable")
    start = 0
    while start < len(order):
        count = max(1, budget // max(1, int(known[order[start]])))
        yield order[start : start + count]
        start += count


def pad(rows: Sequence[Ids], pad_id: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(B, L) ids, and the mask of the real tokens; None in its place where nothing is padding, which is faster."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    width = int(lengths.max())
    if int(lengths.min()) == width:
        return torch.from_numpy(np.stack(rows)).to(device), None
    real = np.arange(width)[None, :] < lengths[:, None]
    ids = np.full(real.shape, pad_id, dtype=np.int64)
    ids[real] = np.concatenate(rows)
    return torch.from_numpy(ids).to(device), torch.from_numpy(real.astype(np.int64)).to(device)


def device_of(model: torch.nn.Module) -> torch.device:
    """Where a model's first parameter is."""
    return next(model.parameters()).device


def _start(text: str, shown: int = 60) -> str:
    return text if len(text) <= shown else f"{text[:shown]}..."
