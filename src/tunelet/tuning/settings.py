"""What of the model is trained, and how much. Not here: for how long (`training.settings`).

Example:
    >>> TuningSettings(method="lora", targets="qkv", r=8).alpha
    16
    >>> TuningSettings(targets=["query", "value"]).targets
    ('query', 'value')
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import field_validator, model_validator

from tunelet.base.registry import suggest
from tunelet.base.settings import Field, Settings

#: Readings of "attention" and more; `tuning.targets` says which modules each means in each architecture.
PRESETS = ("attention", "attention+linear", "qv", "qkv", "qkv+dense", "all-linear")


class AdaLoraSettings(Settings):
    """AdaLoRA (Zhang et al. 2023): starts with more rank than wanted and takes the least important away."""

    initial_rank: int | None = Field(None, ge=2, description="rank of each module at the start; null: 1.5 times r")
    warmup_share: float = Field(0.1, ge=0, lt=1, description="share of the steps before any rank is taken away")
    final_share: float = Field(0.3, ge=0, lt=1, description="share of the steps after the last rank was taken away")
    interval: int = Field(10, ge=1, description="steps between two allocations of the rank budget")
    orthogonality: float = Field(0.5, ge=0, description="weight of the loss term that keeps P and Q orthogonal")
    beta1: float = Field(0.85, gt=0, lt=1, description="decay of the average sensitivity")
    beta2: float = Field(0.85, gt=0, lt=1, description="decay of the average uncertainty")

    @model_validator(mode="after")
    def _leaves_steps_to_allocate(self) -> AdaLoraSettings:
        if self.warmup_share + self.final_share >= 1:
            raise ValueError(
                f"warmup_share {self.warmup_share} and final_share {self.final_share} leave no steps to allocate rank"
            )
        return self


class RankSettings(Settings):
    """Ranks that change with the step or the layer (`tuning.rank_schedules`)."""

    initial_rank: int | None = Field(None, ge=2, description="warmup-rank: rank before the cut; null: 4 times r")
    cut_at: float = Field(0.3, gt=0, lt=1, description="warmup-rank: share of the steps before the cut to rank r")
    spread: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="mixed-by-layer: the lowest layer has rank (1 - spread) r, the highest (1 + spread) r",
    )


class TuningSettings(Settings):
    """The tuning method and its sizes."""

    method: Literal[
        "full",
        "lora",
        "rslora",
        "dora",
        "pissa",
        "lora+",
        "vera",
        "adalora",
        "lora-fa",
        "warmup-rank",
        "mixed-by-layer",
        "mixed-by-step",
    ] = Field("lora", description="full fine-tuning, or a method of PEFT's low-rank family")
    targets: str | tuple[str, ...] = Field(
        "attention", description=f"modules that get an adapter: one of {', '.join(PRESETS)}, or a list of module names"
    )
    layers: tuple[int, ...] | None = Field(
        None,
        description="encoder layers that get adapters, counted from 0 at the bottom; null: every layer; "
        "nothing to full, as targets",
    )
    r: int = Field(8, ge=1, description="rank; VeRA wants larger ones (256), as its matrices are shared and frozen")
    alpha: int = Field(16, ge=1, description="the update is scaled by alpha / r (rslora: alpha / sqrt(r))")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout on the input of each adapter")
    engine: Literal["auto", "fast", "peft"] = Field(
        "auto",
        description="who computes the encoder: our fast path where it can (auto), always or not at all (fast), or "
        "PEFT's modules; parameters and adapter files are the same",
    )
    dropout_sharing: bool = Field(
        True, description="fast path: one dropout mask for query, key and value; false: one for each, as in PEFT"
    )
    gradient_checkpointing: bool = Field(
        False,
        description="keep only each layer's input for the backward pass and compute the layer again there: less "
        "memory, about a third more work; the same gradients",
    )
    compile: bool = Field(
        False,
        description="torch.compile the encoder's layers where PEFT's modules compute them (engine: peft); needs a C++ "
        "compiler, and a minute or more at the start",
    )
    frozen_dropout: bool = Field(
        True,
        description="the base's own dropout in layers below the lowest that trains; false: none there, so that their "
        "outputs are constants",
    )
    frozen_cache_mb: int = Field(
        512,
        ge=0,
        description="fast path: megabytes for the outputs of frozen layers in which no dropout acts, computed once for "
        "each training text; beyond them they are computed each time; 0: always",
    )
    bias: Literal["none", "all", "adapted"] = Field(
        "none", description="biases of the base that train: none, all, or those of the adapted modules"
    )
    lora_plus_ratio: float = Field(16.0, ge=1, description="lora+: learning rate of B over that of A")
    vera_initial: float = Field(0.1, gt=0, description="vera: first value of the scaling vector d")
    adalora: AdaLoraSettings = Field(default_factory=AdaLoraSettings, description="adalora: the rank schedule")
    rank_schedule: RankSettings = Field(
        default_factory=RankSettings, description="warmup-rank and mixed-by-layer: which ranks there are"
    )

    @field_validator("targets")
    @classmethod
    def _known_targets(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(value, str) and value not in PRESETS:
            near = suggest(value, PRESETS)
            meant = f"; did you mean {near!r}?" if near else ""
            raise ValueError(
                f"unknown preset {value!r}{meant} Presets: {', '.join(PRESETS)}; a single module is written as a list, "
                f"[{value}]"
            )
        if not value:
            raise ValueError("the list of modules is empty; to train only the head there is no method")
        return value

    @field_validator("layers")
    @classmethod
    def _layers_in_order(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is None:
            return None
        if not value or min(value) < 0:
            raise ValueError("expected at least one layer, counted from 0 at the bottom; null: every layer")
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _modules_to_compile(self) -> TuningSettings:
        if self.engine == "fast" and self.compile:
            raise ValueError("compile is for PEFT's modules, and engine fast has none; take engine peft")
        return self

    @model_validator(mode="after")
    def _rank_can_fall(self) -> TuningSettings:
        if self.method == "adalora" and self.adalora_initial_rank <= self.r:
            raise ValueError(
                f"adalora.initial_rank is {self.adalora.initial_rank}; it must be above r = {self.r}, the mean "
                "rank that is left at the end"
            )
        return self

    @model_validator(mode="after")
    def _rank_can_be_cut(self) -> TuningSettings:
        high = self.rank_schedule.initial_rank
        if self.method == "warmup-rank" and high is not None and high <= self.r:
            raise ValueError(
                f"rank_schedule.initial_rank is {high}; it must be above r = {self.r}, the rank after the cut"
            )
        return self

    @property
    def adalora_initial_rank(self) -> int:
        """Rank of each module before AdaLoRA takes any away."""
        return self.adalora.initial_rank or math.ceil(1.5 * self.r)
