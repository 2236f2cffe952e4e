"""The shape of `result.json`, the file that tools read. Not here: what it means (`results.py`), or how it is written.

The models say what must be there; fields they do not name are allowed, so that a later version may add some. A field
that goes away, or changes its meaning, needs a new `schema` number. What every system writes stands in `AnyRun` and
`AnyResult`; `Run` and `Result` are those of `classify`, other systems have a module of their own (`OTHERS`).

Example:
    >>> sorted(schema()["required"])[:4]
    ['created', 'data', 'finished', 'machine']
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tunelet.base.errors import InputError, Problem

#: The version that this code writes and reads.
VERSION = 1

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    """A part of a result; may hold more than is named."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Source(Part):
    """Where the data came from."""

    kind: Annotated[str, Field(description="recipe, argument, environment, hub or embedded")]
    location: Annotated[str, Field(description="folder, hub name, or name of the embedded sample")]


class Data(Part):
    """The data of the sweep."""

    source: Source
    sha256: Annotated[str, Field(description="content hash over task, labels and all examples")]
    task: str
    labels: Annotated[list[str], Field(min_length=1, description="label names in the order of the model's outputs")]
    splits: Annotated[dict[str, Count], Field(description="number of examples of each split")]
    multi_label: bool = False


class Base(Part):
    """The pretrained model; known by its fingerprint, not by its name."""

    name: str
    fingerprint: str


class Scores(Part):
    """Scores of one split. Further floats and counts (MCC, ECE, confusion, ...) may stand beside these."""

    accuracy: Share
    loss: float | None
    macro_f1: Share
    weighted_f1: Share
    n: Count
    mcc: Annotated[float, Field(ge=-1, le=1)] | None = None
    ece: Share | None = None


class Memory(Part):
    """Bytes that one training step needs, by purpose."""

    parameters: Count
    gradients: Count
    optimizer: Count
    saved_activations: Count


class Resources(Part):
    """What the run cost."""

    train_seconds: Annotated[float, Field(ge=0, description="training alone, without evaluation")]
    tokens_per_second: Annotated[float, Field(ge=0, description="real tokens (no padding) / train_seconds")]
    steps: Count
    peak_memory_bytes: Count
    trainable_parameters: Count
    total_parameters: Annotated[int, Field(gt=0)]
    adapter_bytes: Count
    evaluation_seconds: float | None = None
    wall_seconds: float | None = None
    steps_per_second: float | None = None
    samples_per_second: float | None = None
    padding_share: float | None = None
    peak_memory_kind: str | None = None
    memory: Memory | None = None


class AnyRun(Part):
    """One finished run of any system, without its scores. Runs that differ only by their seed form a group."""

    name: Annotated[str, Field(pattern=r"seed\d+$", description="<group>-seed<N>")]
    group: str
    method: Annotated[str, Field(description="full, lora, dora, ...")]
    seed: int
    folder: Annotated[str, Field(description="folder of the run, relative to result.json")]
    hash: Annotated[str, Field(description="hash of the run's resolved recipe")]
    base: Base
    settings: Annotated[dict[str, Any], Field(description="resolved settings: model, tuning, training, ...")]
    chosen: Annotated[
        list[str], Field(description="keys of `training` that the recipe left to the machine (auto): precision, frozen")
    ] = []
    resources: Resources
    best_step: int | None = None
    together: Annotated[
        int | None, Field(description="runs that trained with it in one process, itself counted; null: alone")
    ] = None
    stopped: Annotated[str | None, Field(description="patience, epochs, ...")] = None
    started: str | None = None
    finished: str | None = None


class Run(AnyRun):
    """A run of `classify`."""

    metrics: Annotated[dict[str, Scores], Field(description="scores of the best checkpoint by split")]


class Selection(Part):
    """How the best setting is chosen."""

    metric: str = "accuracy"
    split: Literal["validation"] = "validation"


class AnyResult(Part):
    """A whole sweep of any system, finished or half-way, without its data and runs."""

    schema_: Annotated[int, Field(alias="schema", description="version of this format")]
    system: Annotated[str, Field(description="classify, ...")]
    recipe: str
    title: str = ""
    hash: Annotated[str, Field(description="hash of the recipe with its data and bases, on any machine")] = ""
    created: str
    finished: bool
    machine: dict[str, Any]
    versions: dict[str, str | None]
    planned: Annotated[list[str], Field(description="names of all runs of the sweep, done or not")]
    selection: Selection = Selection()


class Result(AnyResult):
    """A sweep of `classify`."""

    data: Data
    runs: list[Run]


#: system -> module and model of its result, where it is not `Result`
OTHERS = {
    "adapt-lm": "tunelet.report.adapt_lm_schema:AdaptLmResult",
    "fuse": "tunelet.report.fuse_schema:FuseResult",
    "rescore": "tunelet.report.rescore_schema:RescoreResult",
    "understand-base": "tunelet.report.understand_base_schema:BaseResult",
    "speech-encoder": "tunelet.report.speech_encoder_schema:SpeechEncoderResult",
    "understand": "tunelet.report.understand_schema:UnderstandResult",
}
R = TypeVar("R", bound=AnyResult)


def model_of(system: object) -> type[AnyResult]:
    """The model of a system's result."""
    module, _, name = OTHERS.get(str(system), "").partition(":")
    found: type[AnyResult] = getattr(importlib.import_module(module), name) if module else Result
    return found


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the `result.json` of `classify`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Result.model_json_schema(by_alias=True)}


def validate(result: Any, file: Path | str | None = None) -> Result:
    """`validate_as` the result of `classify`."""
    return validate_as(Result, result, file)


def validate_as(model: type[R], result: Any, file: Path | str | None = None) -> R:
    """Check a parsed `result.json` and give it types.

    Args:
        model: of the system that wrote it, as `model_of` tells.

    Raises:
        InputError: one problem for each field that is missing or wrong, with the file and the dotted field.
    """
    if isinstance(result, dict) and result.get("schema") not in (VERSION, None):
        found = result["schema"]
        raise InputError(
            Problem(f"found version {found!r}, expected {VERSION}", file=file, field="schema",
                    hint="read it with the Tunelet that wrote it, or run the recipe again")
        )  # fmt: skip
    try:
        return model.model_validate(result)
    except ValidationError as error:
        raise InputError([_problem(entry, file) for entry in error.errors(include_url=False)]) from None


def _problem(entry: Any, file: Path | str | None) -> Problem:
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in entry["loc"]).lstrip(".")
    message = entry["msg"][0].lower() + entry["msg"][1:]
    if entry["type"] != "missing":
        message += f", found {_short(entry['input'])}"
    return Problem(message, file=file, field=field or None)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
