"""Losses and evaluations of `fuse`, as the loop wants them: on cached vectors, and over several tasks at once.

Not here: which parts a run has (`systems.fuse_training`); texts of one task (`systems.classify_objective`).

Example:
    >>> objective = VectorObjective(vectors, splits, labels)                        # doctest: +SKIP
    >>> objective.loss(model, objective.batch(indices)).backward()                  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tunelet.data.batching import in_order
from tunelet.data.collate import collate
from tunelet.data.records import Dataset, Label, Task, TextExample
from tunelet.data.tokens import TokenisedSplit
from tunelet.evaluation.classification import ClassificationScores, score_single
from tunelet.models.evaluating import evaluating
from tunelet.systems.classify_objective import Classification, Scores
from tunelet.training.losses import classification_loss
from tunelet.tuning.fusion.expert_heads import uneven

#: what a logit of another task's label is set to
_NEVER = -1e4


@dataclass
class VectorObjective:
    """Loss and evaluation of a fusion over vectors that are at hand.

    Attributes:
        vectors: by split, (N, K + 1, H); the plain base first.
        gold: by split, (N,) positions of the labels.
        labels: names in order.
        ids: of the training examples.
        smoothing: of the training loss.
        own: by split, (N, H), what the last layer of the target's own adapter sees; for `residual: own`.
        evenness: weight of `uneven` attention in the training loss.
    """

    vectors: Mapping[str, Tensor]
    gold: Mapping[str, Tensor]
    labels: tuple[str, ...]
    ids: Sequence[str]
    smoothing: float = 0.0
    own: Mapping[str, Tensor] | None = None
    evenness: float = 0.0

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        """experts (B, K, H), base (B, H), labels (B,), and own (B, H) if there is; each text counts as one token."""
        rows = torch.from_numpy(np.asarray(indices, np.int64))
        vectors = self.vectors["train"][rows]
        return {
            "experts": vectors[:, 1:],
            "base": vectors[:, 0],
            "labels": self.gold["train"][rows],
            "attention_mask": torch.ones((len(rows), 1), dtype=torch.int64),
            **({} if self.own is None else {"own": self.own["train"][rows]}),
        }

    def loss(self, model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Mean cross-entropy, and what uneven attention costs."""
        fused = model(batch["experts"], batch["base"], batch.get("own"))
        loss = classification_loss(fused.logits, batch["labels"], smoothing=self.smoothing)
        return loss + self.evenness * uneven(fused.weights) if self.evenness else loss

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        """Accuracy, F1 and loss on validation."""
        scores = self.score(model, "validation")[0]
        # from the counts: scikit-learn's way takes longer than all steps between two evaluations
        counts = np.array(scores.confusion, dtype=np.float64)
        gold, sums = counts.sum(1), counts.sum(0) + counts.sum(1)
        f1 = np.divide(2 * counts.diagonal(), sums, out=np.zeros(len(sums)), where=sums > 0)
        return {
            "accuracy": scores.accuracy,
            "loss": scores.loss,
            "macro_f1": float(f1.mean()),
            "weighted_f1": float((f1 * gold).sum() / gold.sum()),
        }

    def score(self, model: torch.nn.Module, split: str) -> tuple[ClassificationScores, np.ndarray, np.ndarray | None]:
        """Scores, logits (N, C) and weights (N, K) of a split; no weights where the fusion gives none."""
        place = next(model.parameters()).device
        vectors = self.vectors[split].to(place)
        with evaluating(model):
            found = model(vectors[:, 1:], vectors[:, 0], None if self.own is None else self.own[split].to(place))
        logits = found.logits.float().cpu().numpy()
        weights = None if found.heads is None else found.weights.float().cpu().numpy()
        return score_single(logits, self.gold[split].numpy(), self.labels), logits, weights

    def names(self, indices: np.ndarray) -> list[str]:
        """Ids of training examples."""
        return [self.ids[int(index)] for index in indices]


@dataclass
class SeveralTasks(Classification):
    """Loss and evaluation where each text has the label of its own task, and answers among that task's labels alone.

    The labels of all tasks stand side by side, so that one linear layer is a head for each task.

    Attributes:
        owners: (C,) number of the task of each label.
        target: number of the task that is evaluated; `splits` hold its validation and test.
    """

    owners: np.ndarray = None  # type: ignore[assignment]
    target: int = 0

    def loss(self, model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Mean cross-entropy, each text among the labels of its task."""
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        owners = torch.from_numpy(self.owners).to(logits.device)
        other = owners[None] != owners[batch["labels"]][:, None]
        return classification_loss(logits.masked_fill(other, _NEVER), batch["labels"])

    def score(self, model: torch.nn.Module, split: str) -> tuple[Scores, np.ndarray]:
        """Scores and logits (N, C) of the target, over its own labels."""
        _, logits = super().score(model, split)
        own = np.flatnonzero(self.owners == self.target)
        gold = self.splits[split].labels - own[0]
        names = tuple(self.labels[place].split("/", 1)[1] for place in own)
        return score_single(logits[:, own], gold, names), logits[:, own]

    @property
    def task_of(self) -> np.ndarray:
        """(N,) number of the task of each training text."""
        found: np.ndarray = self.owners[np.asarray(self.splits["train"].labels, np.int64)]
        return found


def joined(tasks: Mapping[str, Dataset], target: str) -> tuple[Dataset, np.ndarray]:
    """All tasks as one: training texts of all, validation and test of the target; labels are "task/label".

    Returns:
        The dataset, and (C,) the number of the task of each label.
    """
    labels = tuple(Label(f"{name}/{label}") for name, data in tasks.items() for label in data.task.label_names)
    owners = [number for number, data in enumerate(tasks.values()) for _ in data.task.labels]

    def of(name: str, split: str) -> list[TextExample]:
        return [
            TextExample(f"{name}/{one.id}", one.text, tuple(f"{name}/{label}" for label in one.labels))
            for one in tasks[name].splits[split]
        ]

    splits = {"train": tuple(one for name in tasks for one in of(name, "train"))}
    splits |= {split: tuple(of(target, split)) for split in ("validation", "test")}
    return Dataset(Task("all-tasks", "", labels), splits, tasks[target].source), np.array(owners, np.int64)


def weights_of(
    model: torch.nn.Module, split: TokenisedSplit, objective: Classification, size: int = 64
) -> np.ndarray | None:
    """(N, K) weights that a fusion of texts gives its experts; None where it gives none."""
    place = next(model.parameters()).device
    found: np.ndarray | None = None
    with evaluating(model):
        for indices in in_order(split.lengths, size):
            batch = collate(split, indices, pad_id=objective.pad_id)
            weights = model(
                input_ids=batch["input_ids"].to(place), attention_mask=batch["attention_mask"].to(place)
            ).weights
            if weights is None:
                return None
            found = np.zeros((len(split), weights.shape[1]), np.float32) if found is None else found
            found[indices] = weights.float().cpu().numpy()
    return found
