"""The shape of `result.json` of the system `adapt-lm`. Not here: what every system writes (`result_schema`).

Example:
    >>> sorted(LanguageScores.model_json_schema()["required"])[:3]
    ['cut_tokens', 'loss', 'perplexity']
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunelet.report.result_schema import AnyResult, AnyRun, Count, Part, Source


class LanguageScores(Part):
    """How well the best checkpoint foretells a held-out split."""

    loss: Annotated[float, Field(ge=0, description="mean -log P of the tokens that were asked for, in nats")]
    perplexity: Annotated[float, Field(ge=1, description="exp(loss), of a token")]
    word_perplexity: Annotated[
        float,
        Field(ge=1, description="exp(loss x tokens a word); the end of a text counts as a token of a causal model"),
    ]
    tokens: Annotated[int, Field(ge=0, description="asked for and in the vocabulary; the loss is their mean")]
    cut_tokens: Annotated[int, Field(ge=0, description="asked for and cut from the vocabulary; they count nowhere")]
    sentences: Annotated[int, Field(ge=0, description="of the split")]
    words: Annotated[int, Field(ge=0, description="of the split")]


class AdaptLmData(Part):
    """The text of the sweep."""

    source: Source
    sha256: Annotated[str, Field(description="content hash over the sentences of all splits")]
    unit: Annotated[Literal["book", "passage"], Field(description="what was held out whole")]
    units: Annotated[dict[str, Count], Field(description="books or passages of each split")]
    splits: Annotated[dict[str, Count], Field(description="sentences of each split")]
    words: Annotated[dict[str, Count], Field(description="words of each split")]


class AdaptLmRun(AnyRun):
    """A run of `adapt-lm`."""

    kept: Annotated[int | None, Field(description="tokens to which the vocabulary was cut; null: all")] = None
    metrics: Annotated[dict[str, LanguageScores], Field(description="scores of the best checkpoint by split")]


class AdaptLmResult(AnyResult):
    """A sweep of `adapt-lm`."""

    data: AdaptLmData
    runs: list[AdaptLmRun]
