"""From states to a number for each class: the copy head and the matching term. Not here: the encoder, tokens.

Both give logits (B, C + 1): the classes, and in the last column the answer that none fits. Their parameters are those
of modules, and no `nn.Linear` is among them, so adapters leave them alone.

Example:
    >>> head = CopyHead(4)
    >>> states = torch.eye(4)[:3]                                           # three occurrences of two classes
    >>> head(states[:1], states[None], torch.tensor([[0, 0, 1]]), classes=2).argmax()
    tensor(0)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

#: Stands for no answer: exp of it is 0, and differences of it stay finite.
NEVER = -1e4
#: How many times faster than a weight a learned number moves: at a rate that suits weights it would hardly move at all.
TEMPO, TEMPO_COSINE = 20.0, 4.0


class Learned(nn.Module):
    """A learned number, held divided by its tempo.

    Args:
        start: its first value.
        tempo: how many times faster than a weight it moves.
    """

    def __init__(self, start: float, tempo: float = TEMPO) -> None:
        super().__init__()
        self.tempo = tempo
        self.value = nn.Parameter(torch.tensor(start / tempo))

    def start(self, value: float) -> None:
        """Take another first value."""
        with torch.no_grad():
            self.value.fill_(value / self.tempo)

    def forward(self) -> Tensor:
        """The number."""
        return self.value * self.tempo


class CopyHead(nn.Module):
    """Points from the answer slot at places where class names stand.

        logit_l = log sum_{o of l} exp(s cos(W_q h_slot, W_k h_o)),     s = exp(scale)

    h_o is the mean state of the tokens of occurrence o; the sum is over all occurrences of the class. W_q and W_k start
    as the identity.
    """

    def __init__(self, width: int, scale: float = 2.0) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.eye(width))
        self.key = nn.Parameter(torch.eye(width))
        self.scale = Learned(math.log(scale))

    def forward(self, slots: Tensor, occurrences: Tensor, labels: Tensor, classes: int) -> Tensor:
        """Logits (B, classes); `NEVER` for a class that stands nowhere.

        Args:
            slots: (B, H) states.
            occurrences: (B, O, H) states.
            labels: (B, O) class of each; -1 where there is none.
            classes: columns of the answer.
        """
        asked = normalize(slots @ self.query.T, dim=-1)
        there = normalize(occurrences @ self.key.T, dim=-1)
        scores = self.scale().exp() * torch.einsum("bh,boh->bo", asked, there)
        belongs = labels[:, None, :] == torch.arange(classes, device=labels.device)[None, :, None]  # (B, C, O)
        found: Tensor = scores[:, None, :].masked_fill(~belongs, NEVER).logsumexp(-1)
        return found.masked_fill(~belongs.any(-1), NEVER)


class Matching(nn.Module):
    """What definition-cosine and a kernel over the demonstrations say, with learned weights.

        logit_l = exp(a) ((1 - t) cos(q, d_l) + t cos(q, n_l d_l)) + exp(b) (K_l - K_not)
        t       = sigmoid(exp(steepness) (trust - enough))
        K_l     = log(exp(g f) + sum_{i shows l} exp(g cos(q, x_i))),      g = exp(sharpness), f = floor

    Names n_l count beside definitions d_l as far as they fit them, which they do not where they were permuted
    (`similarity.Likeness.trust`). A class that no demonstration shows has the floor. In a single-label task K_not is 0;
    in a multi-label task it is the same over the demonstrations without l, so that without demonstrations both cancel.
    The column for none is exp(a) `level`: how near to a definition a query must be.

    The first values are near those that are best for MiniLM without any training, over 320 episodes of eleven tasks;
    with their own names, the trust of these tasks is 0.05 to 0.5, with permuted ones mostly below 0.01.
    """

    def __init__(self) -> None:
        super().__init__()
        self.definition = Learned(math.log(11.6))
        self.steepness = Learned(math.log(100.0))
        self.enough = Learned(0.03, TEMPO_COSINE)
        self.demonstration = Learned(math.log(0.3))
        self.sharpness = Learned(math.log(11.0))
        self.floor = Learned(0.36, TEMPO_COSINE)
        self.level = Learned(0.265, TEMPO_COSINE)

    def forward(
        self,
        definitions: Tensor,
        named: Tensor,
        trust: Tensor,
        demonstrations: Tensor,
        shown: Tensor,
        there: Tensor,
        multi: Tensor,
    ) -> Tensor:
        """Logits (B, C + 1), from what `similarity.Likeness` holds and `multi` (B,)."""
        sharp = self.sharpness().exp()
        floor = (sharp * self.floor()).expand(len(definitions), definitions.shape[1], 1)
        kernel = (sharp * demonstrations)[:, None, :]  # (B, 1, D)
        own = shown.transpose(1, 2)  # (B, C, D)
        others = there[:, None, :] & ~own
        with_it = torch.cat([floor, kernel.expand(own.shape).masked_fill(~own, NEVER)], -1).logsumexp(-1)
        without = torch.cat([floor, kernel.expand(own.shape).masked_fill(~others, NEVER)], -1).logsumexp(-1)
        kernels = with_it - torch.where(multi[:, None], without, 0.0)
        weight = self.definition().exp()
        names = torch.sigmoid(self.steepness().exp() * (trust - self.enough()))[:, None]
        classes = weight * torch.lerp(definitions, named, names) + self.demonstration().exp() * kernels
        none = (weight * self.level()).expand(len(definitions), 1)
        return torch.cat([classes, none], 1)
