"""Says which answers of a less exact model are so near a tie that fp32 might give another label.

Both models answer some texts. A label can only change where the less exact margin (of the best label over the second;
with several labels, of the nearest logit over zero) is no larger than what rounding moved it by. The largest movement
that was measured, times a factor, is the bound: answers nearer to a tie than that are to be answered again in fp32, and
are measured then, too, so the bound can only grow. A measured bound is no proof; docs/cli.md says how it did.
Not here: the models (`inference`), the answers (`evaluation.inference`).

Example:
    >>> import numpy as np
    >>> guard = Guard(multi_label=False, needed=1)
    >>> guard.learn(np.array([[2.0, 0.1]]), np.array([[2.0, 0.0]]))
    >>> guard.doubtful(np.array([[3.0, 2.9], [3.0, 1.0]])).tolist()
    [True, False]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]

#: texts that both models answer before the bound is trusted
NEEDED = 64
#: by which the largest measured movement is multiplied
FACTOR = 1.5


class Guard:
    """The bound, and how often it was used.

    Args:
        multi_label: a text may have any number of labels.
        needed: texts to measure before the bound holds; until then every answer is doubtful.
        factor: between the largest movement and the bound.

    Attributes:
        measured: texts that both models have answered.
        largest: by which a margin was moved at most, in logits.
        answered, again: texts answered, and those of them that fp32 answered.
    """

    def __init__(self, *, multi_label: bool, needed: int = NEEDED, factor: float = FACTOR) -> None:
        self.multi_label = multi_label
        self.needed = needed
        self.factor = factor
        self.measured = 0
        self.largest = 0.0
        self.answered = 0
        self.again = 0

    @property
    def missing(self) -> int:
        """Texts that have still to be measured."""
        return max(0, self.needed - self.measured)

    @property
    def bound(self) -> float:
        """The largest margin, in logits, that is doubtful."""
        return float("inf") if self.missing else self.factor * self.largest

    def learn(self, rough: Floats, exact: Floats) -> None:
        """Take in both models' logits (n, C) of the same texts."""
        if not len(rough):
            return
        moved = np.asarray(rough, np.float64) - np.asarray(exact, np.float64)
        if not self.multi_label:
            best = np.asarray(rough).argmax(1)
            moved = moved - moved[np.arange(len(moved)), best][:, None]
        self.measured += len(moved)
        self.largest = max(self.largest, float(np.abs(moved).max()))

    def doubtful(self, rough: Floats) -> NDArray[np.bool_]:
        """(n,) whether the answer to each text is too near a tie, from the less exact logits (n, C)."""
        values = np.asarray(rough, np.float64)
        if self.multi_label:
            margins = np.abs(values).min(1)
        elif values.shape[1] == 1:
            margins = np.full(len(values), np.inf)
        else:
            ordered = np.partition(values, -2, axis=1)
            margins = ordered[:, -1] - ordered[:, -2]
        found: NDArray[np.bool_] = margins <= self.bound
        return found

    def told(self) -> str:
        """How often fp32 answered, as a sentence."""
        return (
            f"{self.again:,} of {self.answered:,} texts were near a tie (or measured for it) and answered again in fp32"
        )
