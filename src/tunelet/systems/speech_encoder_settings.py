"""Sections of a `speech-encoder` recipe: what is spoken, sizes, heads, the search, augmentation. Not here: the recipe.

Example:
    >>> WordSearchSettings(order=2, prune=(0, 1)).order
    2
"""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from tunelet.base.settings import Field, Settings
from tunelet.data.speaking import TEST_VOICES, TRAIN_VOICES, VALIDATION_VOICES, MannerSettings
from tunelet.models.settings import EMBEDDED


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
    times: int = Field(1, ge=1, description="how often an epoch hears each, with other noise every time")


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


class WordSearchSettings(Settings):
    """The search for words over the characters' scores, with an n-gram language model of the sources' texts."""

    order: int = Field(3, ge=0, description="words of the language model's longest n-gram, 2 or more; 0: no search")
    minimum_count: int = Field(1, ge=1, description="how often a word must stand in the texts to be known")
    dictionary: Literal["cmudict"] | None = Field(
        "cmudict", description="words that are known beside those of the texts; null: none"
    )
    prune: tuple[int, ...] = Field(
        (0, 1, 1), description="for each length, n-grams that occur at most so often are left out; it begins with 0"
    )
    weights: tuple[float, ...] = Field(
        (0.5, 0.75, 1.0), min_length=1, description="of the language model, of which validation chooses one"
    )
    word_scores: tuple[float, ...] = Field((0.0, 1.0), min_length=1, description="added for each word; the same")
    beam: int = Field(1000, ge=1, description="hypotheses that are kept")

    @model_validator(mode="after")
    def _prunes_less_of_the_short(self) -> WordSearchSettings:
        if self.order == 1:
            raise ValueError("order: the search's language model has two words at least; 0 is no search")
        if not self.prune or self.prune[0] != 0 or list(self.prune) != sorted(self.prune):
            raise ValueError(f"prune: expected numbers that begin with 0 and do not fall, found {list(self.prune)}")
        return self


class AugmentationSettings(Settings):
    """What is done to a clip while training."""

    noise: float = Field(0.7, ge=0, le=1, description="share of the clips with noise")
    snr_db: tuple[float, float] = Field((8.0, 40.0), description="power of speech to noise, decibels, drawn evenly")
    warp: float = Field(
        0.15, ge=0, le=0.5, description="widest stretch of the frequencies, as a logarithm: other vocal tracts; 0: none"
    )
    time_masks: int = Field(2, ge=0, description="stretches of frames that are set to the mean")
    time_width: int = Field(20, ge=1, description="longest of them, in frames of 10 ms, at most a tenth of the clip")
    mel_masks: int = Field(2, ge=0, description="bands of bins that are set to the mean")
    mel_width: int = Field(16, ge=1, description="widest of them, in bins")
