"""Loss and evaluation of classification, as the loop wants them. Not here: which parts a run has (`systems.classify`).

Example:
    >>> objective = Classification(splits, labels, pad_id=0, training=training, max_length=128)     # doctest: +SKIP
    >>> objective.loss(model, objective.batch(indices)).backward()                                  # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from tunelet.data.collate import collate
from tunelet.data.tokens import TokenisedSplit
from tunelet.evaluation.classification import ClassificationScores, score_single
from tunelet.evaluation.inference import predict_split
from tunelet.evaluation.multilabel import MultiLabelScores, score_multi
from tunelet.training.losses import classification_loss
from tunelet.training.settings import TrainingSettings

Scores = ClassificationScores | MultiLabelScores


@dataclass
class Classification:
    """Loss and evaluation for the loop.

    Attributes:
        splits: tokenised splits; ``train`` and ``validation`` are used.
        labels: label names in order.
        pad_id: token id of padding.
        training: the recipe's section.
        max_length: tokens to which ``pad_to: max`` pads.
    """

    splits: dict[str, TokenisedSplit]
    labels: tuple[str, ...]
    pad_id: int
    training: TrainingSettings
    max_length: int

    @property
    def width(self) -> int | None:
        """Tokens to which every batch is padded; None: to its own longest text."""
        return self.max_length if self.training.batch.pad_to == "max" else None

    def padded_tokens(self, split: str, indices: np.ndarray) -> int:
        """Tokens of a batch with its padding; evaluation pads to the batch's own longest text."""
        width = self.width if split == "train" else None
        return len(indices) * (width or int(self.splits[split].lengths[indices].max()))

    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        """input_ids, attention_mask (N, T) and labels of training examples."""
        return collate(self.splits["train"], indices, pad_id=self.pad_id, pad_to=self.width or "batch")

    def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Mean cross-entropy (one label) or binary cross-entropy (several), plus what the method adds."""
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        logits = model(**inputs).logits
        return classification_loss(logits, batch["labels"], smoothing=self.training.label_smoothing)

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        """Accuracy, F1 and loss on validation."""
        scores = self.score(model, "validation")[0].to_json()
        return {key: scores[key] for key in ("accuracy", "loss", "macro_f1", "weighted_f1")}

    def score(self, model: torch.nn.Module, split: str) -> tuple[Scores, np.ndarray]:
        """Scores and logits (N, C) of a split."""
        data = self.splits[split]
        logits = predict_split(model, data, pad_id=self.pad_id, batch_size=self.training.batch.evaluation_size)
        score = score_single if data.labels.ndim == 1 else score_multi
        return score(logits, data.labels, self.labels), logits

    def names(self, indices: np.ndarray) -> list[str]:
        """Ids of training examples."""
        return [self.splits["train"].example_ids[int(index)] for index in indices]
