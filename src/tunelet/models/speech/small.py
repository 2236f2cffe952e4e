"""A small speech encoder of our own, to be trained on a few processor cores: log mel energies, strided convolutions to
25 or 50 frames a second, a few Transformer layers with a short convolution in each, and a CTC head over characters.

Every layer is ``x + attention(LN x)``, ``x + convolution(LN x)``, ``x + feed-forward(LN x)``; attention knows places by
rotation of queries and keys. Each clip's log mel energies lose their mean, bin by bin, so that loudness and channel do
not matter. With the default sizes it has about 3 million parameters. Not here: training it, or its data.

Example:
    >>> encoder = SmallSpeechEncoder(SmallSettings(width=16, layers=1, heads=2))
    >>> encoder(torch.zeros(1, 16_000), torch.tensor([16_000])).features.shape
    torch.Size([1, 25, 16])
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tunelet.base.errors import DataError, Problem
from tunelet.models.mask_pool import PassDropout
from tunelet.models.speech.fbank import FRAME, KaldiFbank, frames_of
from tunelet.models.speech.protocol import (
    SpeechFeatures,
    check_waveforms,
    drawing,
    frame_mask,
    weights_digest,
)

#: Symbols of the CTC head from 1; 0 is the blank.
CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class SmallSettings:
    """Sizes.

    Attributes:
        width: of the layers.
        layers: how many.
        heads: of the attentions; `width` / `heads` is even.
        feed_forward: its inner width, as a multiple of `width`.
        kernel: frames that the convolution of a layer sees; odd.
        mels: bins of the log mel energies.
        frames_per_second: 25 or 50.
        dropout: while training.
    """

    width: int = 160
    layers: int = 8
    heads: int = 4
    feed_forward: int = 4
    kernel: int = 15
    mels: int = 80
    frames_per_second: Literal[25, 50] = 25
    dropout: float = 0.1


class SmallSpeechEncoder(nn.Module):
    """See the top of the file, and `protocol.SpeechEncoder`."""

    def __init__(self, settings: SmallSettings) -> None:
        super().__init__()
        if settings.width % (2 * settings.heads) or settings.kernel % 2 == 0:
            raise ValueError(f"width must be a multiple of 2 x heads, and kernel odd: {settings}")
        self.settings = settings
        self.width, self.frames_per_second = settings.width, float(settings.frames_per_second)
        strides = (2, 2) if settings.frames_per_second == 25 else (2, 1)
        self.fbank = KaldiFbank(settings.mels)
        self.subsampling = nn.ModuleList(
            nn.Conv1d(inner, settings.width, 3, stride=stride, padding=1)
            for inner, stride in zip((settings.mels, settings.width), strides, strict=True)
        )
        self.layers = nn.ModuleList(Layer(settings) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(settings.width)
        self.characters = nn.Linear(settings.width, len(CHARACTERS) + 1)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> SpeechFeatures:
        """See `protocol.SpeechEncoder`."""
        return self.encode(*self.energies(waveforms, lengths))

    def energies(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Log mel energies of clips without their mean, (B, F, mels) fp32, 0 beyond a clip, and frames of each (B,).

        Raises:
            DataError: as for `forward`.
        """
        # the last samples of a batch may be too few for a frame: they are nobody's then
        sound = check_waveforms(waveforms, lengths, least=FRAME)
        frames = frames_of(lengths)
        with torch.no_grad(), torch.autocast(sound.device.type, enabled=False):
            mels = self.fbank(sound)
            there = frame_mask(frames, mels.shape[1])[:, :, None]
            mean = torch.where(there, mels, 0.0).sum(dim=1, keepdim=True) / frames[:, None, None]
            return torch.where(there, mels - mean, 0.0), frames

    def encode(self, energies: Tensor, frames: Tensor) -> SpeechFeatures:
        """Frames of features from what `energies` gave, perhaps masked in between."""
        hidden = energies
        for module in self.subsampling:
            convolution = cast(nn.Conv1d, module)
            hidden = functional.gelu(strided(hidden, convolution))
            frames = torch.div(frames - 1, convolution.stride[0], rounding_mode="floor") + 1
            # what a clip's end sees beyond it must be the same in every batch
            hidden = torch.where(frame_mask(frames, hidden.shape[1])[:, :, None], hidden, 0.0)
        there = frame_mask(frames, hidden.shape[1])
        mask = None if bool(there.all()) else there
        dropout = PassDropout(self.settings.dropout, self.training, hidden.device)
        for layer in self.layers:
            hidden = layer(hidden, mask, dropout)
        hidden = torch.where(there[:, :, None], self.norm(hidden), 0.0)
        return SpeechFeatures(hidden, frames, self.frames_per_second)

    def ctc_loss(self, heard: SpeechFeatures, texts: list[str]) -> Tensor:
        """Mean over the clips of the CTC loss, each divided by its characters.

        Args:
            heard: of `forward`.
            texts: what was said, in `CHARACTERS` (`data.normalise` helps: librispeech).

        Raises:
            DataError: a text is empty, holds other characters, or needs more frames than its clip has.
        """
        targets = [self.symbols(text, row) for row, text in enumerate(texts)]
        for row, (target, frames) in enumerate(zip(targets, heard.lengths.tolist(), strict=True)):
            # two equal symbols need a blank between them
            needed = len(target) + sum(a == b for a, b in itertools.pairwise(target))
            if needed > frames:
                what = f"{texts[row]!r} needs {needed} frames, the clip has {frames}"
                raise DataError(Problem(what, f"clip {row} of the batch", hint="is it the right text?"))
        logits = self.characters(heard.features).float().log_softmax(-1).transpose(0, 1)
        sizes = torch.tensor([len(target) for target in targets])
        joined = torch.tensor([symbol for target in targets for symbol in target], device=logits.device)
        return functional.ctc_loss(logits, joined, heard.lengths, sizes)

    def transcribe(self, heard: SpeechFeatures) -> tuple[str, ...]:
        """The likeliest symbol of each frame, repeats and blanks taken out."""
        best = self.characters(heard.features).argmax(-1).tolist()
        texts = []
        for symbols, frames in zip(best, heard.lengths.tolist(), strict=True):
            kept = [s for s, last in zip(symbols[:frames], [0, *symbols], strict=False) if s and s != last]
            texts.append("".join(CHARACTERS[symbol - 1] for symbol in kept))
        return tuple(texts)

    def character_scores(self, heard: SpeechFeatures) -> list[NDArray[np.float32]]:
        """(F_i, 29) natural log probabilities of each clip: the blank, then `CHARACTERS`."""
        scores = self.characters(heard.features).float().log_softmax(-1).cpu().numpy()
        return [clip[:frames] for clip, frames in zip(scores, heard.lengths.tolist(), strict=True)]

    @staticmethod
    def symbols(text: str, row: int = 0) -> list[int]:
        """Numbers of the characters of a text."""
        found = [CHARACTERS.find(character) + 1 for character in text]
        if not found or 0 in found:
            wrong = "".join(sorted({c for c in text if c not in CHARACTERS}))
            what = f"{text!r} holds {wrong!r}" if found else "the text is empty"
            hint = "normalise it with 'librispeech', and spell out numbers"
            raise DataError(Problem(f"{what}, expected a to z, space and apostrophe", f"clip {row}", hint=hint))
        return found

    def fingerprint(self) -> str:
        """See `protocol.SpeechEncoder`."""
        return weights_digest(self, {"kind": "small", **dataclasses.asdict(self.settings)})


def build_small(settings: SmallSettings, *, seed: int) -> SmallSpeechEncoder:
    """A new encoder, drawn from the stream ("speech", "small") of the seed."""
    with drawing(seed, "speech", "small"):
        return SmallSpeechEncoder(settings)


class Layer(nn.Module):
    """One layer, see the top of the file: hidden (B, F, width) and where frames are (B, F), None for everywhere."""

    def __init__(self, settings: SmallSettings) -> None:
        super().__init__()
        width, inner = settings.width, settings.width * settings.feed_forward
        self.heads = settings.heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.attend, self.attended = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.gate = nn.Linear(width, 2 * width)
        self.local = nn.Conv1d(width, width, settings.kernel, padding=settings.kernel // 2, groups=width)
        self.local_norm = nn.LayerNorm(width)
        self.mixed = nn.Linear(width, width)
        self.spread, self.joined = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, hidden: Tensor, there: Tensor | None, dropout: PassDropout) -> Tensor:
        hidden = hidden + dropout(self._attention(self.norms[0](hidden), there, dropout))
        hidden = hidden + dropout(self._convolution(self.norms[1](hidden), there))
        inner = dropout(functional.silu(self.spread(self.norms[2](hidden))))
        return hidden + dropout(self.joined(inner))

    def _attention(self, hidden: Tensor, there: Tensor | None, dropout: PassDropout) -> Tensor:
        parts = self.attend(hidden).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = _rotated(parts[:2])
        value = parts[2].to(query.dtype)
        mask = None if there is None else there[:, None, None, :]
        if dropout.pooled:
            scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
            weights = (scores if mask is None else scores.masked_fill(~mask, float("-inf"))).softmax(-1)
            seen = dropout(weights) @ value
        else:
            seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout.p)
        out: Tensor = self.attended(seen.transpose(1, 2).flatten(2))
        return out

    def _convolution(self, hidden: Tensor, there: Tensor | None) -> Tensor:
        gated = functional.glu(self.gate(hidden), dim=-1)
        if there is not None:
            gated = torch.where(there[:, :, None], gated, 0.0)
        # as an image of one row whose channels come last: on a CPU several times faster than Conv1d by channels
        image, weight = gated.transpose(1, 2).unsqueeze(2), self.local.weight.unsqueeze(2)
        padding, groups = (0, self.local.kernel_size[0] // 2), self.local.groups
        convolved = functional.conv2d(image, weight, self.local.bias, padding=padding, groups=groups)
        local = convolved.squeeze(2).transpose(1, 2)
        out: Tensor = self.mixed(functional.silu(self.local_norm(local)))
        return out


def strided(hidden: Tensor, convolution: nn.Conv1d) -> Tensor:
    """(B, F', width) of a convolution over the frames of (B, F, C), padded by half its kernel.

    One product with the frames of each place side by side, so that nothing is transposed.
    """
    width, step = convolution.kernel_size[0], convolution.stride[0]
    around = functional.pad(hidden, (0, 0, width // 2, width // 2))
    last = (hidden.shape[1] - 1) // step * step
    seen = torch.cat([around[:, tap : tap + last + 1 : step] for tap in range(width)], -1)
    return functional.linear(seen, convolution.weight.transpose(1, 2).flatten(1), convolution.bias)


def _rotated(parted: Tensor) -> Tensor:
    """Queries and keys (2, B, heads, F, d), each pair of features turned by its place times a frequency of its own."""
    frames, half = parted.shape[3], parted.shape[4] // 2
    frequencies = 10_000.0 ** (-torch.arange(half, device=parted.device) / half)
    angles = torch.arange(frames, device=parted.device)[:, None] * frequencies
    first, second = parted.float().chunk(2, dim=-1)
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1).to(parted.dtype)
