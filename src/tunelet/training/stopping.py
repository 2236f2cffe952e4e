"""Keeps the best evaluation and says when to stop. Not here: weights; the loop saves them when told.

The rule is the paper's (Gjer 2023, section 6): training goes on until `patience` evaluations in a row bring nothing
better than the best so far; equal is not better.

Example:
    >>> stopping = EarlyStopping(patience=1)
    >>> stopping.update(0.9, step=10), stopping.update(0.9, step=20), stopping.should_stop
    (True, False, True)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tunelet.base.errors import ResumeError


@dataclass
class EarlyStopping:
    """State of the selection.

    Attributes:
        patience: evaluations without a better value after which to stop; None: never.
        lower_is_better: True for a loss.
        best: best value so far.
        best_step: its step.
        waited: evaluations since.
    """

    patience: int | None = None
    lower_is_better: bool = False
    best: float | None = None
    best_step: int | None = None
    waited: int = 0

    def update(self, value: float, step: int) -> bool:
        """Take in an evaluation; True if it is the best so far. NaN is worse than anything."""
        if math.isnan(value):
            better = False
        else:
            better = self.best is None or (value < self.best if self.lower_is_better else value > self.best)
        if better:
            self.best, self.best_step, self.waited = value, step, 0
        else:
            self.waited += 1
        return better

    @property
    def should_stop(self) -> bool:
        """Whether the patience is used up."""
        return self.patience is not None and self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"best": self.best, "best_step": self.best_step, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`.

        Raises:
            ResumeError: a key is missing.
        """
        missing = {"best", "best_step", "waited"} - state.keys()
        if missing:
            raise ResumeError(f"the saved state of early stopping lacks {', '.join(sorted(missing))}")
        self.best, self.best_step, self.waited = state["best"], state["best_step"], state["waited"]
