"""Schema of an `understand-base` recipe. Not here: reading its tasks (`understand_base_data`), running it; torch.

Example:
    >>> from tunelet.systems import load_recipe
    >>> load_recipe("understand-base").runs[0].settings["episodes"].number
    20000
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from tunelet.base.settings import Field, Settings
from tunelet.base.yaml_lines import Tree
from tunelet.data.understanding.episodes import EpisodeSettings
from tunelet.models.settings import ModelSettings
from tunelet.systems import points
from tunelet.systems.points import Name, Seeds
from tunelet.systems.recipes import LoadedRecipe, PlannedRun
from tunelet.systems.understand_base_data import BaseData, BaseDataSettings, read_tasks
from tunelet.training.settings import BatchSettings, TrainingSettings
from tunelet.training.tracking import require_trackers
from tunelet.tuning.settings import TuningSettings

#: sections that a block of `runs` may change
SECTIONS = ("model", "prefix", "episodes", "tuning", "training")


class PrefixSettings(Settings):
    """What the prefix model is."""

    matching: bool = Field(
        True, description="add how near the query is to definitions and demonstrations for the frozen base"
    )
    matching_dropout: float = Field(
        0.0, ge=0, le=1, description="how often an episode of training goes without that, so that the encoder learns it"
    )
    scale: float = Field(2.0, gt=0, description="of the copy head's cosines before training; it trains, too")
    blocks: bool = Field(
        False,
        description="read a prompt in blocks: definitions see no demonstration, demonstrations not each other, neither "
        "the query, which sees all; what queries share is then computed once",
    )
    train_embeddings: bool = Field(False, description="full fine-tuning: train the embeddings, too")


class EpisodesSection(EpisodeSettings):
    """What the model is meta-trained and watched on."""

    number: int = Field(20_000, ge=1, description="episodes, each a question")
    room: int = Field(320, ge=32, description="tokens that a prompt may take; demonstrations are dropped until it fits")
    validation: int = Field(480, ge=1, description="episodes of validation, spread over regimes and k")
    validation_shown: tuple[int, ...] = Field((0, 1, 3, 5), min_length=1, description="values of k in validation")

    @model_validator(mode="after")
    def _in_order(self) -> EpisodesSection:
        if self.least_classes > self.most_classes:
            raise ValueError(f"least_classes {self.least_classes} is above most_classes {self.most_classes}")
        if not sum(self.regimes.model_dump().values()) > 0:
            raise ValueError("all shares of regimes are 0, expected one above")
        return self


class BaseBatch(BatchSettings):
    """How episodes become batches."""

    size: int = Field(32, ge=1, description="episodes in a batch; one optimiser step sees size x accumulate episodes")


class BaseTraining(TrainingSettings):
    """As for classification; an epoch is all episodes once."""

    epochs: float = Field(1.0, gt=0, description="passes over the episodes")
    batch: BatchSettings = Field(default_factory=BaseBatch, description="how episodes become batches")
    learning_rate: float = Field(3e-4, gt=0, description="peak learning rate")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay (AdamW)")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps with a rising learning rate")
    evaluate_every: int | Literal["epoch"] = Field(125, description="steps between evaluations, or 'epoch'")
    select: Literal["accuracy"] = Field("accuracy", description="share of the episodes of validation that are right")

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> BaseTraining:
        if self.label_smoothing:
            raise ValueError("label_smoothing is for classification; take it out")
        if self.batch.pad_to == "max":
            raise ValueError("batch.pad_to: max is for classification; prompts are padded to the longest of the batch")
        return self


def _full() -> TuningSettings:
    return TuningSettings(method="full")


class BaseStageSettings(Settings):
    """All that a meta-trained model depends on, for a system that has it made (`understand_base.base_stage`)."""

    data: BaseDataSettings = Field(default_factory=BaseDataSettings, description="which tasks")
    model: ModelSettings = Field(default_factory=ModelSettings, description="which base")
    prefix: PrefixSettings = Field(default_factory=PrefixSettings, description="what the prefix model is")
    episodes: EpisodesSection = Field(default_factory=EpisodesSection, description="what it is meta-trained on")
    tuning: TuningSettings = Field(default_factory=_full, description="what is trained")
    training: BaseTraining = Field(default_factory=BaseTraining, description="how it is trained")
    seed: int = Field(1, description="of the meta-training")

    def run(self, name: str = "base") -> PlannedRun:
        """The one run that makes it."""
        return PlannedRun(name, self.seed, {key: getattr(self, key) for key in SECTIONS})


class BasePoint(Settings):
    """A recipe without its grid: what one group of runs is."""

    system: Literal["understand-base"] = Field(description="which system runs the recipe")
    name: Name = Field(description="name of the recipe; letters, digits, '-', '_', '.'")
    title: str = Field("", description="one line for the report")
    data: BaseDataSettings = Field(default_factory=BaseDataSettings, description="which tasks")
    model: ModelSettings = Field(default_factory=ModelSettings, description="which base")
    prefix: PrefixSettings = Field(default_factory=PrefixSettings, description="what the prefix model is")
    episodes: EpisodesSection = Field(default_factory=EpisodesSection, description="what it is meta-trained on")
    tuning: TuningSettings = Field(default_factory=_full, description="what is trained")
    training: BaseTraining = Field(default_factory=BaseTraining, description="how it is trained")
    seeds: Seeds = Field((1,), min_length=1, description="each group is run once with each seed")


class BaseBlock(Settings):
    """A block of `runs`: a name, changes to sections, and a grid over dotted keys."""

    name: str = Field(description="name of the group; a grid adds its values to it")
    model: dict[str, Any] = Field(default_factory=dict, description="keys of `model` that differ")
    prefix: dict[str, Any] = Field(default_factory=dict, description="keys of `prefix` that differ")
    episodes: dict[str, Any] = Field(default_factory=dict, description="keys of `episodes` that differ")
    tuning: dict[str, Any] = Field(default_factory=dict, description="keys of `tuning` that differ")
    training: dict[str, Any] = Field(default_factory=dict, description="keys of `training` that differ")
    grid: dict[str, list[Any]] = Field(
        default_factory=dict, description="dotted key -> values; all combinations are run"
    )


class BaseRecipe(BasePoint):
    """A whole recipe, for the JSON Schema."""

    runs: list[BaseBlock] | None = Field(None, description="groups of runs; without it the recipe is one group")


@dataclass(frozen=True)
class Sections:
    """The sections of a planned run, with their types."""

    model: ModelSettings
    prefix: PrefixSettings
    episodes: EpisodesSection
    tuning: TuningSettings
    training: BaseTraining


def sections(run: PlannedRun) -> Sections:
    """The sections of a planned run."""
    return Sections(**{key: run.settings[key] for key in SECTIONS})  # type: ignore[arg-type]


def expand(tree: Tree) -> LoadedRecipe:
    """Validate a recipe's tree and span its grid; see `systems.points.expand`."""
    return points.expand(tree, "understand-base", BasePoint, SECTIONS)


def load_data(recipe: LoadedRecipe, data_dir: Path | None) -> BaseData:
    """Read the tasks of a recipe.

    Raises:
        DataError: everything that is wrong in them, at once.
        MissingExtraError: a tracker that the recipe asks for is not installed.
    """
    require_trackers([name for run in recipe.runs for name in sections(run).training.trackers])
    if not isinstance(recipe.data, BaseDataSettings):
        raise TypeError(f"expected BaseDataSettings, found {type(recipe.data).__name__}")
    return read_tasks(recipe.data, data_dir)


def json_schema() -> dict[str, Any]:
    """JSON Schema of a recipe, for editors: completion and errors while typing."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **BaseRecipe.model_json_schema()}
