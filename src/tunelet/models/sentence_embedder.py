"""A base as a sentence encoder: the mean of its last states, of length one; frozen, and each text computed once.

What it gives depends on the text alone, so it is kept: in memory for every text, and on disk for the pools that
demonstrations are drawn from (`stored`). Not here: which texts are near each other
(`data.understanding.demonstrations`).

Example:
    >>> embedder = SentenceEmbedder(load_base(ModelSettings()))                         # doctest: +SKIP
    >>> near, far = embedder.embed(["a dog", "a puppy", "a tax"])[1:] @ embedder.embed(["a dog"])[0]    # doctest: +SKIP
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModel

from tunelet.base.files import digest, write_atomic
from tunelet.data.batching import in_order
from tunelet.models.bases import Base, usable_positions
from tunelet.models.loading import from_base, refuse_lost

#: Longest text in tokens; what is longer is cut at the end.
LONGEST = 256
#: Places of a batch, padding included.
PLACES = 4096
#: To be raised when the same text would get another embedding.
_VERSION = 1

Floats = NDArray[np.float32]


class SentenceEmbedder:
    """Embeddings of texts by a frozen base. No `nn.Module`: what holds one does not train it, nor save it.

    Args:
        base: an encoder; its weights are read when they are first needed.
    """

    def __init__(self, base: Base) -> None:
        self.base = base
        self.width = int(base.config.hidden_size)
        self._model: Any = None
        self._rows: dict[str, int] = {}
        self._kept = np.empty((0, self.width), dtype=np.float32)

    def embed(self, texts: Sequence[str]) -> Floats:
        """(N, H) rows of length one, in order; a row of zeros for a text without a token."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._rows]
        if missing:
            self._keep(missing, self._computed(missing))
        found: Floats = self._kept[[self._rows[text] for text in texts]] if texts else self._kept[:0]
        return found

    def stored(self, texts: Sequence[str], cache: Path, tell: Callable[[int], None] | None = None) -> Floats:
        """The same as `embed`, kept in a file of `cache` that is named by all texts and the base's fingerprint.

        Args:
            tell: told how many texts are to be computed, if any are.
        """
        path = cache / f"embeddings-{digest([_VERSION, self.base.fingerprint, LONGEST, list(texts)])[:32]}.npz"
        missing = [text for text in dict.fromkeys(texts) if text not in self._rows]
        if missing:
            found = _read(path, len(texts), self.width)
            if found is not None:
                self._keep(*_first_of_each(texts, found, self._rows))
            elif tell is not None:
                tell(len(missing))
        rows = self.embed(texts)
        if not path.is_file():
            buffer = io.BytesIO()
            np.savez(buffer, embeddings=rows)
            write_atomic(path, buffer.getvalue())
        return rows

    def embed_vectors(self, vectors: Sequence[Tensor]) -> Floats:
        """(N, H) for inputs that are vectors of the width of word embeddings, (S_i, H) each: speech.

        They stand between the embeddings of the special tokens, as the words of a text would. Nothing is kept, and no
        gradient goes through it.
        """
        model, tokenizer = self._loaded(), self.base.tokenizer
        words = model.get_input_embeddings().weight
        first, last = words[tokenizer.cls_token_id], words[tokenizer.sep_token_id]
        room = min(LONGEST, usable_positions(self.base.config) or LONGEST) - 2
        made = np.empty((len(vectors), self.width), dtype=np.float32)
        for number, one in enumerate(vectors):
            given = torch.cat([first[None], one.detach().to(words)[:room], last[None]])[None]
            with torch.inference_mode():
                hidden = model(inputs_embeds=given, attention_mask=torch.ones(given.shape[:2])).last_hidden_state
            made[number] = _unit(hidden.mean(1).numpy())[0]
        return made

    def _keep(self, texts: Sequence[str], rows: Floats) -> None:
        start = len(self._rows)
        if start + len(texts) > len(self._kept):
            more = max(1024, len(texts), len(self._kept))
            self._kept = np.concatenate([self._kept, np.empty((more, self.width), dtype=np.float32)])
        self._kept[start : start + len(texts)] = rows
        self._rows.update({text: start + i for i, text in enumerate(texts)})

    def _computed(self, texts: Sequence[str]) -> Floats:
        model, tokenizer = self._loaded(), self.base.tokenizer
        room = min(LONGEST, usable_positions(self.base.config) or LONGEST)
        ids = tokenizer(list(texts), truncation=True, max_length=room, padding=False)["input_ids"]
        lengths = np.array([len(row) for row in ids])
        made = np.zeros((len(texts), self.width), dtype=np.float32)
        for rows in _batches(lengths):
            padded = torch.zeros((len(rows), int(lengths[rows].max())), dtype=torch.long)
            mask = torch.zeros_like(padded)
            for place, row in enumerate(rows):
                padded[place, : len(ids[row])] = torch.tensor(ids[row], dtype=torch.long)
                mask[place, : len(ids[row])] = 1
            with torch.inference_mode():
                hidden = model(input_ids=padded, attention_mask=mask).last_hidden_state  # (B, T, H)
            share = mask[..., None].float()
            made[rows] = _unit(((hidden * share).sum(1) / share.sum(1).clamp(min=1)).numpy())
        return made

    def _loaded(self) -> Any:
        if self._model is None:
            config = type(self.base.config).from_dict(self.base.config.to_dict())
            model, report = from_base(AutoModel, self.base, config, "sdpa", what="sentence encoder")
            refuse_lost([name for name in report["missing_keys"] if "pooler." not in name], self.base)
            self._model = model.eval().requires_grad_(False)
        return self._model


def _batches(lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Texts of like length together, at most `PLACES` in a batch."""
    found = []
    for rows in in_order(lengths, 256):
        most = max(1, PLACES // max(1, int(lengths[rows[0]])))
        found += [rows[start : start + most] for start in range(0, len(rows), most)]
    return found


def _unit(rows: Floats) -> Floats:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def _read(path: Path, count: int, width: int) -> Floats | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            rows: Floats = stored["embeddings"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # absent or damaged: it can be made again
    sound = rows.dtype == np.float32 and rows.shape == (count, width) and bool(np.isfinite(rows).all())
    return rows if sound else None


def _first_of_each(texts: Sequence[str], rows: Floats, known: dict[str, int]) -> tuple[list[str], Floats]:
    """Texts that are not known yet, each once, and their rows."""
    places: dict[str, int] = {}
    for place, text in enumerate(texts):
        if text not in known:
            places.setdefault(text, place)
    return list(places), rows[list(places.values())]
