"""How experts are fused. Not here: the experts (`tuning.settings`), how long the fusion trains (`training.settings`).

Example:
    >>> FusionSettings(kind="attention", query="task").heads
    4
"""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from tunelet.base.settings import Field, Settings


class FusionSettings(Settings):
    """Fusion over the outputs of experts, or inside the layers."""

    level: Literal["output", "layer"] = Field(
        "output", description="output: over the experts' pooled vectors; layer: over their updates in every layer"
    )
    kind: Literal["attention", "heads", "mean", "ffn-mean", "ffn-concat"] = Field(
        "attention",
        description="attention over experts; heads: attention over what a last layer of each expert says (query: "
        "task); or what they are compared with: the experts' mean, or a feed-forward part of as many parameters on "
        "their mean or on all of them side by side (level: output)",
    )
    query: Literal["self", "task"] = Field(
        "self",
        description="self: experts attend to each other, then their mean; task: one query, made of the plain base's "
        "vector and a learned one of the task, attends over them (kind: attention, level: output)",
    )
    heads: int = Field(4, ge=1, description="attention heads (level: output)")
    dim: int | None = Field(
        None, ge=1, description="width of queries and keys; null: the base's width (output), 32 (layer)"
    )
    inner: int | None = Field(
        None, ge=1, description="hidden width of the part on the base's vector; null: one linear layer (level: output)"
    )
    temperature: float = Field(1.0, gt=0, description="divides the scores: larger is more even")
    dropout: float = Field(
        0.1, ge=0, lt=1, description="on attention weights, of kind heads on whole experts, and before the last layer"
    )
    evenness: float = Field(
        0.0,
        ge=0,
        description="weight in the loss of how far attention is from even (mean Kullback-Leibler divergence in nats; "
        "level: output, two-stage)",
    )
    residual: Literal["none", "own"] = Field(
        "none",
        description="none: the fused vector is the whole answer; own: it is added, through a gate that starts at 0 "
        "(kind: heads: with a last layer of its own), to what the last layer of the target's own adapter sees, so that "
        "training starts there (level: output)",
    )
    head: Literal["fresh", "expert"] = Field(
        "fresh",
        description="the last layer starts untrained, or as that of the target's own adapter (level: output)",
    )
    values: Literal["full", "identity"] = Field(
        "full", description="full: values are W_v times an update, W_v starts at 1; identity: the update (level: layer)"
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> FusionSettings:
        if self.dim is not None and self.level == "output" and self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is no multiple of heads {self.heads}")
        if self.level == "layer" and self.kind != "attention":
            raise ValueError(f"level: layer has kind: attention alone, found {self.kind!r}")
        if self.kind == "heads" and (self.query != "task" or self.inner is not None):
            raise ValueError("kind: heads goes with query: task and inner: null")
        if self.kind == "heads" and self.head == "expert" and self.residual == "none":
            raise ValueError("kind: heads has a layer that could start as the adapter's with residual: own alone")
        if self.evenness and (self.level == "layer" or self.kind not in ("attention", "heads")):
            raise ValueError("evenness is for level: output and kind: attention or heads")
        if self.level == "layer" and self.needs_own:
            raise ValueError("residual: own and head: expert are for level: output")
        return self

    @property
    def needs_own(self) -> bool:
        """Whether the target's own adapter is asked for more than its update."""
        return self.residual == "own" or self.head == "expert"
