"""How a causal model is asked: bound to the answers that a task has, or free. Not here: asking (`answering`).

Example:
    >>> Asking(answers="free-lenient").constrained
    False
"""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from tunelet.base.settings import Field, Settings

Answers = Literal["constrained", "free-strict", "free-lenient"]


class Asking(Settings):
    """One way of asking."""

    answers: Answers = Field(
        "constrained",
        description="constrained: only answers of the task, by their probability; free: whatever the model writes, "
        "read strictly or leniently",
    )
    calibrated: bool = Field(
        False, description="subtract the log-probabilities under the same prompt with a query that says nothing"
    )
    batch_tokens: int | None = Field(
        None, ge=1, description="places in a batch, padding included; none: what is fast on the device"
    )
    lora_scale: float | None = Field(
        None, ge=0, description="factor on LoRA's update while answering; 0 is the base, none is as trained"
    )

    @model_validator(mode="after")
    def _calibration_needs_probabilities(self) -> Asking:
        if self.calibrated and not self.constrained:
            raise ValueError(f"calibrated answers are constrained ones, found answers: {self.answers}")
        return self

    @property
    def constrained(self) -> bool:
        """Whether only answers of the task are possible."""
        return self.answers == "constrained"
