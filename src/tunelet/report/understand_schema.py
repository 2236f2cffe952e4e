"""The shape of `result.json` of the system `understand`. Not here: what every system writes (`result_schema`).

A run is one model: untuned, a control, or tuned on one source under one label regime. It is asked many things, and
each of them is a cell. What is not written is not shown; only what a table needs is required.

Example:
    >>> sorted(Cell.model_json_schema()["required"])[:4]
    ['invalid_rate', 'k', 'macro_f1', 'n']
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from tunelet.report.result_schema import AnyResult, AnyRun, Count, Part, Share, Source

Regime = Literal["none", "regular", "symbol", "random", "knn", "definition"]
#: in the order of all tables
REGIMES: tuple[Regime, ...] = ("none", "regular", "symbol", "random", "knn", "definition")


class UnderstandTask(Part):
    """One task of the sweep."""

    labels: Annotated[list[str], Field(min_length=2, description="class names in canonical order")]
    title: Annotated[str, Field(description="for people")] = ""
    sha256: Annotated[str, Field(description="content hash over classes and all examples")] = ""
    splits: Annotated[dict[str, Count], Field(default_factory=dict, description="number of examples of each split")]
    multi_label: Annotated[bool, Field(description="whether an input has any number of classes")] = False
    metric: Annotated[str, Field(description="name of the task's own metric")] = "macro_f1"
    location: Annotated[str, Field(description="folder of its data, or name of the embedded sample")] = ""
    spoken: Annotated[Count, Field(description="test examples that can be heard")] = 0
    heard: Annotated[Count, Field(description="test examples with a recogniser's text")] = 0


class UnderstandData(Part):
    """The tasks of the sweep."""

    source: Source | None = None
    sha256: Annotated[str, Field(description="hash over all tasks")] = ""
    sources: Annotated[list[str], Field(default_factory=list, description="tasks that are tuned on")]
    evaluated: Annotated[list[str], Field(default_factory=list, description="tasks that are asked")]
    tasks: dict[str, UnderstandTask]


class ClassRow(Part):
    """Counts of one class."""

    label: Annotated[str, Field(description="its name")]
    support: Annotated[Count, Field(description="examples that have it")]
    predicted: Annotated[Count, Field(description="examples that were given it")]
    correct: Annotated[Count, Field(description="examples that have it and were given it")]


class Cell(Part):
    """A row of the machine-readable table: one model, one task, one way of asking."""

    source: Annotated[str, Field(description="task that was tuned on; none for the untuned model and the controls")]
    regime: Annotated[Regime, Field(description="names of the classes while tuning; none: untuned; knn and definition: "
                                    "controls that use the embeddings alone")]  # fmt: skip
    task: Annotated[str, Field(description="task that was asked")]
    k: Annotated[Count, Field(description="demonstrations")]
    query: Annotated[Literal["text", "speech"], Field(description="what the model was asked with")]
    seed: Annotated[int, Field(description="of the run")]
    macro_f1: Annotated[Share, Field(description="mean F1 over classes")]
    n: Annotated[int, Field(ge=1, description="test examples")]
    invalid_rate: Annotated[Share, Field(description="share of answers that mean nothing")]
    metric: Annotated[str, Field(description="name of the task's own metric")] = "macro_f1"
    value: Annotated[float | None, Field(description="its value; null: macro-F1")] = None
    accuracy: Annotated[Share | None, Field(description="share of answers that are right as a whole")] = None
    micro_f1: Annotated[Share | None, Field(description="F1 of all decisions")] = None
    weighted_f1: Annotated[Share | None, Field(description="F1 weighted by class size")] = None
    group: Annotated[str, Field(description="name of the recipe's block, where it differs from the regime")] = ""
    main: Annotated[bool, Field(description="whether it is asked as the table is: each of demonstrations, order, "
                                "answers and lora_scale at the recipe's first value")] = True  # fmt: skip
    matched: Annotated[bool | None, Field(description="whether it was tuned on this very task")] = None
    demonstrations: Annotated[Literal["retrieved", "random"] | None, Field(description="how they were chosen")] = None
    order: Annotated[
        Literal["nearest-last", "nearest-first", "shuffled"] | None, Field(description="order of the demonstrations")
    ] = None
    answers: Annotated[
        Literal["constrained", "free-strict", "free-lenient", "calibrated"] | None,
        Field(description="how an answer was found"),
    ] = None
    cascade: Annotated[bool, Field(description="whether speech was heard by a recogniser and asked as text")] = False
    lora_scale: Annotated[float | None, Field(description="factor on the adapter while asking; null: 1")] = None
    answers_file: Annotated[str | None, Field(description="its answers, relative to the run's folder")] = None
    dropped: Annotated[Count, Field(description="demonstrations that did not fit into the prompt")] = 0
    shown: Annotated[Count, Field(description="demonstrations that did")] = 0

    @property
    def way(self) -> str:
        """The recipe's block."""
        return self.group or self.regime

    @property
    def score(self) -> float:
        """The task's own metric."""
        return self.macro_f1 if self.value is None else self.value

    @property
    def is_matched(self) -> bool:
        """Whether the model was tuned on this task."""
        return self.source == self.task if self.matched is None else self.matched

    @property
    def heard(self) -> str:
        """ "text", "speech" or "cascade"."""
        return "cascade" if self.cascade else self.query


class RunCell(Cell):
    """A cell as its run has it."""

    per_class: Annotated[list[ClassRow], Field(default_factory=list, description="counts of each class")]


class MapCount(Part):
    """Batches that kept so many classes under their own name."""

    classes: Count
    batches: Count


class ShownNames(Part):
    """One assignment of names."""

    shown: Annotated[list[str], Field(description="names in canonical order of the classes")]
    batches: Count


class LabelMaps(Part):
    """Under which names the classes were shown while tuning."""

    batches: Annotated[Count, Field(description="batches that were drawn for")]
    different: Annotated[Count, Field(description="different assignments of names to classes")]
    maps: Annotated[list[ShownNames], Field(default_factory=list, description="the most frequent of them")]
    fixed: Annotated[
        list[MapCount], Field(default_factory=list, description="batches by the classes that kept their own name")
    ]


class Stages(Part):
    """Seconds of what a run needs beside its training."""

    base: Annotated[float, Field(ge=0, description="training of the base, which runs share")] = 0.0
    vectors: Annotated[float, Field(ge=0, description="embeddings for the choice of demonstrations")] = 0.0
    evaluation: Annotated[float, Field(ge=0, description="all cells")] = 0.0
    answers_per_second: Annotated[float | None, Field(description="from prompt to answer")] = None


class UnderstandRun(AnyRun):
    """A run of `understand`: one model."""

    regime: Regime
    source: Annotated[str, Field(description="task that was tuned on; none")] = "none"
    label: Annotated[str, Field(description="name of the block in the recipe")] = ""
    train_examples: Annotated[Count, Field(description="of the source; 0: not tuned")] = 0
    cells: Annotated[list[RunCell], Field(default_factory=list, description="what it was asked")]
    maps: Annotated[LabelMaps | None, Field(description="names of classes, batch by batch; null: untuned")] = None
    stages: Stages = Stages()

    @property
    def way(self) -> str:
        """The recipe's block."""
        return self.label or self.regime


class UnderstandResult(AnyResult):
    """A sweep of `understand`."""

    data: UnderstandData
    runs: list[UnderstandRun]
    cells: Annotated[list[Cell], Field(default_factory=list, description="the cells of all finished runs")]


def parts(cell: Cell) -> dict[str, Any]:
    """Columns of a cell in a CSV file."""
    flat = ("source", "group", "regime", "task", "k", "query", "seed", "demonstrations", "order", "answers", "cascade",
            "lora_scale", "metric", "n", "invalid_rate", "macro_f1", "accuracy", "micro_f1",
            "weighted_f1", "dropped", "shown")  # fmt: skip
    named = {key: getattr(cell, key) for key in flat} | {"group": cell.way}
    return {**named, "main": cell.main, "matched": cell.is_matched, "value": cell.score}
