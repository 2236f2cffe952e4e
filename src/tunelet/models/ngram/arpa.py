"""An n-gram model as a file in ARPA's format, which KenLM, SRILM and the decoders around them read.

Not here: reading one; building a model (`model`).

Example:
    >>> write_arpa(NGram.build(["the cat sat"], order=2), Path("cat.arpa"))         # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tunelet.base.files import write_atomic
from tunelet.models.ngram.counting import WORD_BITS
from tunelet.models.ngram.model import NGram

#: log10 of what cannot be, as the format's other writers have it
_NEVER = -99.0


def write_arpa(model: NGram, path: Path) -> None:
    """Write the model, atomically; base-10 logarithms with seven digits."""
    write_atomic(path, "".join(_lines(model)).encode())


def _lines(model: NGram) -> Iterator[str]:
    yield "\\data\\\n"
    for length, size in enumerate(model.sizes, start=1):
        yield f"ngram {length}={size}\n"
    said: list[str] = []
    for length, table in enumerate(model.tables, start=1):
        last = [model.vocabulary.words[word] for word in (table.keys & ((1 << WORD_BITS) - 1)).tolist()]
        if length == 1:
            said = last
        else:
            said = [
                f"{said[parent]} {word}" for parent, word in zip((table.keys >> WORD_BITS).tolist(), last, strict=True)
            ]
        yield f"\n\\{length}-grams:\n"
        logs, back_off = (
            np.maximum(values.astype(np.float64) / np.log(10), _NEVER).tolist()
            for values in (table.log_p, table.log_gamma)
        )
        if length == model.order:
            yield from (f"{p:.7g}\t{words}\n" for p, words in zip(logs, said, strict=True))
        else:
            yield from (f"{p:.7g}\t{words}\t{b:.7g}\n" for p, words, b in zip(logs, said, back_off, strict=True))
    yield "\n\\end\\\n"
