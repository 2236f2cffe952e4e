"""A CTC head over the word pieces of a language model, and what it hears as vectors of that model's word embeddings.

On the frames of the small encoder: a convolution to half as many (12.5 a second), a few layers like the encoder's, and
scores of the blank and of each piece that occurs in the training text. A vector stands for one piece that was heard:
consecutive frames whose likeliest symbol is the same piece are one,

    v = sum over pieces of  q(piece) e(piece),   q: mean of the frames' probabilities without the blank, renormalised

with e the word embeddings, so a piece that was surely heard gives its own embedding, and a doubtful one a mixture. All
of it is differentiable but for the choice of frames. Not here: the encoder (`small`), training, sound files
(`soft_words`).

Example:
    >>> pieces = SoftPieces(SmallSettings(width=16, heads=2), [7, 9, 4])
    >>> heard = SpeechFeatures(torch.zeros(1, 10, 16), torch.tensor([10]), 25.0)
    >>> [vectors.shape[1] for vectors in pieces.vectors(heard, torch.zeros(12, 6))]
    [6]
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tunelet.models.mask_pool import PassDropout
from tunelet.models.speech.protocol import SpeechFeatures, frame_mask
from tunelet.models.speech.small import Layer, SmallSettings, strided


class SoftPieces(nn.Module):
    """See the top of the file.

    Args:
        settings: of the encoder, whose width and heads the layers take.
        ids: token ids of the language model, all different; symbol k + 1 of the head is ids[k], 0 the blank.
        layers: at half the frames.
    """

    ids: Tensor

    def __init__(self, settings: SmallSettings, ids: Sequence[int], *, layers: int = 1) -> None:
        super().__init__()
        if not ids or len(set(ids)) < len(ids):
            raise ValueError("expected different token ids, at least one")
        self.register_buffer("ids", torch.tensor(list(ids), dtype=torch.int64))
        self._symbols = {token: symbol for symbol, token in enumerate(ids, start=1)}
        self.rate = settings.dropout
        self.join = nn.Conv1d(settings.width, settings.width, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(Layer(settings) for _ in range(layers))
        self.norm = nn.LayerNorm(settings.width)
        self.scores = nn.Linear(settings.width, len(ids) + 1)

    def forward(self, heard: SpeechFeatures) -> tuple[Tensor, Tensor]:
        """Scores (B, F, P + 1) of the blank and the pieces, and frames of each clip (B,): half of the encoder's."""
        hidden = functional.gelu(strided(heard.features, self.join))
        frames = torch.div(heard.lengths - 1, 2, rounding_mode="floor") + 1
        there = frame_mask(frames, hidden.shape[1])
        hidden = torch.where(there[:, :, None], hidden, 0.0)
        mask = None if bool(there.all()) else there
        dropout = PassDropout(self.rate, self.training, hidden.device)
        for layer in self.layers:
            hidden = layer(hidden, mask, dropout)
        scores: Tensor = self.scores(self.norm(hidden))
        return scores, frames

    def targets(self, tokens: Sequence[int], frames: int) -> list[int] | None:
        """Symbols of a text's tokens; None if one is not in the head, or `frames` of the encoder are too few."""
        symbols = [self._symbols.get(token, 0) for token in tokens]
        needed = len(symbols) + sum(a == b for a, b in itertools.pairwise(symbols))
        return None if not symbols or 0 in symbols or needed > (frames - 1) // 2 + 1 else symbols

    def ctc_loss(self, heard: SpeechFeatures, targets: Sequence[Sequence[int] | None]) -> Tensor:
        """Mean CTC loss, each clip's divided by its pieces, over the clips that have targets; 0 if none has."""
        rows = [row for row, target in enumerate(targets) if target is not None]
        if not rows:
            return heard.features.sum() * 0.0
        chosen = torch.tensor(rows, device=heard.features.device)
        lengths = heard.lengths[chosen]
        part = SpeechFeatures(heard.features[chosen][:, : int(lengths.max())], lengths, heard.frames_per_second)
        scores, frames = self(part)
        return _ctc(scores.float(), [targets[row] or () for row in rows], frames)

    def tokens(self, heard: SpeechFeatures) -> list[list[int]]:
        """Token ids that were heard in each clip: the likeliest symbol of each frame, repeats and blanks taken out."""
        scores, frames = self(heard)
        found = []
        for symbols, count in zip(scores.argmax(-1).tolist(), frames.tolist(), strict=True):
            kept = [s for s, last in zip(symbols[:count], [0, *symbols], strict=False) if s and s != last]
            found.append([int(self.ids[symbol - 1]) for symbol in kept])
        return found

    def vectors(self, heard: SpeechFeatures, embeddings: Tensor) -> list[Tensor]:
        """(S_i, H) for each clip, one vector for each piece that was heard, at least one.

        Where only blanks are likeliest, the frame that is least blank gives a vector.

        Args:
            heard: of the encoder.
            embeddings: (V, H) word embeddings of the language model.
        """
        scores, frames = self(heard)
        table = embeddings[self.ids]
        return [
            _expected(clip[:count].float().softmax(-1), table)
            for clip, count in zip(scores, frames.tolist(), strict=True)
        ]


def _ctc(scores: Tensor, targets: Sequence[Sequence[int]], frames: Tensor) -> Tensor:
    """Mean CTC loss, each clip's divided by its symbols, of scores (B, F, P + 1).

    A path of P(target) takes one symbol a frame, so with the symbols S of the batch's targets and the blank
    -log P = -log P over S alone + sum over frames of (log sum exp of all - log sum exp of S). Thousands of symbols that
    no target has cost one sum then, and not a place in the recursion.
    """
    kept = sorted({0}.union(*targets))
    place = {symbol: number for number, symbol in enumerate(kept)}
    few, all_of_them = _Parted.apply(scores, torch.tensor(kept, device=scores.device))  # type: ignore[no-untyped-call]
    here = few.logsumexp(-1, keepdim=True)
    joined = torch.tensor([place[symbol] for target in targets for symbol in target], device=scores.device)
    sizes = torch.tensor([len(target) for target in targets])
    among = functional.ctc_loss((few - here).transpose(0, 1), joined, frames, sizes, reduction="none")
    beyond = all_of_them - here[..., 0]
    beyond = torch.where(frame_mask(frames, scores.shape[1]), beyond, 0.0).sum(-1)
    return ((among + beyond) / sizes.to(scores.device)).mean()


class _Parted(torch.autograd.Function):
    """Scores (B, F, S) of some symbols, and log sum exp (B, F) of all; backward is one pass over the large tensor."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = scores.softmax(-1)
        largest, where = scores.max(-1)
        ctx.save_for_backward(probabilities, kept)
        chosen = probabilities.gather(-1, where[..., None])[..., 0]
        return scores.index_select(-1, kept), largest - chosen.log()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        few, all_of_them = gradients
        probabilities, kept = ctx.saved_tensors
        return (probabilities * all_of_them[..., None]).index_add_(-1, kept, few), None


def _expected(probabilities: Tensor, table: Tensor) -> Tensor:
    """(S, H) of one clip, from (F, P + 1) and (P, H)."""
    best = probabilities.argmax(-1)
    if not bool(best.any()):
        here = probabilities[:, 1:][probabilities[:, 0].argmin()][None]
    else:
        starts = functional.pad(best[1:] != best[:-1], (1, 0), value=True) & (best != 0)
        frames = best != 0
        group = (starts.long().cumsum(0) - 1)[frames]
        empty = probabilities.new_zeros(int(starts.sum()), probabilities.shape[1] - 1)
        here = empty.index_add(0, group, probabilities[frames][:, 1:])
    return (here / here.sum(-1, keepdim=True)).to(table.dtype) @ table
