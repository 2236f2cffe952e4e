"""Schema of an `adapt-lm` recipe and the reading of its data. Not here: running it (`systems.adapt_lm`); torch.

Example:
    >>> from tunelet.systems import load_recipe
    >>> load_recipe("adapt-lm").runs[0].settings["language"].kind
    'masked'
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from tunelet.base.errors import DataError, Problem
from tunelet.base.files import digest
from tunelet.base.settings import Field, Settings
from tunelet.base.yaml_lines import Tree
from tunelet.data.nbest_files import read_nbest
from tunelet.data.novels import normalise
from tunelet.data.places import ENVIRONMENT
from tunelet.data.plain_text import PlainText, PlainTextSettings, find_text
from tunelet.models.settings import ModelSettings
from tunelet.systems import points
from tunelet.systems.points import Name, Seeds
from tunelet.systems.recipes import LoadedRecipe, PlannedRun
from tunelet.training.settings import TrainingSettings
from tunelet.training.tracking import require_trackers
from tunelet.tuning.settings import TuningSettings

#: sections that a block of `runs` may change
SECTIONS = ("model", "language", "tuning", "training")


class LanguageSettings(Settings):
    """What kind of language model, over which tokens."""

    kind: Literal["masked", "causal"] = Field(
        "masked", description="masked: a token from all others; causal: a token from those left of it"
    )
    vocabulary: Literal["full", "cut"] = Field(
        "full", description="full: probabilities are over all tokens; cut: over those of the text, which trains faster"
    )
    minimum_count: int = Field(2, ge=1, description="cut: how often a token must stand in the training text to be kept")
    lists: tuple[str, ...] = Field(
        (),
        description="cut: N-best lists whose tokens are kept, too, and those of their references; a relative path that "
        "is not there is looked for in TUNELET_DATA",
    )
    mask_share: float = Field(0.15, gt=0, lt=1, description="masked: share of the tokens that are asked for")

    @model_validator(mode="after")
    def _lists_for_a_cut(self) -> LanguageSettings:
        if self.lists and self.vocabulary == "full":
            raise ValueError("lists are for vocabulary: cut; the full vocabulary holds their tokens")
        return self


class AdaptLmTraining(TrainingSettings):
    """As for classification, with the validation loss to choose by."""

    select: Literal["loss"] = Field("loss", description="validation loss, in nats a token")

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> AdaptLmTraining:
        if self.label_smoothing:
            raise ValueError("label_smoothing is for classification; take it out")
        if self.batch.pad_to == "max":
            raise ValueError(
                "batch.pad_to: max is for classification; a batch of text is padded to its own longest row"
            )
        return self


class AdaptLmPoint(Settings):
    """A recipe without its grid: what one group of runs is."""

    system: Literal["adapt-lm"] = Field(description="which system runs the recipe")
    name: Name = Field(description="name of the recipe; letters, digits, '-', '_', '.'")
    title: str = Field("", description="one line for the report")
    data: PlainTextSettings = Field(default_factory=PlainTextSettings, description="which text")
    model: ModelSettings = Field(default_factory=ModelSettings, description="which base")
    language: LanguageSettings = Field(default_factory=LanguageSettings, description="what kind of language model")
    tuning: TuningSettings = Field(default_factory=TuningSettings, description="what is trained")
    training: AdaptLmTraining = Field(default_factory=AdaptLmTraining, description="how it is trained")
    seeds: Seeds = Field((1,), min_length=1, description="each group is run once with each seed")


class AdaptLmBlock(Settings):
    """A block of `runs`: a name, changes to sections, and a grid over dotted keys."""

    name: str = Field(description="name of the group; a grid adds its values to it")
    model: dict[str, Any] = Field(default_factory=dict, description="keys of `model` that differ")
    language: dict[str, Any] = Field(default_factory=dict, description="keys of `language` that differ")
    tuning: dict[str, Any] = Field(default_factory=dict, description="keys of `tuning` that differ")
    training: dict[str, Any] = Field(default_factory=dict, description="keys of `training` that differ")
    grid: dict[str, list[Any]] = Field(
        default_factory=dict, description="dotted key -> values; all combinations are run"
    )


class AdaptLmRecipe(AdaptLmPoint):
    """A whole recipe, for the JSON Schema."""

    runs: list[AdaptLmBlock] | None = Field(None, description="groups of runs; without it the recipe is one group")


@dataclass(frozen=True)
class AdaptLmData:
    """What the runs of a recipe are trained on.

    Attributes:
        text: the files.
        settings: what is held out of them.
        lists: by the path in the recipe: the different texts of N-best lists, normalised as the text is.
    """

    text: PlainText
    settings: PlainTextSettings
    lists: dict[str, tuple[str, ...]]

    def texts(self, language: LanguageSettings) -> tuple[str, ...]:
        """The texts of the lists of a run."""
        return tuple(text for path in language.lists for text in self.lists[path])

    def sha256(self, language: LanguageSettings) -> str:
        """Hash of `texts`."""
        return digest(list(self.texts(language)))


def expand(tree: Tree) -> LoadedRecipe:
    """Validate a recipe's tree and span its grid; see `systems.points.expand`."""
    return points.expand(tree, "adapt-lm", AdaptLmPoint, SECTIONS)


def load_data(recipe: LoadedRecipe, data_dir: Path | None) -> AdaptLmData:
    """Find the text of a recipe, and read its lists.

    Raises:
        DataError: everything that is wrong in them, at once.
        MissingExtraError: a tracker that the recipe asks for is not installed.
    """
    require_trackers([name for run in recipe.runs for name in sections(run)[3].trackers])
    if not isinstance(recipe.data, PlainTextSettings):
        raise TypeError(f"expected PlainTextSettings, found {type(recipe.data).__name__}")
    problems: list[Problem] = []
    text = None
    try:
        text = find_text(recipe.data, data_dir, os.environ)
    except DataError as error:
        problems += error.problems
    lists: dict[str, tuple[str, ...]] = {}
    for path in dict.fromkeys(path for run in recipe.runs for path in sections(run)[1].lists):
        try:
            lists[path] = _texts(path)
        except DataError as error:
            problems += error.problems
    if problems or text is None:
        raise DataError(problems)
    return AdaptLmData(text, recipe.data, lists)


def sections(run: PlannedRun) -> tuple[ModelSettings, LanguageSettings, TuningSettings, AdaptLmTraining]:
    """The sections of a planned run, with their types."""
    model, language, tuning, training = (run.settings[key] for key in SECTIONS)
    if (
        isinstance(model, ModelSettings)
        and isinstance(language, LanguageSettings)
        and isinstance(tuning, TuningSettings)
        and isinstance(training, AdaptLmTraining)
    ):
        return model, language, tuning, training
    raise TypeError(f"a planned run of `adapt-lm` has the sections {', '.join(SECTIONS)}")


def json_schema() -> dict[str, Any]:
    """JSON Schema of a recipe, for editors: completion and errors while typing."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **AdaptLmRecipe.model_json_schema()}


def _texts(path: str) -> tuple[str, ...]:
    """The different texts of a file of lists, references included."""
    place, above = Path(path).expanduser(), os.environ.get(ENVIRONMENT)
    if not place.exists() and not place.is_absolute() and above:
        place = Path(above).expanduser() / path
    if not place.exists():
        hint = f"relative paths start at {Path.cwd()}, then at the folder in {ENVIRONMENT}"
        raise DataError(Problem("there are no such lists", path, field="language.lists", hint=hint))
    found = read_nbest(place)
    said = [text for one in found.lists for text in (*(h.text for h in one.hypotheses), one.ref or "")]
    return tuple(dict.fromkeys(normalise(text) for text in said))
