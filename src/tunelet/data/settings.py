"""The `data` section of a recipe. Not here: reading anything; a section only says what is wanted.

Example:
    >>> DataSettings(task="reviews", labels=["bad", "good"], path="reviews/").labels
    ('bad', 'good')
    >>> DataSettings(labels=["bad", "good"]).task       # labels of one's own need no name
    'custom'
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field as Constraint
from pydantic import model_validator

from tunelet.base.settings import Field, Settings

Split = Literal["train", "validation", "test"]


class DataSettings(Settings):
    """What is learned, and from where the examples come."""

    task: str = Field(
        "emotion",
        min_length=1,
        description="a built-in task, the path of a task file (.yaml), or a name of your own together with `labels`",
    )
    path: str | None = Field(
        None,
        min_length=1,
        description="folder with {train,validation,test}.{jsonl,csv,tsv}, each also as .gz; read before any other",
    )
    text_field: str = Field("text", min_length=1, description="field or column that holds the text")
    label_field: str = Field(
        "label",
        min_length=1,
        description="field or column of the label: a name; if multi-label a list of names (in tables joined by |)",
    )
    source: Literal["auto", "environment", "hub", "embedded"] = Field(
        "auto",
        description="where to look when neither `path` nor --data names a folder; auto: the folder in TUNELET_DATA, "
        "then the hub if `hub` names a dataset, then the embedded sample",
    )
    hub: str | None = Field(
        None,
        min_length=1,
        description="name of a dataset on the Hugging Face hub; without it, source: hub uses the task's own",
    )
    limit: dict[Split, Annotated[int, Constraint(ge=1)] | None] = Field(
        default_factory=dict,
        description="at most this many examples of a split; keeps the balance of the labels, the same in every run",
    )
    labels: tuple[Annotated[str, Constraint(min_length=1)], ...] | None = Field(
        None, description="label names in order, for a task that is neither built in nor in a file"
    )
    multi_label: bool = Field(
        False, description="whether a text has any number of `labels`; a built-in task or a task file says it itself"
    )

    @model_validator(mode="before")
    @classmethod
    def _name_unnamed_task(cls, values: Any) -> Any:
        # Without this, someone who brings labels would be told that the default task has labels already.
        if isinstance(values, dict) and values.get("labels") is not None and "task" not in values:
            return {**values, "task": "custom"}
        return values
