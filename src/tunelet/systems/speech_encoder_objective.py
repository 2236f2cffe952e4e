"""Loss and scores of a speech encoder, as the loop wants them: CTC over characters, and over word pieces beside it.

What is drawn for a batch (noise, vocal tracts, masks) is a function of (seed, the clips in it), so a run that goes on
hears what it would have heard. Held-out clips have noise of a fixed draw. Not here: which clips
(`speech_encoder_data`), the steps.

Example:
    >>> objective.loss(model, objective.batch(np.array([0, 1]))).backward()         # doctest: +SKIP
    >>> objective.score(model, "test").wer                                          # doctest: +SKIP
    0.21
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from torch import Tensor, nn

from tunelet.base.files import sha256_bytes
from tunelet.base.streams import numpy_stream
from tunelet.data.audio import RATE
from tunelet.data.noise import Samples, noise, with_noise
from tunelet.data.spoken_clips import Clips
from tunelet.evaluation.transcripts import WordErrors, rate, word_errors
from tunelet.models.evaluating import evaluating
from tunelet.models.speech.fbank import HOP
from tunelet.models.speech.masks import bands, masked, stretches
from tunelet.models.speech.protocol import SpeechFeatures
from tunelet.models.speech.small import SmallSpeechEncoder
from tunelet.models.speech.soft_pieces import SoftPieces
from tunelet.models.speech.warping import warped
from tunelet.systems.speech_encoder_recordings import RECORDED
from tunelet.systems.speech_encoder_settings import AugmentationSettings

#: seconds of each kind of noise, of which clips get a stretch
_NOISE = 60
#: seconds of sound, padding included, in a batch of the evaluation
_EVALUATED = 120


class Learner(nn.Module):
    """What trains: the encoder, and its head over word pieces if there is one."""

    def __init__(self, encoder: SmallSpeechEncoder, pieces: SoftPieces | None) -> None:
        super().__init__()
        self.encoder, self.pieces = encoder, pieces


@dataclass(frozen=True)
class HeardScores:
    """Errors on a split, greedy, without a language model.

    Attributes:
        loss: of the characters, as in training.
        words: errors of the words.
        edits, characters: edits of the characters, and how many there are.
        by_voice: errors of the words of each voice.
        piece_edits, pieces: of the head over word pieces; pieces that it lacks are errors. 0 without a head.
    """

    loss: float
    words: WordErrors
    edits: int
    characters: int
    by_voice: Mapping[str, WordErrors]
    piece_edits: int = 0
    pieces: int = 0

    @property
    def wer(self) -> float:
        """Word error rate."""
        return self.words.rate

    @property
    def cer(self) -> float:
        """Character error rate."""
        return rate(self.edits, self.characters)

    @property
    def piece_error_rate(self) -> float | None:
        """Error rate of word pieces, or None."""
        return self.piece_edits / self.pieces if self.pieces else None


@dataclass
class HearingObjective:
    """See the top of the file, and `training.loop.Objective`.

    Attributes:
        clips: by split.
        tokens: token ids of each text, by split; empty where there is no head over pieces.
        weight: of the loss over pieces.
        augmentation: what is done to clips while training.
        seed: of the run.
        distance, table, align: of an alignment (`speech_encoder_alignment`), or None, None, 0: of what is heard and the
            texts; word embeddings; weight of it in the loss.
    """

    clips: dict[str, Clips]
    tokens: dict[str, Sequence[Sequence[int]]]
    weight: float
    augmentation: AugmentationSettings
    seed: int
    distance: Callable[[Sequence[Tensor], Sequence[str]], Tensor] | None = None
    table: Tensor | None = None
    align: float = 0.0
    _noise: dict[str, Samples] = field(default_factory=dict, repr=False)

    def batch(self, indices: NDArray[np.int64]) -> dict[str, Tensor]:
        """Sound of some training clips with noise, (B, T); what is masked; ``rows`` tells which clips they are."""
        key = sha256_bytes(np.asarray(indices, dtype="<i8").tobytes())
        stream = numpy_stream(self.seed, "augmentation", key)
        made = padded([self._noisy(self.clips["train"].samples(int(row)), stream) for row in indices])
        frames = made["attention_mask"].sum(1).numpy()[:, None]
        wishes = self.augmentation
        widths = np.maximum(1, np.minimum(wishes.time_width, frames // 10)).repeat(wishes.time_masks, 1)
        times = stretches(widths, frames, stream)
        mels = bands(len(indices), wishes.mel_masks, wishes.mel_width, stream)
        warps = torch.from_numpy(np.exp(wishes.warp * stream.uniform(-1.0, 1.0, len(indices))))
        return {**made, "rows": torch.from_numpy(np.asarray(indices)), "times": times, "mels": mels, "warps": warps}

    def loss(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        """CTC loss of the characters, and `weight` times that of the pieces."""
        energies, frames = model.encoder.energies(batch["waveforms"], batch["lengths"])
        energies = warped(energies, batch["warps"]) if self.augmentation.warp else energies
        heard = model.encoder.encode(masked(energies, batch["times"], batch["mels"]), frames)
        return self._loss(model, heard, "train", batch["rows"].tolist())

    def evaluate(self, model: Any) -> dict[str, float]:
        """``wer``, ``cer`` and ``loss`` on validation, and ``piece_error_rate`` where there are pieces."""
        scores = self.score(model, "validation")
        found = {"wer": scores.wer, "cer": scores.cer, "loss": scores.loss}
        return found if scores.piece_error_rate is None else {**found, "piece_error_rate": scores.piece_error_rate}

    def score(self, model: Any, split: str, *, snr_db: tuple[float, float] | None = None) -> HeardScores:
        """Errors on a held-out split, with noise that is the same every time.

        Args:
            snr_db: range of its loudness; None: that of the augmentation.
        """
        clips, device = self.clips[split], next(model.parameters()).device
        loss, edits, characters, piece_edits, pieces = 0.0, 0, 0, 0, 0
        by_voice: dict[str, WordErrors] = {}
        for rows in batches_of(clips.lengths, _EVALUATED):
            sounds = [self.held_out(split, row, snr_db) for row in rows]
            made = {name: tensor.to(device) for name, tensor in padded(sounds).items()}
            with evaluating(model):
                heard = model.encoder(made["waveforms"], made["lengths"])
                loss += float(self._characters(model, heard, split, rows)) * len(rows)
                said = model.encoder.transcribe(heard)
                tokens = model.pieces.tokens(heard) if self.tokens else []
            for row, text in zip(rows, said, strict=True):
                found = word_errors(clips.texts[row], text)
                by_voice[clips.voices[row]] = by_voice.get(clips.voices[row], WordErrors()) + found
                edits += Levenshtein.distance(clips.texts[row], " ".join(text.split()))
                characters += len(clips.texts[row])
            for row, ids in zip(rows, tokens, strict=False):
                piece_edits += Levenshtein.distance(list(self.tokens[split][row]), ids)
                pieces += len(self.tokens[split][row])
        total = sum(by_voice.values(), WordErrors())
        return HeardScores(loss / len(clips), total, edits, characters, by_voice, piece_edits, pieces)

    def held_out(self, split: str, row: int, snr_db: tuple[float, float] | None = None) -> Samples:
        """A held-out clip with its noise, always the same; `snr_db` as for `score`. Recordings are as they are."""
        if split == RECORDED and snr_db is None:
            return self.clips[split].samples(row)
        low, high = self.augmentation.snr_db if snr_db is None else snr_db
        stream = numpy_stream(0, "held-out noise", split, row)
        return with_noise(self.clips[split].samples(row), "pink", float(stream.uniform(low, high)), stream)

    def names(self, indices: NDArray[np.int64]) -> list[str]:
        """Texts and voices."""
        train = self.clips["train"]
        return [f"{train.texts[int(i)][:40]!r} by {train.voices[int(i)]}" for i in indices]

    def _loss(self, model: Any, heard: SpeechFeatures, split: str, rows: Sequence[int]) -> Tensor:
        loss = self._characters(model, heard, split, rows)
        if not self.tokens or not self.weight:
            return loss
        head, frames = model.pieces, heard.lengths.tolist()
        tokens = self.tokens[split]
        targets = [head.targets(tokens[row], count) for row, count in zip(rows, frames, strict=True)]
        total: Tensor = loss + self.weight * head.ctc_loss(heard, targets)
        if self.distance is None or self.table is None:
            return total
        texts = [self.clips[split].texts[row] for row in rows]
        return total + self.align * self.distance(head.vectors(heard, self.table), texts)

    def _characters(self, model: Any, heard: SpeechFeatures, split: str, rows: Sequence[int]) -> Tensor:
        texts = [self.clips[split].texts[row] for row in rows]
        loss: Tensor = model.encoder.ctc_loss(heard, texts)
        return loss

    def _noisy(self, samples: Samples, stream: np.random.Generator) -> Samples:
        """The clip, with a stretch of one of two long noises in a share of the cases."""
        draw, loud, pink, start = stream.random(4)
        if draw >= self.augmentation.noise:
            return samples
        low, high = self.augmentation.snr_db
        kind = "pink" if pink < 0.5 else "white"
        if kind not in self._noise:
            long = noise("pink" if kind == "pink" else "white", _NOISE * RATE, numpy_stream(self.seed, "noise", kind))
            self._noise[kind] = long
        whole = self._noise[kind]
        stretch = np.resize(np.roll(whole, -int(start * len(whole)))[: len(samples)], len(samples))
        power = float(np.mean(np.square(samples))) / 10 ** ((low + loud * (high - low)) / 10)
        return samples + np.float32(power**0.5) * stretch


def batches_of(lengths: NDArray[np.int64], seconds: float) -> list[list[int]]:
    """Clips in batches of about so many seconds, padding included, the longest first."""
    batches: list[list[int]] = []
    for row in np.argsort(-lengths, kind="stable").tolist():
        if not batches or (len(batches[-1]) + 1) * int(lengths[batches[-1][0]]) > seconds * RATE:
            batches.append([])
        batches[-1].append(row)
    return batches


def frames_of(clips: Clips) -> NDArray[np.int64]:
    """(N,) frames of 10 ms of each clip: what the loop counts as its tokens."""
    return np.maximum(1, clips.lengths // HOP)


def padded(sounds: Sequence[Samples]) -> dict[str, Tensor]:
    """``waveforms`` (B, T), ``lengths`` (B,) and the ``attention_mask`` (B, F) of frames of 10 ms."""
    lengths = torch.tensor([len(sound) for sound in sounds])
    waveforms = torch.zeros(len(sounds), int(lengths.max()))
    for row, sound in enumerate(sounds):
        waveforms[row, : len(sound)] = torch.from_numpy(np.ascontiguousarray(sound))
    frames = (lengths // HOP).clamp(min=1)
    mask = torch.arange(int(frames.max()))[None, :] < frames[:, None]
    return {"waveforms": waveforms, "lengths": lengths, "attention_mask": mask.long()}
