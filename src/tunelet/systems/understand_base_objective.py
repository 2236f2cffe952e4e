"""Loss and evaluation of meta-training, as the loop wants them, and the episodes themselves, counted.

Not here: which parts a run has (`systems.understand_base`); what an episode is (`data.understanding.episodes`).

Example:
    >>> objective = EpisodeObjective(model, training, fixed, lengths)                   # doctest: +SKIP
    >>> objective.loss(model, objective.batch(np.arange(32))).backward()                # doctest: +SKIP
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tunelet.data.understanding.episodes import EPISODE_REGIMES, Episode, EpisodeSampler
from tunelet.data.understanding.regimes import MapLog
from tunelet.models.prefix.model import PrefixModel
from tunelet.systems.understand_base_recipe import EpisodesSection


@dataclass(frozen=True)
class EpisodeCounts:
    """Episodes before training: how long each is, and what was drawn.

    Attributes:
        lengths: (N,) tokens.
        facts: counts by regime, task, k, number of classes and kept names, as JSON values.
    """

    lengths: NDArray[np.int64]
    facts: dict[str, Any]

    @classmethod
    def of(cls, sampler: EpisodeSampler, number: int, model: PrefixModel) -> EpisodeCounts:
        """Draw `number` episodes and forget them."""
        lengths = np.empty(number, dtype=np.int64)
        counts: dict[str, Counter[Any]] = {key: Counter() for key in ("regime", "task", "k", "classes")}
        maps = MapLog()
        for index in range(number):
            episode = sampler.question(index)
            lengths[index] = model.count(episode.asked.prompt.text)
            for key, value in (
                ("regime", episode.regime),
                ("task", episode.asked.task.name),
                ("k", episode.k),
                ("classes", episode.asked.classes),
            ):
                counts[key][value] += 1
            maps.add(episode.asked.prompt.names)
        by = {key: [{"value": value, "episodes": n} for value, n in sorted(c.items())] for key, c in counts.items()}
        told = maps.to_json(12)
        return cls(lengths, {"episodes": number, "tokens": int(lengths.sum()), **by, "maps": told})


@dataclass(frozen=True)
class Cell:
    """Right answers to the episodes of one regime and k."""

    regime: str
    k: int
    kind: str
    n: int
    correct: int

    @property
    def accuracy(self) -> float:
        """Share whose whole set of classes is right."""
        return self.correct / self.n

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {**vars(self), "accuracy": self.accuracy}


def validation_episodes(sampler: EpisodeSampler, section: EpisodesSection) -> list[Episode]:
    """Episodes of validation: regimes whose share is not 0, values of k and tasks in turn."""
    regimes = [regime for regime in EPISODE_REGIMES if getattr(section.regimes, regime)]
    cells = [(regime, k) for regime in regimes for k in section.validation_shown]
    found = []
    for number in range(section.validation):
        regime, k = cells[number % len(cells)]
        found.append(sampler.question(number, regime=regime, k=k, task=number // len(cells) % len(sampler.pools)))
    return found


@dataclass(frozen=True)
class EpisodeObjective:
    """Loss and evaluation for the loop (`training.loop.Objective`).

    Attributes:
        reader: the model whose `encode` makes the tensors; its weights do not matter.
        training: draws the episodes that are trained on.
        fixed: the episodes of validation, with the shown values of k that were asked for.
    """

    reader: PrefixModel
    training: EpisodeSampler
    fixed: Sequence[Episode]

    def batch(self, indices: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """The tensors of the episodes with these numbers."""
        return self.reader.encode([self.training.question(int(index)).asked for index in indices])

    def loss(self, model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """See `models.prefix.model.PrefixModel.loss`."""
        loss: torch.Tensor = model.loss(batch)
        return loss

    def evaluate(self, model: Any) -> dict[str, float]:
        """``accuracy`` over all episodes of validation, of single-label ones, and of multi-label ones."""
        cells = self.cells(model)
        found = {"accuracy": _accuracy(cells)}
        for kind in ("single", "multi"):
            own = [cell for cell in cells if cell.kind == kind]
            if own:
                found[f"{kind}_accuracy"] = _accuracy(own)
        return found

    def cells(self, model: Any) -> list[Cell]:
        """Right answers by regime, k and kind of task."""
        answers = model.answer([episode.asked for episode in self.fixed])
        asked: Counter[tuple[str, int, str]] = Counter()
        right: Counter[tuple[str, int, str]] = Counter()
        for episode, answer in zip(self.fixed, answers, strict=True):
            key = (episode.regime, episode.k, "multi" if episode.asked.task.multi_label else "single")
            asked[key] += 1
            right[key] += answer.labels == tuple(episode.asked.prompt.labels)
        order: dict[str, int] = {regime: number for number, regime in enumerate(EPISODE_REGIMES)}
        return [Cell(*key, asked[key], right[key]) for key in sorted(asked, key=lambda k: (k[2], order[k[0]], k[1]))]

    def names(self, indices: NDArray[np.int64]) -> list[str]:
        """Numbers and tasks of the episodes."""
        asked = [self.training.question(int(index)).asked for index in indices]
        return [
            f"episode {int(i)} ({a.task.name} {'/'.join(a.query.key)})" for i, a in zip(indices, asked, strict=True)
        ]


def _accuracy(cells: Sequence[Cell]) -> float:
    return sum(cell.correct for cell in cells) / sum(cell.n for cell in cells)
