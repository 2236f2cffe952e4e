"""Sections of an `understand` recipe: data, model, approach, how it is asked. Not here: whole recipes; torch.

Example:
    >>> ApproachSettings(regime="random", pool=10).tunes
    True
    >>> UnderstandDataSettings(tasks=["snips"], k=[0, 1]).named
    ('snips',)
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, model_validator
from pydantic import Field as Constraint

from tunelet.base.settings import Field, Settings
from tunelet.data.recognisers.settings import SphinxSettings
from tunelet.models.settings import EMBEDDED, ModelSettings

#: what a run does with the label names while tuning, or instead of tuning
RunRegime = Literal["none", "regular", "symbol", "random", "knn", "definition"]
#: regimes without a model of prompts
CONTROLS: tuple[RunRegime, ...] = ("knn", "definition")
#: regimes that train nothing
UNTUNED: tuple[RunRegime, ...] = ("none", *CONTROLS)
Query = Literal["text", "speech"]
Demonstrations = Literal["retrieved", "random"]
Order = Literal["nearest-last", "nearest-first", "shuffled"]
AnswerKind = Literal["constrained", "free-strict", "free-lenient", "calibrated"]
#: more demonstrations than a tuned model has seen are not asked for
MOST_SHOWN = 20


def _once(values: tuple[object, ...]) -> tuple[object, ...]:
    if len(set(values)) < len(values):
        raise ValueError(f"{', '.join(map(str, values))}: one stands there twice")
    return values


_Names = Annotated[tuple[str, ...], AfterValidator(_once)]
_Shown = Annotated[int, Constraint(ge=0, le=MOST_SHOWN)]


class UnderstandDataSettings(Settings):
    """Which tasks, how much of each, and what queries are."""

    sources: _Names = Field(
        (), description="tasks that are tuned on, each in runs of its own: names, or paths of task files"
    )
    tasks: _Names = Field(min_length=1, description="tasks that are asked: names, or paths of task files")
    k: Annotated[tuple[_Shown, ...], AfterValidator(_once)] = Field(
        (0, 1, 2, 3, 4, 5), min_length=1, description="demonstrations in a prompt, each a point of the curve"
    )
    items: int | None = Field(
        500, ge=1, description="at most so many test examples of a task, each class in its share; null: all"
    )
    train_limit: int | None = Field(2000, ge=2, description="at most so many training examples of a source; null: all")
    validation: int | None = Field(
        200, ge=2, description="at most so many validation examples of a source, which choose the checkpoint; null: all"
    )
    pool: Annotated[tuple[Literal["train", "validation"], ...], AfterValidator(_once)] = Field(
        ("train", "validation"), min_length=1, description="splits whose examples may be shown before a query"
    )
    pool_limit: int | None = Field(
        5000, ge=1, description="at most so many examples of a task that may be shown; null: all"
    )
    classes: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="task -> its classes that count; rows of others are left out"
    )
    query: Annotated[tuple[Query, ...], AfterValidator(_once)] = Field(
        ("text",), min_length=1, description="what is asked about: the text, the sound, or both side by side"
    )
    cascade: bool = Field(
        False, description="speech also as text: what a recogniser heard (the task's own field, else `recogniser`)"
    )
    speak: bool = Field(
        False, description="speech: examples without sound are spoken by espeak-ng, which has to be installed"
    )
    recogniser: SphinxSettings = Field(
        default_factory=lambda: SphinxSettings(n=1), description="cascade: the recogniser of sound"
    )
    workers: int = Field(2, ge=1, description="programs that speak, and processes that recognise, at the same time")
    encoder: str = Field(
        EMBEDDED, min_length=1, description="base of the sentence vectors (mean pooling) by which examples are similar"
    )

    @property
    def named(self) -> tuple[str, ...]:
        """Every task of the recipe once, as it was written, sources first."""
        return tuple(dict.fromkeys((*self.sources, *self.tasks)))

    @model_validator(mode="after")
    def _classes_of_known_tasks(self) -> UnderstandDataSettings:
        unknown = [name for name in self.classes if name not in self.named]
        if unknown:
            raise ValueError(f"classes: {unknown[0]!r} is not among the tasks {', '.join(self.named)}")
        if self.cascade and "speech" not in self.query:
            raise ValueError("cascade: it is a way to ask about speech; take speech into data.query")
        return self


class UnderstandModelSettings(ModelSettings):
    """Which model reads the prompts."""

    kind: Literal["prefix", "causal", "salmonn", "processor"] = Field(
        "prefix",
        description="prefix: an encoder with an answer slot that points at class names; causal: a causal language "
        "model; salmonn: SALMONN from its published files; processor: an audio language model with its processor",
    )
    max_length: int = Field(512, ge=4, description="longest prompt in tokens; demonstrations that do not fit are left "
                            "out, the least similar first")  # fmt: skip
    matching: bool = Field(True, description="prefix: also compare the query with definitions, by sentence vectors")
    blocks: bool = Field(False, description="prefix: read prompts in blocks, what queries share once")
    folder: str | None = Field(
        None,
        description="salmonn: folder with `whisper` and `vicuna` (folders), `beats.pt` and `salmonn.pth` or "
        "`salmonn.safetensors` (files; both may be missing); links will do",
    )
    ears: str | None = Field(
        None,
        description="prefix: what the model hears with: the folder of an encoder, or a recipe of `speech-encoder` "
        "that makes one; null: it reads text",
    )
    heard_as: Literal["words", "pieces", "characters"] = Field(
        "words",
        description="prefix with ears, what stands in the place of the query's words: what a search with a language "
        "model wrote, vectors of the word pieces that were heard, or what the letters' head wrote",
    )
    parts: Literal["code", "paper", "connector", "lora"] = Field(
        "code",
        description="salmonn: what trains. code: Q-Former, projection, norms, LoRA; paper: the encoders, too; "
        "connector: as code without LoRA; lora: LoRA alone",
    )
    chat: bool = Field(False, description="processor: ask in its chat template, as models tuned for conversation want")

    @model_validator(mode="after")
    def _parts_of_its_kind(self) -> UnderstandModelSettings:
        if (self.kind == "salmonn") != (self.folder is not None):
            raise ValueError(f"model.folder goes with model.kind salmonn alone, found kind {self.kind}")
        if self.ears is not None and self.kind != "prefix":
            raise ValueError(f"model.ears is for model.kind prefix, found {self.kind}")
        if self.chat and self.kind != "processor":
            raise ValueError(f"model.chat is for model.kind processor, found {self.kind}")
        if self.kind == "processor":
            if self.base.startswith("embedded:"):
                raise ValueError(f"model.base {self.base}: model.kind processor wants an audio language model, such as "
                                 "Qwen/Qwen2-Audio-7B-Instruct or its folder")  # fmt: skip
            others = {"matching": "prefix", "blocks": "prefix", "heard_as": "prefix", "parts": "salmonn"}
            for key, kind in others.items():
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"model.{key} is for model.kind {kind}, found processor")
        return self

    @property
    def hears(self) -> bool:
        """Whether prompts may have a place for speech."""
        return self.kind in ("salmonn", "processor") or self.ears is not None


class ApproachSettings(Settings):
    """What a run does."""

    regime: RunRegime = Field(
        "random",
        description="names of the classes while tuning: their own (regular), symbols (symbol), or permuted anew in "
        "each batch (random); none: the base as it is; controls without a model: knn (majority of the most similar "
        "examples) and definition (the most similar definition)",
    )
    pool: int | None = Field(
        None, ge=1, description="random: draw from so many permutations; null: from all, uniformly"
    )
    query: Query = Field("text", description="what is tuned on: text, or speech")
    definitions: Literal["query", "batch"] = Field(
        "query",
        description="order of the definitions while tuning: drawn for each prompt, or for each batch, whose prompts "
        "then begin alike: a model that reads in blocks reads that once",
    )

    @model_validator(mode="after")
    def _pool_of_random(self) -> ApproachSettings:
        if self.pool is not None and self.regime != "random":
            raise ValueError(f"approach.pool is for approach.regime random, found {self.regime}")
        return self

    @property
    def tunes(self) -> bool:
        """Whether anything trains."""
        return self.regime not in UNTUNED


class EvaluationSettings(Settings):
    """How a model is asked. Of each list the first value is the main one; the others vary one at a time."""

    demonstrations: Annotated[tuple[Demonstrations, ...], AfterValidator(_once)] = Field(
        ("retrieved",), min_length=1, description="examples that are shown: the most similar, or any"
    )
    orders: Annotated[tuple[Order, ...], AfterValidator(_once)] = Field(
        ("nearest-last",), min_length=1, description="their order: the most similar next to the query, or first, or any"
    )
    answers: Annotated[tuple[AnswerKind, ...], AfterValidator(_once)] = Field(
        ("constrained",),
        min_length=1,
        description="constrained: one of the classes; free: as written, read strictly or leniently; calibrated: "
        "constrained, less what a query without content gets (free and calibrated: not for model.kind prefix)",
    )
    lora_scale: Annotated[tuple[float | None, ...], AfterValidator(_once)] = Field(
        (None,), min_length=1, description="factors on the update of a tuned LoRA when it is asked; null: as trained"
    )
    definitions: Literal["query", "task", "canonical"] = Field(
        "query",
        description="order of the definitions: drawn for each query, or once for a task (so that prompts share their "
        "beginning), or as in the task file",
    )
    seed: int | None = Field(
        None, description="of these draws and of random demonstrations; null: that of the run, the same for all blocks"
    )

    @model_validator(mode="after")
    def _scales(self) -> EvaluationSettings:
        if any(scale is not None and scale < 0 for scale in self.lora_scale):
            raise ValueError("evaluation.lora_scale: expected numbers of at least 0, or null")
        return self
