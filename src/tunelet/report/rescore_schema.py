"""The shape of `result.json` where the system is `rescore`. Not here: what all systems write (`result_schema`).

Example:
    >>> sorted(RescoreRun.model_fields)[:3]
    ['base', 'best_step', 'chosen']
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from tunelet.report.result_schema import AnyResult, AnyRun, Count, Part, Share, Source

Rate = Annotated[float, Field(ge=0)]


class Interval(Part):
    """A word error rate with its bootstrap interval."""

    value: Rate
    low: Rate
    high: Rate
    errors: Count
    words: Count
    units: Count


class Reduction(Part):
    """How much lower the word error rate is than another, on the same utterances."""

    before: Rate
    after: Rate
    reduction: float
    low: float
    high: float
    relative: float | None
    relative_low: float | None
    relative_high: float | None
    p: Share


class Way(Part):
    """One way of rescoring a set."""

    errors: Annotated[int, Field(ge=0, description="word errors of the chosen hypotheses")]
    wer: Annotated[float, Field(ge=0, description="word error rate, a fraction")]
    relative_reduction: Annotated[float | None, Field(description="against the first pass; null if that has no error")]
    interval: Annotated[dict[str, Interval], Field(description="by what was drawn again: utterances, speakers")]
    reduction: Annotated[dict[str, Reduction], Field(description="against the first pass")]
    reduction_over_ngram: Annotated[
        dict[str, Reduction] | None, Field(description="of the combination against the n-gram model alone")
    ] = None


class WordErrors(Part):
    """Word errors of one set."""

    utterances: Annotated[int, Field(ge=0, description="lists")]
    words: Annotated[int, Field(ge=0, description="of the references")]
    errors_first_pass: Annotated[int, Field(ge=0, description="of the first hypotheses")]
    errors_rescored: Annotated[int, Field(ge=0, description="of the chosen hypotheses")]
    errors_oracle: Annotated[int, Field(ge=0, description="of the best hypotheses")]
    wer_first_pass: Annotated[float, Field(ge=0, description="word error rate, a fraction")]
    wer_rescored: Annotated[float, Field(ge=0, description="of the way that the run reports: all that it has")]
    wer_oracle: Annotated[float, Field(ge=0, description="what re-ordering could reach")]
    relative_reduction: Annotated[
        float | None, Field(description="of the chosen against the first; null without errors")
    ]
    way: Annotated[str, Field(description="the way that the run reports")]
    first_pass: Annotated[dict[str, Interval], Field(description="intervals of the first pass")]
    ways: Annotated[dict[str, Way], Field(description="ngram, scorer, combined: those that the run has")]


class RescoreRun(AnyRun):
    """A run of `rescore`."""

    metrics: Annotated[dict[str, WordErrors], Field(description="word errors by set; dev chose the weights")]
    weights: Annotated[dict[str, dict[str, Any]], Field(description="of each way, found on dev, and the search")]
    ranks: Annotated[
        list[dict[str, Any]], Field(default_factory=list, description="rank of each adapted module at the end")
    ]


class RescoreData(Part):
    """The data of the sweep."""

    source: Source
    sha256: Annotated[str, Field(description="content hash over all lists, or sound with its recogniser, and the text")]
    task: str
    splits: Annotated[dict[str, Count], Field(description="utterances of each set: train, dev, then what is reported")]
    normalise: str
    sound: bool
    text: Annotated[list[str], Field(description="files of the n-gram model")]


class RescoreResult(AnyResult):
    """A sweep of `rescore`."""

    data: RescoreData
    runs: list[RescoreRun]
