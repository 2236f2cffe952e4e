"""Schema of a `speech-encoder` recipe and the reading of its texts. Not here: speaking them, running it; torch.

Example:
    >>> from tunelet.systems import load_recipe
    >>> load_recipe("understand-speech-encoder").runs[0].settings["encoder"].frames_per_second
    25
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from tunelet.base.settings import Field, Settings
from tunelet.base.yaml_lines import Tree
from tunelet.data.speaking import TEST_VOICES, TRAIN_VOICES, VALIDATION_VOICES, MannerSettings
from tunelet.models.settings import EMBEDDED
from tunelet.systems import points
from tunelet.systems.points import Name, Seeds
from tunelet.systems.recipes import LoadedRecipe, PlannedRun
from tunelet.training.settings import TrainingSettings

#: sections that a block of `runs` may change
SECTIONS = ("encoder", "pieces", "augmentation", "training")


class VoiceSettings(Settings):
    """Voices of espeak-ng by split, such as ``en-us+m3``."""

    train: tuple[str, ...] = Field(TRAIN_VOICES, min_length=1, description="voices that the encoder is trained on")
    validation: tuple[str, ...] = Field(VALIDATION_VOICES, min_length=1, description="voices that choose a checkpoint")
    test: tuple[str, ...] = Field(TEST_VOICES, min_length=1, description="voices of the scores that are reported")

    @model_validator(mode="after")
    def _apart(self) -> VoiceSettings:
        for name, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
            both = sorted({*getattr(self, name)} & {*getattr(self, other)})
            if both:
                raise ValueError(f"{', '.join(both)} stands in {name} and in {other}; a voice belongs to one split")
        return self


class SplitLimits(Settings):
    """Texts of each split, at most."""

    train: int = Field(20_000, ge=1, description="to train on")
    validation: int = Field(300, ge=1, description="to choose a checkpoint by")
    test: int = Field(500, ge=1, description="to report")


class RecordingsSettings(Settings):
    """Real speech: an index in JSON Lines, see `data.spoken`."""

    path: str = Field(
        min_length=1,
        description="a file of JSON Lines that is added to train, or a folder with `train.jsonl` and, if it has one, "
        "`test.jsonl`, of which word errors are told; relative paths start here, then at the folder of TUNELET_DATA",
    )
    text: str = Field("text", min_length=1, description="key of what was said")


class SpokenTextSettings(Settings):
    """Which texts are spoken, by whom, and which recordings are added."""

    source: Literal["auto", "environment", "embedded"] = Field(
        "auto", description="auto: the tasks and novels below --data or TUNELET_DATA, else the embedded sentences"
    )
    tasks: tuple[str, ...] = Field(
        ("meld", "swda", "dstc2_area", "banking77", "clinc150", "snips", "trec6", "emotion"),
        description="tasks, by name or file, whose texts are spoken: those of the train split that stand in no other",
    )
    books: int = Field(12, ge=0, description="novels of text/gutenberg, drawn, whose sentences are spoken, too")
    novel_share: float = Field(0.25, ge=0, lt=1, description="share of the texts that are of novels")
    words: tuple[int, int] = Field((2, 18), description="fewest and most words of a text")
    limit: SplitLimits = Field(
        default_factory=lambda: SplitLimits(),
        description="at most so many texts of each split, evenly from all sources; each is spoken once",
    )
    voices: VoiceSettings = Field(default_factory=VoiceSettings, description="who speaks")
    manner: MannerSettings = Field(default_factory=MannerSettings, description="how")
    recordings: tuple[RecordingsSettings, ...] = Field((), description="real speech beside it")
    seed: int = Field(1, description="draws texts, voices and manners; apart from the seeds of the runs")
    workers: int = Field(2, ge=1, description="programs that speak at the same time")

    @model_validator(mode="after")
    def _orders(self) -> SpokenTextSettings:
        if not 1 <= self.words[0] <= self.words[1]:
            raise ValueError(f"words: expected fewest and most, found {list(self.words)}")
        return self


class EncoderSettings(Settings):
    """Sizes of the encoder; see `models.speech.small.SmallSettings`."""

    width: int = Field(144, ge=8, description="of the layers; a multiple of twice the heads")
    layers: int = Field(6, ge=1, description="how many")
    heads: int = Field(4, ge=1, description="of the attentions")
    feed_forward: int = Field(4, ge=1, description="inner width, as a multiple of the width")
    kernel: int = Field(15, ge=1, description="frames that the convolution of a layer sees; odd")
    mels: int = Field(80, ge=8, description="bins of the log mel energies")
    frames_per_second: Literal[25, 50] = Field(25, description="of what it gives")
    dropout: float = Field(0.1, ge=0, lt=1, description="while training")

    @model_validator(mode="after")
    def _fits(self) -> EncoderSettings:
        if self.width % (2 * self.heads) or self.kernel % 2 == 0:
            raise ValueError(f"expected a width that is a multiple of {2 * self.heads} (2 x heads), and an odd kernel")
        return self


class PieceHeadSettings(Settings):
    """The head over word pieces of a language model, for speech in the place of its words."""

    base: str = Field(EMBEDDED, min_length=1, description="language model whose tokenizer cuts texts into pieces")
    weight: float = Field(0.5, ge=0, description="of its loss beside that of the characters; 0: no such head")
    layers: int = Field(1, ge=0, description="layers before it, at half the frames")
    align: float = Field(1.0, gt=0, description="weight of 1 - cosine of sentences heard and read, in that stage")
    align_steps: int = Field(
        0, ge=0, description="steps of a last stage that brings what is heard near the text in the frozen base; 0: none"
    )
    minimum_count: int = Field(2, ge=1, description="how often a piece must stand in the training texts")

    @model_validator(mode="after")
    def _aligns_a_head(self) -> PieceHeadSettings:
        if self.align_steps and not self.weight:
            raise ValueError("align_steps: there is no head over word pieces to align; give it a weight")
        return self


class AugmentationSettings(Settings):
    """What is done to a clip while training."""

    noise: float = Field(0.7, ge=0, le=1, description="share of the clips with noise")
    snr_db: tuple[float, float] = Field((8.0, 40.0), description="power of speech to noise, decibels, drawn evenly")
    time_masks: int = Field(2, ge=0, description="stretches of frames that are set to the mean")
    time_width: int = Field(20, ge=1, description="longest of them, in frames of 10 ms, at most a tenth of the clip")
    mel_masks: int = Field(2, ge=0, description="bands of bins that are set to the mean")
    mel_width: int = Field(16, ge=1, description="widest of them, in bins")


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
    if not isinstance(recipe.data, SpokenTextSettings):
        raise TypeError(f"expected SpokenTextSettings, found {type(recipe.data).__name__}")
    return load_speech(recipe.data, data_dir)


Sections = tuple[EncoderSettings, PieceHeadSettings, AugmentationSettings, SpeechTraining]


def sections(run: PlannedRun) -> Sections:
    """The sections of a planned run, with their types."""
    encoder, pieces, augmentation, training = (run.settings[key] for key in SECTIONS)
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
