"""Losses that train a second-pass scorer on N-best lists. Not here: the scorers (`models.scoring`), error counts.

A batch is B lists, padded to N hypotheses; ``mask`` tells which are real. Scores are log probabilities, higher is
better, and hold whatever the run adds up (s_i = a_i + beta g_i). Errors are word errors, or anything that counts as
cost. With P = softmax over a list's scores and m the mean error of the list,

    MWER   L = sum_i P_i (e_i - m)                                  (Prabhavalkar et al. 2018, eq. 3)
    MWED   L = KL(Q || P),  Q = softmax(-e),  P = softmax(s / T)    (after RescoreBERT, Xu et al. 2022; see `mwed`)

Every loss is the mean over the lists that have at least one hypothesis; a list of one gives 0 to both.

Example:
    >>> scores, errors = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 3.0]])
    >>> mwer(scores, errors).item(), mwer(scores + torch.tensor([[9.0, 0.0]]), errors).item() < -0.99
    (0.0, True)
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def mwer(scores: Tensor, errors: Tensor, mask: Tensor | None = None) -> Tensor:
    """Expected errors of a list above the list's mean.

    Args:
        scores: (B, N), log probabilities up to a constant of each list.
        errors: (B, N), costs >= 0; what stands at padding does not matter.
        mask: (B, N) bool, True at hypotheses; None: all are.

    Returns:
        A scalar in the errors' unit: below 0 where probability sits on what is better than the mean. Lists without
        any error, and lists of one, give exactly 0 and no gradient.

    Raises:
        ValueError: shapes differ, or no list has a hypothesis.
    """
    mask, lists = _checked(scores, errors, mask)
    probabilities = _log_softmax(scores, mask).exp()
    costs = torch.where(mask, errors.to(probabilities.dtype), 0.0)
    mean = costs.sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp_min(1)
    relative = torch.where(mask, costs - mean, 0.0)
    return (probabilities * relative).sum() / lists


def mwed(
    scores: Tensor,
    errors: Tensor,
    mask: Tensor | None = None,
    *,
    temperature: float | Literal["matched"] = 1.0,
) -> Tensor:
    """Divergence of the scores' distribution from the errors' distribution.

    RescoreBERT divides the scores by a temperature that brings them to the errors' scale. Here ``matched`` is

        T = sum_i (max_j s_j - s_i) / sum_i (e_i - min_j e_j),

    taken as a constant and 1 where either sum is 0. Unlike a ratio of plain sums it does not change when a constant
    is added to a list's scores. That, and KL in place of cross entropy (the same gradient; 0 when perfect), are ours.

    Args:
        scores, errors, mask: as for `mwer`.
        temperature: T, or how it is found.

    Returns:
        A scalar >= 0, in nats.

    Raises:
        ValueError: shapes differ, no list has a hypothesis, or the temperature is not above 0.
    """
    mask, lists = _checked(scores, errors, mask)
    if temperature == "matched":
        divisor = _matched(scores.detach(), errors, mask).to(scores.dtype)
    elif isinstance(temperature, str) or not temperature > 0:
        raise ValueError(f"the temperature must be above 0 or 'matched', not {temperature!r}")
    else:
        divisor = torch.full_like(scores[:, :1], float(temperature))
    log_p = _log_softmax(scores / divisor, mask)
    log_q = _log_softmax(-errors.to(log_p.dtype), mask)
    return (torch.where(mask, log_q.exp() * (log_q - log_p), 0.0)).sum() / lists


def distillation(scores: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared difference to a teacher's scores (pseudo-log-likelihoods, in RescoreBERT) over all hypotheses.

    Args:
        scores, targets: (B, N), the student's and the teacher's.
        mask: (B, N) bool, True at hypotheses; None: all are.

    Raises:
        ValueError: shapes differ, or there is no hypothesis.
    """
    mask, _ = _checked(scores, targets, mask)
    difference = torch.where(mask, scores - targets.to(scores.dtype), 0.0)
    return difference.square().sum() / mask.sum()


def correlation(features: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Mean squared correlation between two different features over the texts of a batch.

    It keeps the directions of the [CLS] vector apart (the regulariser of LoRB, Yu et al. 2023; its exact form is
    ours): with R the (H, H) matrix of Pearson correlations, L = mean over i != j of R_ij^2.

    Args:
        features: (M, H), one row for each text.
        eps: added to each standard deviation; a feature that never varies correlates with nothing.

    Returns:
        A scalar in [0, 1]; 0 for fewer than two texts or features.
    """
    if features.ndim != 2:
        raise ValueError(f"features must be (texts, features), not of shape {tuple(features.shape)}")
    texts, width = features.shape
    if texts < 2 or width < 2:
        return features.sum() * 0.0
    centred = features - features.mean(0)
    # a tiny addition under the root: its slope at exactly 0 is infinite
    spread = (centred.square().mean(0) + eps**2).sqrt() + eps
    correlations = (centred / spread).T @ (centred / spread) / texts
    off = correlations.square().sum() - correlations.diagonal().square().sum()
    return off / (width * (width - 1))


def _checked(scores: Tensor, other: Tensor, mask: Tensor | None) -> tuple[Tensor, int]:
    """The mask, and how many lists have a hypothesis."""
    if scores.ndim != 2 or other.shape != scores.shape or (mask is not None and mask.shape != scores.shape):
        shapes = [tuple(scores.shape), tuple(other.shape), None if mask is None else tuple(mask.shape)]
        raise ValueError(f"scores, errors or targets, and mask must be (lists, hypotheses) alike, not {shapes}")
    known = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.bool()
    lists = int(known.any(-1).sum())
    if not lists:
        raise ValueError("no list of the batch has a hypothesis")
    return known, lists


def _log_softmax(values: Tensor, mask: Tensor) -> Tensor:
    """Over the real hypotheses; finite everywhere, also where a list has none."""
    lowest = torch.finfo(values.dtype).min / 4
    found: Tensor = torch.log_softmax(torch.where(mask, values, lowest), dim=-1)
    return torch.where(mask, found, lowest)


def _matched(scores: Tensor, errors: Tensor, mask: Tensor) -> Tensor:
    """(B, 1), the temperature of each list."""
    wide, costs = scores.double(), errors.double()
    best = torch.where(mask, wide, -torch.inf).amax(-1, keepdim=True)
    least = torch.where(mask, costs, torch.inf).amin(-1, keepdim=True)
    behind = torch.where(mask, best - wide, 0.0).sum(-1, keepdim=True)
    worse = torch.where(mask, costs - least, 0.0).sum(-1, keepdim=True)
    usable = (behind > 0) & (worse > 0)
    return torch.where(usable, behind / torch.where(usable, worse, 1.0), 1.0)
