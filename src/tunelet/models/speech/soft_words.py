"""Spoken queries as vectors in the space of a language model's word embeddings, in the place of the query's words.

    words        what a search with a language model writes (`word_search`), tokenised: the fewest errors
    pieces       expected word embeddings under the encoder's head over word pieces (`soft_pieces`): about one vector a
                 piece, close to what the text would give, and a mixture where the encoder is in doubt
    characters   what the head over characters writes, tokenised

Words and characters are a cascade in one step: any language model, and no doubt is told.

Nothing here trains. What was heard is kept in memory, and on disk by the hash of the sound file and the fingerprint of
all that computes. Not here: prompts (`data.understanding.prompt`), the language model (`models.prefix`).

Example:
    >>> table = base.model.get_input_embeddings().weight                            # doctest: +SKIP
    >>> queries = SpokenQueries(load_encoder(folder), table, base.tokenizer)        # doctest: +SKIP
    >>> model.listen(queries); queries(examples)[0].shape                           # doctest: +SKIP
    torch.Size([9, 384])
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from tunelet.base.errors import BaseModelError, DataError, Problem
from tunelet.base.files import digest, sha256_bytes, sha256_file
from tunelet.data.token_cache import tokenizer_sha256
from tunelet.data.understanding.task import UnderstandingExample
from tunelet.models.evaluating import evaluating
from tunelet.models.speech.encoder_folder import LoadedEncoder
from tunelet.models.speech.features_cache import read_frames, write_frames
from tunelet.models.speech.protocol import SpeechFeatures
from tunelet.models.speech.word_search import require_search

How = Literal["words", "pieces", "characters"]
# To be raised when the same sound would give other vectors.
_VERSION = 1
#: a file and the part of it
_Sound = tuple[Path, tuple[float, float] | None]


class SpokenQueries:
    """Hears queries: a `models.prefix.protocol.SpeechVectors`.

    Args:
        loaded: the encoder, frozen.
        embeddings: (V, H) word embeddings of the language model; later changes of them are not noticed.
        tokenizer: of the language model.
        cache: folder for vectors, or None.
        how: see the top of the file.

    Attributes:
        made: sounds that were heard so far, those that were remembered not counted.

    Raises:
        BaseModelError: `how` is "pieces", and the encoder has no such head, or one for another tokenizer; or it is
            "words", and the encoder has no search.
        MissingExtraError: the library of the search is not installed.
    """

    def __init__(
        self,
        loaded: LoadedEncoder,
        embeddings: Tensor,
        tokenizer: Any,
        *,
        cache: Path | None = None,
        how: How = "pieces",
    ) -> None:
        # without words there is no search, so that letters are what is written
        loaded = loaded if how == "words" else dataclasses.replace(loaded, search=None)
        self.loaded, self.how, self.cache = loaded, how, cache
        self._tokenizer = tokenizer
        self._embeddings = embeddings.detach().float().cpu().clone()
        self._known: dict[_Sound, Tensor] = {}
        self.made = 0
        if how == "pieces":
            self._check_pieces()
        if how == "words" and loaded.search is None:
            hint = "train one with `search.order` above 0, or take how='pieces'"
            raise BaseModelError(Problem("this encoder has no search for words", loaded.folder, hint=hint))
        if how == "words":
            require_search()

    @cached_property
    def fingerprint(self) -> str:
        """Changes with everything that the vectors of a sound depend on."""
        table = sha256_bytes(self._embeddings.contiguous().numpy().tobytes())
        return digest([_VERSION, self.loaded.fingerprint, table, tokenizer_sha256(self._tokenizer), self.how])

    def __call__(self, queries: Sequence[UnderstandingExample]) -> list[Tensor]:
        """(S_i, H) fp32 on the processor for each query, S_i at least 1, without gradients.

        Raises:
            DataError: a query has no sound, or it cannot be read.
        """
        fresh: dict[_Sound, UnderstandingExample] = {}
        for query in queries:
            if query.audio is None:
                raise DataError(Problem("has no sound", f"query {query.id!r}", hint="speak it: `speak_examples`"))
            key = (query.audio, query.seconds)
            if key not in self._known:
                found = None if self.cache is None else read_frames(self._path(query))
                if found is not None and found.shape[1] == self._embeddings.shape[1]:
                    self._known[key] = found
                else:
                    fresh[key] = query
        made = list(fresh.items())
        for rows, heard in self.loaded.heard([query for _, query in made]):
            for row, vectors in zip(rows, self._vectors(heard), strict=True):
                key, query = made[row]
                self._known[key] = vectors
                self.made += 1
                if self.cache is not None:
                    write_frames(self._path(query), vectors)
        return [self._known[query.audio, query.seconds] for query in queries if query.audio is not None]

    def written(self, queries: Sequence[UnderstandingExample]) -> list[str]:
        """What is heard of each query, written down: by the search for words, else by the head over characters.

        Raises:
            DataError: a query has no sound, or it cannot be read.
        """
        return self.loaded.transcribe(queries)

    def _vectors(self, heard: SpeechFeatures) -> list[Tensor]:
        pieces = self.loaded.pieces
        if self.how == "pieces" and pieces is not None:
            with evaluating(pieces):
                table = self._embeddings.to(heard.features.device)
                # a tensor of inference mode cannot enter a graph later on
                found = pieces.vectors(heard, table)
            return [vectors.cpu().clone() for vectors in found]
        nothing = self._tokenizer.unk_token_id or 0
        texts = self.loaded.written(heard)
        ids = [self._tokenizer(text, add_special_tokens=False)["input_ids"] or [nothing] for text in texts]
        return [self._embeddings[torch.tensor(row)] for row in ids]

    def _path(self, query: UnderstandingExample) -> Path:
        if self.cache is None or query.audio is None:
            raise ValueError("there is no cache, or no sound")
        try:
            sound = sha256_file(query.audio)
        except OSError as error:
            raise DataError(Problem(f"cannot be read: {error.strerror or error}", query.audio)) from None
        return self.cache / f"words-{digest([self.fingerprint, sound, query.seconds])[:32]}.safetensors"

    def _check_pieces(self) -> None:
        hint = "train one with `pieces.weight` above 0, or take how='characters'"
        if self.loaded.pieces is None:
            raise BaseModelError(Problem("this encoder has no head over word pieces", self.loaded.folder, hint=hint))
        if self.loaded.tokenizer != tokenizer_sha256(self._tokenizer):
            what = "the encoder's word pieces are of another tokenizer than the language model's"
            raise BaseModelError(Problem(what, self.loaded.folder, hint=hint))
