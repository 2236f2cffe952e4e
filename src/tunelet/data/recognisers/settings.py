"""What can be set of a first pass. Not here: what the settings do (`sphinx`, `huggingface`).

Example:
    >>> SphinxSettings(n=10).kind
    'pocketsphinx'
"""

from __future__ import annotations

from typing import Any, Literal

from tunelet.base.settings import Field, Settings


class SphinxSettings(Settings):
    """The first pass by PocketSphinx, which brings its English model with it."""

    kind: Literal["pocketsphinx"] = Field("pocketsphinx", description="which recogniser")
    n: int = Field(33, ge=1, le=500, description="hypotheses in a list")
    language_model: str | None = Field(
        None, description="file of an n-gram model (ARPA or binary); null: the general one in the package"
    )
    language_weight: float = Field(9.5, gt=0, description="weight of the language model against the sound in the lists")
    two_passes: bool = Field(
        False, description="decode a second time over the words of the first pass: slower, wider lattices"
    )
    active: int = Field(3000, ge=100, description="states that are followed at a time; more is slower")
    lookahead: int = Field(
        0,
        ge=0,
        le=10,
        description="frames of a phone loop that prune words before they are tried; PocketSphinx's own is 5",
    )
    beam: float = Field(100.0, gt=0, description="how far below the best path hypotheses are looked for, in nats")


class HuggingFaceSettings(Settings):
    """The first pass by a model of transformers: one with CTC (wav2vec2, HuBERT), or one that writes (Whisper)."""

    kind: Literal["huggingface"] = Field("huggingface", description="which recogniser")
    model: str = Field(description="folder of a model, or its name on the hub")
    n: int = Field(10, ge=1, le=500, description="hypotheses in a list")
    beams: int = Field(20, ge=1, description="hypotheses that are kept while searching; at least n")
    symbols: int = Field(20, ge=1, description="CTC: symbols that are tried at each frame, the likeliest first")
    language: str | None = Field(None, description="Whisper: language that is spoken; null: English-only or detected")
    device: str = Field("cpu", description="where the model runs, such as cuda")
    max_seconds: float = Field(30.0, gt=0, description="longer sound is refused: these models read it in one piece")


RecogniserSettings = SphinxSettings | HuggingFaceSettings

_KINDS: dict[str, type[SphinxSettings] | type[HuggingFaceSettings]] = {
    "pocketsphinx": SphinxSettings,
    "huggingface": HuggingFaceSettings,
}


def settings_from(values: dict[str, Any]) -> RecogniserSettings:
    """The settings that `model_dump` of one of them gave."""
    return _KINDS[values["kind"]].model_validate(values)
