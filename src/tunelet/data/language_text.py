"""Sentences as token ids for training a language model: flat arrays, kept on disk, one sentence a row or packed.

Hypotheses are scored one by one, so a row is one sentence by default; packed rows waste nothing on padding and hold
several. Not here: what is masked (`data.masking`), the order of the rows (`data.batching`).

Example:
    >>> text = tokenise_sentences(path, tokenizer, max_length=64, cache_dir=None)       # doctest: +SKIP
    >>> text.row(0), len(packed(text, width=64))                                        # doctest: +SKIP
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunelet.base.errors import DataError, Problem
from tunelet.base.files import digest, sha256_file, write_atomic
from tunelet.data.token_cache import tokenizer_sha256

_VERSION = 1
_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class TokenisedText:
    """Rows of token ids; the arrays are read-only.

    Attributes:
        ids: (T,) int32, all rows one after the other, special tokens included.
        offsets: (N + 1,) int64, where each row begins, and the end.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        self.ids.setflags(write=False)
        self.offsets.setflags(write=False)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) tokens of each row."""
        return np.diff(self.offsets)

    def row(self, index: int) -> NDArray[np.int32]:
        """The tokens of row `index`; an IndexError beyond the last, as of a list."""
        start = range(len(self))[index]
        return self.ids[self.offsets[start] : self.offsets[start + 1]]

    def part(self, start: int, stop: int) -> TokenisedText:
        """Rows start to stop (exclusive)."""
        first, last = self.offsets[start], self.offsets[stop]
        return TokenisedText(self.ids[first:last].copy(), self.offsets[start : stop + 1] - first)

    def padded(self, rows: NDArray[np.int64], pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(B, L) ids of some rows, and where they are tokens."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        real = np.arange(int(lengths.max()))[None, :] < lengths[:, None]
        ids = np.full(real.shape, pad_id, dtype=np.int64)
        ids[real] = np.concatenate([self.ids[self.offsets[row] : self.offsets[row + 1]] for row in rows])
        return ids, real


def tokenise_sentences(file: Path, tokenizer: Any, max_length: int, cache_dir: Path | None) -> TokenisedText:
    """Tokenise a file with a sentence a line; a longer sentence becomes several rows.

    Special tokens are the tokenizer's own, or [CLS] and [SEP] or BOS and EOS around each row where it adds none.

    Args:
        file: the sentences (`data.novels.sentence_file`).
        tokenizer: a fast tokenizer of `transformers`.
        max_length: tokens of a row, the two special ones included.
        cache_dir: where token ids are kept, or None. A file there that is damaged is made again.

    Raises:
        DataError: the file has no sentence, or `max_length` leaves no room for one.
    """
    if max_length < 3:
        raise DataError(Problem(f"max_length is {max_length}: two tokens are special, so at least 3 are needed"))
    begin, end = _boundaries(tokenizer)
    path = None
    if cache_dir is not None:
        key = digest([_VERSION, sha256_file(file), tokenizer_sha256(tokenizer), max_length, begin, end])
        path = cache_dir / f"sentences-{key[:32]}.npz"
        if (found := _read(path)) is not None:
            return found
    parts: list[NDArray[np.int32]] = []
    lengths: list[int] = []
    room = max_length - 2
    for chunk in _chunks(file):
        rows = tokenizer(chunk, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
        for row in rows:
            for start in range(0, len(row), room):
                piece = row[start : start + room]
                parts.append(np.array([begin, *piece, end], dtype=np.int32))
                lengths.append(len(piece) + 2)
    if not parts:
        raise DataError(Problem("found no sentence", file))
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    text = TokenisedText(np.concatenate(parts), offsets)
    if path is not None:
        _write(path, text)
    return text


def packed(text: TokenisedText, width: int) -> TokenisedText:
    """Rows of up to `width` tokens, each as many whole sentences, in order, as fit.

    The token that begins a sentence stays at the beginning of a row alone; the one that ends it parts the sentences.

    Raises:
        DataError: a sentence is longer than `width`.
    """
    lengths = text.lengths
    if int(lengths.max()) > width:
        raise DataError(Problem(f"a sentence has {int(lengths.max())} tokens, more than the {width} of a packed row"))
    starts, used = [], width + 1
    for index, length in enumerate(lengths.tolist()):
        if used + length - 1 > width:
            starts.append(index)
            used = length
        else:
            used += length - 1
    keep = np.ones(len(text.ids), dtype=bool)
    joined = np.setdiff1d(np.arange(len(text)), starts)
    keep[text.offsets[joined]] = False
    gone = np.concatenate([[0], np.cumsum(~keep)])
    edges = text.offsets[[*starts, len(text)]]
    return TokenisedText(text.ids[keep], edges - gone[edges])


def _boundaries(tokenizer: Any) -> tuple[int, int]:
    begin = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    end = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    begin = end if begin is None else begin
    if begin is None:
        raise DataError(Problem("the tokenizer has neither [CLS] and [SEP] nor BOS and EOS"))
    return int(begin), int(end)


def _chunks(file: Path) -> Iterator[list[str]]:
    with open(file, encoding="utf-8", newline="\n") as lines:
        whole = (line.strip() for line in lines)
        said = (line for line in whole if line)
        while chunk := list(islice(said, _CHUNK)):
            yield chunk


def _read(path: Path) -> TokenisedText | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            ids, offsets = stored["ids"], stored["offsets"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None  # absent or damaged: it can be made again
    sound = ids.dtype == np.int32 and offsets.ndim == 1 and len(offsets) > 1 and int(offsets[-1]) == len(ids)
    return TokenisedText(ids, offsets) if sound and bool((np.diff(offsets) > 0).all()) else None


def _write(path: Path, text: TokenisedText) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, ids=text.ids, offsets=text.offsets)
    write_atomic(path, buffer.getvalue())
