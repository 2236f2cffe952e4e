"""Where a prefix model gets the vectors of speech from. Not here: encoders, connectors (`models.speech`).

Example:
    >>> model.listen(lambda queries: [torch.zeros(3, 384) for _ in queries])            # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from tunelet.data.understanding.task import UnderstandingExample


@runtime_checkable
class SpeechVectors(Protocol):
    """Hears queries."""

    def __call__(self, queries: Sequence[UnderstandingExample]) -> list[Tensor]:
        """(S_i, H) for each query, S_i >= 1: vectors of the width of the base's word embeddings, in their place.

        They may carry a gradient. `UnderstandingExample.audio` and `seconds` say where the sound is.

        Raises:
            DataError: a query has no sound, or it cannot be read.
        """
        ...
