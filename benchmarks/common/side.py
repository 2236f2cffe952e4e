"""What one side of a comparison trains on and how, as it is sent to its process; both sides are given the same.

Not here: how a side trains (`trainer_jobs`, `our_jobs`).

Example:
    >>> Side(tuning=TuningSettings(targets="qkv"), precision="bf16").batch
    16
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tunelet.base.settings import Field, Settings
from tunelet.data.records import Dataset
from tunelet.data.settings import DataSettings
from tunelet.data.sources import load_dataset
from tunelet.tuning.settings import TuningSettings


class Side(Settings):
    """One contender."""

    base: str = Field("embedded:minilm", description="base model: name or folder")
    max_length: int = Field(128, ge=1, description="tokens at which a text is cut")
    data_dir: Path | None = Field(None, description="folder of data; null: TUNELET_DATA, else the embedded sample")
    limit: dict[str, int | None] = Field(default_factory=dict, description="examples that are taken of a split")
    tuning: TuningSettings = Field(default_factory=TuningSettings, description="what is trained")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: autocast; for ours also frozen weights")
    pad_to: int | None = Field(None, ge=1, description="tokens to which the peer pads; null: the batch's longest")
    batch: int = Field(16, ge=1, description="texts in a batch")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate, linear decay")
    seed: int = Field(1, description="of the run")


def dataset_of(side: Side) -> Dataset:
    """The texts of a side: Emotion from TUNELET_DATA, or the embedded sample."""
    return load_dataset(DataSettings(limit=side.limit), side.data_dir)
