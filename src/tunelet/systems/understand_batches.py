"""Batches of a source's examples, each with one map of label names. Not here: prompts (`systems.understand_objective`).

The order is that of `data.batching`; a batch's map is drawn from its epoch and its place there, so a run that goes on
from a saved state draws what it would have drawn. What was drawn, and what prompts lost, is counted and saved, too.

Example:
    >>> names = LabelNames("random", ("sun", "rain", "snow"))
    >>> batches = TuningBatches(LengthBucketBatches(np.ones(8), 4, seed=1), names, seed=1)
    >>> drawn = batches.of(batches.next())
    >>> (drawn.epoch, drawn.number, sorted(drawn.names.shown)), batches.maps.to_json()["batches"]
    ((0, 0, ['rain', 'snow', 'sun']), 1)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from tunelet.base.errors import ResumeError
from tunelet.data.batching import Indices, LengthBucketBatches
from tunelet.data.understanding.regimes import LabelMap, LabelNames, MapLog


@dataclass(frozen=True)
class Drawn:
    """What all prompts of a batch share.

    Attributes:
        epoch: from 0.
        number: of the batch in its epoch, from 0.
        names: under which names classes are shown.
    """

    epoch: int
    number: int
    names: LabelMap


@dataclass
class PromptCounts:
    """What prompts were made of.

    Attributes:
        prompts: how many.
        demonstrations: shown in them.
        dropped: demonstrations that were left out because the prompt would not have fitted.
    """

    prompts: int = 0
    demonstrations: int = 0
    dropped: int = 0

    def add(self, shown: int, dropped: int) -> None:
        """Count one prompt."""
        self.prompts, self.demonstrations, self.dropped = (
            self.prompts + 1,
            self.demonstrations + shown,
            self.dropped + dropped,
        )

    def to_json(self) -> dict[str, int]:
        """All counts."""
        return asdict(self)


class TuningBatches:
    """See the top of the file; an endless sequence for `training.loop`.

    Args:
        order: of the examples.
        names: draws the maps.
        seed: of the run.

    Attributes:
        batches_per_epoch: of `order`.
        maps: counts of the maps of batches that were taken.
        prompts: to be counted by whoever makes them.
    """

    def __init__(self, order: LengthBucketBatches, names: LabelNames, seed: int) -> None:
        self.batches_per_epoch = order.batches_per_epoch
        self.maps, self.prompts = MapLog(), PromptCounts()
        self._order, self._names, self._seed = order, names, seed
        self._taken: list[tuple[Indices, Drawn]] = []

    def next(self) -> Indices:
        """(B,) positions of the examples of the next batch."""
        epoch, number = self._order.epoch, self._order.position
        drawn = Drawn(epoch, number, self._names.draw(seed=self._seed, epoch=epoch, batch=number))
        # an array of its own: it is known again by being the same one
        indices = np.array(self._order.next(), dtype=np.int64)
        self.maps.add(drawn.names)
        self._taken.append((indices, drawn))
        return indices

    def of(self, indices: np.ndarray) -> Drawn | None:
        """What belongs to a batch that `next` gave, once; None: it is no such batch (a measurement, say)."""
        for place, (taken, drawn) in enumerate(self._taken):
            if taken is indices:
                del self._taken[: place + 1]
                return drawn
        return None

    def outside(self) -> Drawn:
        """What a batch that belongs to no epoch is given: the first map, which is not counted."""
        return Drawn(0, 0, self._names.draw(seed=self._seed, epoch=0, batch=0))

    def state_dict(self) -> dict[str, Any]:
        """Where the sequence stands, and all counts; plain JSON."""
        return {"order": self._order.state_dict(), "maps": self.maps.state_dict(), "prompts": self.prompts.to_json()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken.

        Raises:
            ResumeError: a part is missing, or the order is another.
        """
        missing = {"order", "maps", "prompts"} - state.keys()
        if missing or state["prompts"].keys() != {field.name for field in fields(PromptCounts)}:
            raise ResumeError(f"the saved batches lack {', '.join(sorted(missing)) or 'counts of prompts'}")
        self._order.load_state_dict(state["order"])
        self.maps.load_state_dict(state["maps"])
        self.prompts = PromptCounts(**state["prompts"])
        self._taken = []
