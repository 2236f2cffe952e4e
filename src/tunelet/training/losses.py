"""Losses of classification. Not here: metrics (`evaluation.classification`).

Example:
    >>> classification_loss(torch.zeros(1, 2), torch.tensor([0])).item()      # ln 2
    0.6931471824645996
"""

from __future__ import annotations

import torch
from torch.nn import functional


def classification_loss(logits: torch.Tensor, labels: torch.Tensor, *, smoothing: float = 0.0) -> torch.Tensor:
    """Mean loss over the examples of a batch, in nats.

    Args:
        logits: (N, C), any float type; the loss is computed in fp32.
        labels: (N,) int64 for one label each: cross-entropy. (N, C) float for several: binary cross-entropy, mean
            over the labels too.
        smoothing: share of the true label's mass that goes to all labels evenly (Szegedy et al. 2016, section 7);
            for several labels the targets are drawn towards one half.

    Returns:
        A scalar.
    """
    logits = logits.float()
    if labels.ndim == 1:
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    return functional.binary_cross_entropy_with_logits(logits, labels * (1.0 - smoothing) + 0.5 * smoothing)
