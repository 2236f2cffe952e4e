"""What a prefix model hears with: an encoder of its own, beside the model. Not here: making one (`understand_ears`).

Example:
    >>> ears = give_ears(model, base, folder, "pieces", Path("cache"))          # doctest: +SKIP
    >>> ears.write(queries)                                                     # doctest: +SKIP
    ['how far is it to denver']
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from tunelet.data.understanding.task import UnderstandingExample
from tunelet.models.bases import Base
from tunelet.models.sentence_embedder import SentenceEmbedder
from tunelet.models.speech.encoder_folder import load_encoder
from tunelet.models.speech.soft_words import How, SpokenQueries
from tunelet.systems.understand_questions import Hear, Places
from tunelet.training.events import Note, Observer, ignore

#: sounds that are read at once to be heard in batches of like length
_HEARD = 256


@dataclass(frozen=True)
class Ears:
    """What a model hears with.

    Attributes:
        key: by what it is known.
        places: of a prompt that the sound of a query takes.
        hear: queries together, which then need not be heard one by one; tells of each tenth, and can be stopped.
        vectors: of queries, in the place of their words.
        write: queries down.
        embedder: that takes such vectors, or None.
    """

    key: str
    places: Places
    hear: Hear
    vectors: Callable[[Sequence[UnderstandingExample]], list[Tensor]]
    write: Callable[[Sequence[UnderstandingExample]], list[str]]
    embedder: SentenceEmbedder | None


def give_ears(
    model: Any,
    base: Base,
    folder: Path | None,
    how: How,
    cache: Path,
    observer: Observer = ignore,
    interrupted: Callable[[], bool] = lambda: False,
) -> Ears | None:
    """Give a prefix model its ears, if it is to have some.

    Args:
        base: of the model.
        folder: of the encoder, or None.
        how: what stands in the place of words, see `models.speech.soft_words`.
        cache: folder for what runs share.
        observer: told of long hearing.
        interrupted: asked while something is heard.
    """
    if folder is None:
        return None
    words = model.language.get_input_embeddings().weight.detach()
    heard = SpokenQueries(
        load_encoder(folder),
        words,
        base.tokenizer,
        cache=cache / "heard",
        how=how,
    )
    model.listen(heard)

    def places(query: UnderstandingExample) -> int:
        return len(heard([query])[0])

    def hear(queries: Sequence[UnderstandingExample]) -> None:
        total, told, made = len(queries), 0, heard.made
        for start in range(0, total, _HEARD):
            if interrupted():
                raise KeyboardInterrupt
            heard(queries[start : start + _HEARD])
            done = min(start + _HEARD, total)
            if heard.made > made and 10 * done // total > told:
                told = 10 * done // total
                observer(Note(f"heard {done:,} of {total:,} clips"))

    return Ears(heard.fingerprint, places, hear, heard, heard.written, model.embedder)
