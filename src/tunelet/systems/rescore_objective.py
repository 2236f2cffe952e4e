"""Loss and evaluation of a [CLS] scorer over lists, as the loop wants them. Not here: the parts of a run (`rescore`).

A training example is a list: its different texts are scored once each, s = first_pass * a + g, and the loss compares
the list's scores with its word errors. Lists whose hypotheses all have as many errors teach MWER nothing and are left
out.

Example:
    >>> objective = Rescoring.of(lists, table, texts, base.tokenizer, scorer, 128, dev, seed=1)     # doctest: +SKIP
    >>> objective.loss(model, objective.batch(np.array([0, 1]))).backward()                         # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tunelet.base.errors import InputError, Problem
from tunelet.data.nbest import NBest
from tunelet.evaluation.probabilities import Floats
from tunelet.evaluation.transcripts import ErrorTable, padded
from tunelet.models.scoring.cls_scorer import ClsScorer
from tunelet.models.scoring.scorer import Encoded, Lists, encode, pad
from tunelet.systems.rescore_recipe import ScorerSettings
from tunelet.systems.rescore_results import ScoredSet, choose_weights
from tunelet.training.rescoring_losses import correlation, mwed, mwer


@dataclass(frozen=True, eq=False)
class TrainingList:
    """A list to learn from.

    Attributes:
        id: of the utterance.
        texts: places of its hypotheses' texts among the encoded ones, (N,).
        first_pass: scores, (N,).
        errors: word errors, (N,).
    """

    id: str
    texts: NDArray[np.int64]
    first_pass: Floats
    errors: NDArray[np.int64]


@dataclass
class Rescoring:
    """Loss and evaluation for the loop (`training.loop.Objective`).

    Attributes:
        train: lists that teach something.
        encoded: their texts.
        dev: lists that choose checkpoint and weights, without the scorer's own feature.
        dev_texts: their hypotheses as the scorer is given them.
        tokenizer: of the base.
        scorer: the recipe's section.
        max_length: tokens of the longest text.
        autocast: type in which the evaluation computes, or None.
        seed: of the run.
    """

    train: list[TrainingList]
    encoded: Encoded
    dev: ScoredSet
    dev_texts: Lists
    tokenizer: Any
    scorer: ScorerSettings
    max_length: int
    seed: int
    autocast: torch.dtype | None = None

    @classmethod
    def of(
        cls,
        lists: Sequence[NBest],
        table: ErrorTable,
        texts: Lists,
        tokenizer: Any,
        scorer: ScorerSettings,
        max_length: int,
        dev: ScoredSet,
        dev_texts: Lists,
        *,
        seed: int,
        autocast: torch.dtype | None = None,
    ) -> Rescoring:
        """Choose the lists that teach something and tokenise their texts.

        Raises:
            InputError: no list does, or a text is too long.
        """
        known: dict[str, int] = {}
        train = []
        for row, (one, own) in enumerate(zip(lists, texts, strict=True)):
            count = min(len(one), scorer.hypotheses)
            errors = table.errors[row, :count]
            if count < 2 or (scorer.loss == "mwer" and (errors == errors[0]).all()):
                continue
            places = np.array([known.setdefault(text, len(known)) for text in own[:count]], dtype=np.int64)
            train.append(TrainingList(one.id, places, np.array(one.scores[:count]), errors))
        if not train:
            hint = "more lists, or more hypotheses of each (scorer.hypotheses)"
            raise InputError(Problem("no list of train has hypotheses that differ in their word errors", hint=hint))
        encoded = encode(tuple(known), tokenizer, max_length, scorer.overlong)
        return cls(train, encoded, dev, dev_texts, tokenizer, scorer, max_length, seed, autocast)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each training list, its different texts once."""
        own = self.encoded.lengths
        return np.array([int(own[np.unique(one.texts)].sum()) for one in self.train], dtype=np.int64)

    def batch(self, indices: NDArray[np.int64]) -> dict[str, Tensor]:
        """The tensors of some training lists.

        Returns:
            ``input_ids``, ``attention_mask`` (M, L) of their different texts; ``places`` (B, N) of each hypothesis
            among them; ``first_pass``, ``errors`` and ``known`` (B, N).
        """
        chosen = [self.train[int(index)] for index in indices]
        texts, places = np.unique(np.concatenate([one.texts for one in chosen]), return_inverse=True)
        ids, mask = pad([self.encoded.ids[i] for i in texts], self.tokenizer.pad_token_id or 0, torch.device("cpu"))
        shape = len(chosen), max(len(one.texts) for one in chosen)
        grid: dict[str, np.ndarray] = {
            "places": np.zeros(shape, dtype=np.int64),
            "first_pass": np.zeros(shape, dtype=np.float32),
            "errors": np.zeros(shape, dtype=np.float32),
            "known": np.zeros(shape, dtype=np.bool_),
        }
        start = 0
        for row, one in enumerate(chosen):
            count = len(one.texts)
            grid["places"][row, :count] = places.reshape(-1)[start : start + count]
            # a constant of each list changes nothing, and small numbers keep their digits
            grid["first_pass"][row, :count] = self.scorer.first_pass * (one.first_pass - one.first_pass.max())
            grid["errors"][row, :count] = one.errors
            grid["known"][row, :count] = True
            start += count
        tensors = {name: torch.from_numpy(values) for name, values in grid.items()}
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids) if mask is None else mask, **tensors}

    def loss(self, model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """The recipe's loss, a mean over lists, with the correlation term where it has a weight."""
        out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        scores = batch["first_pass"] + out.logits[:, 0].float()[batch["places"]]
        compare = mwer if self.scorer.loss == "mwer" else mwed
        loss = compare(scores, batch["errors"], batch["known"])
        if self.scorer.correlation:
            loss = loss + self.scorer.correlation * correlation(out.features.float())
        return loss

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        """``wer`` on dev with the best weights of scorer and number of words."""
        features = {"words": self.dev.features["words"], "scorer": self.score(model, self.dev_texts, self.dev.table)}
        chosen = choose_weights(replace(self.dev, features=features), seed=self.seed, restarts=0)["scorer"]
        return {"wer": self.dev.table.rate_of(chosen.errors)}

    def score(self, model: Any, texts: Lists, table: ErrorTable) -> Floats:
        """g of every hypothesis, (U, N)."""
        scorer = ClsScorer(
            model, self.tokenizer, max_length=self.max_length, overlong=self.scorer.overlong, autocast=self.autocast
        )
        return padded([row.tolist() for row in scorer.score(texts)], table)

    def names(self, indices: NDArray[np.int64]) -> list[str]:
        """Ids of the utterances."""
        return [self.train[int(index)].id for index in indices]
