"""The shape of `result.json` of the system `understand-base`. Not here: what every system writes (`result_schema`).

Example:
    >>> sorted(EpisodeCell.model_json_schema()["required"])[:3]
    ['accuracy', 'correct', 'k']
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunelet.report.result_schema import AnyResult, AnyRun, Count, Part, Share, Source


class EpisodeCell(Part):
    """Right answers to episodes of validation."""

    regime: Annotated[str, Field(description="natural, permuted, words or symbol: under which names classes stand")]
    k: Annotated[int, Field(ge=0, description="demonstrations that were asked for")]
    kind: Annotated[Literal["single", "multi"], Field(description="one class, or any number, and all must be right")]
    n: Annotated[int, Field(gt=0, description="episodes")]
    correct: Count
    accuracy: Share
    untrained: Annotated[int, Field(ge=0, description="right answers before any training, to the same episodes")]


class Drawn(Part):
    """How many episodes had some value."""

    value: str | int
    episodes: Count


class Maps(Part):
    """How many classes kept their own names."""

    fixed: list[dict[str, int]]


class Episodes(Part):
    """The episodes of a run."""

    episodes: Count
    tokens: Annotated[int, Field(ge=0, description="of all their prompts")]
    regime: list[Drawn]
    task: list[Drawn]
    k: list[Drawn]
    classes: list[Drawn]
    maps: Maps


class BaseTask(Part):
    """A task of meta-training."""

    name: str
    classes: Count
    multi_label: bool
    train: Annotated[int, Field(ge=0, description="examples; 0 for a held-out task")]
    validation: Count


class BaseTasks(Part):
    """The tasks of the sweep."""

    source: Source
    sha256: Annotated[str, Field(description="content hash over tasks and examples")]
    tasks: list[BaseTask]
    excluded: Annotated[list[str], Field(description="tasks under test")]
    left_out: Annotated[list[str], Field(description="tasks that are under test, or whose data are")]


class BaseScores(Part):
    """Scores of the best checkpoint."""

    accuracy: Share


class BaseRun(AnyRun):
    """A run of `understand-base`."""

    metrics: dict[str, BaseScores]
    cells: list[EpisodeCell]
    episodes: Episodes


class BaseResult(AnyResult):
    """A sweep of `understand-base`."""

    data: BaseTasks
    runs: list[BaseRun]
