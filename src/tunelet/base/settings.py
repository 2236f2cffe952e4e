"""The base class of every section of a recipe. Not here: reading YAML (`base.recipe`).

Example:
    >>> class Batch(Settings):
    ...     size: int = Field(16, ge=1, description="sentences in a batch")
    >>> Batch(size=8).size
    8
"""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic import Field as Field  # re-exported: sections import both names from here


class Settings(BaseModel):
    """Frozen, and an unknown key is an error. Every field carries a description: it feeds the JSON Schema."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic takes true for 1, so `patience: true` would mean one evaluation
        annotation = cls.model_fields[str(info.field_name)].annotation
        kinds = {annotation, *get_args(annotation)}
        if isinstance(value, bool) and bool not in kinds and kinds & {int, float}:
            raise ValueError("expected a number")
        return value
