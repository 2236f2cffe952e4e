"""The shape of `result.json` of the system `speech-encoder`. Not here: what every system writes (`result_schema`).

Example:
    >>> sorted(HeardScores.model_json_schema()["required"])[:3]
    ['by_voice', 'cer', 'clips']
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunelet.report.result_schema import AnyResult, AnyRun, Count, Part, Selection, Source


class Errors(Part):
    """Counts of one alignment with the fewest errors."""

    hits: Count
    substitutions: Count
    deletions: Count
    insertions: Count

    @property
    def words(self) -> int:
        """Words of the references."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Word error rate."""
        return (self.substitutions + self.deletions + self.insertions) / max(1, self.words)


class HeardScores(Part):
    """Errors of the best checkpoint on texts and voices that it never heard; greedy where nothing else is said."""

    wer: Annotated[float, Field(ge=0, description="word error rate; 1 is as many errors as words")]
    cer: Annotated[float, Field(ge=0, description="character error rate, blanks counted")]
    piece_error_rate: Annotated[
        float | None, Field(description="error rate of the head over word pieces; null: there is none")
    ]
    loss: Annotated[float, Field(ge=0, description="CTC loss of a text divided by its characters, in nats")]
    counts: Annotated[Errors, Field(description="what the word error rate counts")]
    by_voice: Annotated[dict[str, Errors], Field(description="the same by voice")]
    searched: Annotated[
        Errors | None, Field(description="word errors of the search with a language model; null: there is none")
    ] = None
    clips: Annotated[int, Field(ge=0, description="that were heard")]
    seconds: Annotated[float, Field(ge=0, description="of sound")]


class SpeechData(Part):
    """The texts and voices of the sweep."""

    source: Source
    sha256: Annotated[str, Field(description="content hash over texts, manners and recordings")]
    splits: Annotated[dict[str, Count], Field(description="texts of each split; each is spoken once")]
    words: Annotated[dict[str, Count], Field(description="words of each split")]
    voices: Annotated[dict[str, list[str]], Field(description="voices of each split")]
    texts: Annotated[dict[str, dict[str, Count]], Field(description="texts of each source, by split")]
    recordings: Annotated[dict[str, Count], Field(description="real recordings that are added to train")]
    recorded: Annotated[dict[str, Count], Field(default_factory=dict, description="real recordings that are held out")]


class SpeechSelection(Selection):
    """By which score a checkpoint is chosen."""

    metric: Literal["wer"] = "wer"


class SpeechEncoderRun(AnyRun):
    """A run of `speech-encoder`."""

    pieces: Annotated[int | None, Field(description="word pieces of the head; null: there is none")] = None
    search: Annotated[
        dict[str, float] | None, Field(description="weights of the search for words; null: there is none")
    ] = None
    heard_seconds: Annotated[float, Field(ge=0, description="seconds of sound in the training split")]
    nearness: Annotated[
        dict[str, float] | None,
        Field(description="mean cosine of sentences heard and read in the base, by how they are heard; null: no base"),
    ] = None
    metrics: Annotated[dict[str, HeardScores], Field(description="scores of the best checkpoint by split")]


class SpeechEncoderResult(AnyResult):
    """A sweep of `speech-encoder`."""

    selection: SpeechSelection = SpeechSelection()
    data: SpeechData
    runs: list[SpeechEncoderRun]
