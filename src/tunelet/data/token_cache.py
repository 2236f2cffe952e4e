"""Token ids on disk, named by the hash of everything that they depend on. Not here: tokenising (`data.tokens`).

A file's name holds the hash of the texts, the tokenizer and the length, so a stale one is never read; a damaged
one is made again. Files are .npz, read without pickle and written atomically. Labels are not kept: they come with
the dataset, and other labels of the same texts need no new tokens.

Example:
    >>> cache = TokenCache(Path("cache"), tokenizer_sha256(tokenizer), max_length=128)     # doctest: +SKIP
    >>> cache.read("train", ["no such texts"]) is None                                      # doctest: +SKIP
    True
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunelet.base.files import digest, write_atomic

# To be raised when the content of a file changes its meaning.
_VERSION = 1

Tokens = tuple[NDArray[np.int32], NDArray[np.int64], int]


def tokenizer_sha256(tokenizer: Any) -> str:
    """Hex sha256 over what a fast tokenizer does to a text: normaliser, splitting, vocabulary, special tokens.

    Its truncation and padding are left out, for they are settings of the last call, not of the tokenizer.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    return digest({key: value for key, value in state.items() if key not in ("truncation", "padding")})


class TokenCache:
    """A folder of token ids.

    Args:
        folder: made when something is first written.
        tokenizer: hash of the tokenizer.
        max_length: tokens to which texts were cut.
    """

    def __init__(self, folder: Path, tokenizer: str, max_length: int) -> None:
        self.folder = folder
        self._tokenizer = tokenizer
        self._max_length = max_length

    def path(self, split: str, texts: Sequence[str]) -> Path:
        """The file for these texts, whether it exists or not."""
        key = digest([_VERSION, self._tokenizer, self._max_length, digest(list(texts))])
        return self.folder / f"tokens-{split}-{key[:32]}.npz"

    def read(self, split: str, texts: Sequence[str]) -> Tokens | None:
        """Ids, offsets and the number of truncated texts; None if there is no such file, or it is damaged."""
        try:
            with np.load(self.path(split, texts), allow_pickle=False) as stored:
                ids, offsets, truncated = stored["ids"], stored["offsets"], int(stored["truncated"])
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error):
            return None  # absent or damaged: what it would hold can be computed, so there is nothing to tell
        sound = (
            ids.dtype == np.int32
            and ids.ndim == 1
            and offsets.dtype == np.int64
            and offsets.shape == (len(texts) + 1,)
            and offsets[0] == 0
            and offsets[-1] == len(ids)
            and bool(np.all(np.diff(offsets) >= 0))
        )
        return (ids, offsets, truncated) if sound else None

    def write(
        self, split: str, texts: Sequence[str], ids: NDArray[np.int32], offsets: NDArray[np.int64], truncated: int
    ) -> bool:
        """Keep tokens. Returns False where the folder cannot be written: the work goes on without a cache."""
        buffer = io.BytesIO()
        np.savez(buffer, ids=ids, offsets=offsets, truncated=np.int64(truncated))
        try:
            write_atomic(self.path(split, texts), buffer.getvalue())
        except OSError:
            return False
        return True
