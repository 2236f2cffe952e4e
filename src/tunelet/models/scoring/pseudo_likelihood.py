"""Pseudo-log-likelihood: how well a masked language model foretells each token of a text from all others.

    PLL(w) = sum_t log P(w_t | w_1 .. w_{t-1}, [MASK], w_{t+1} .. w_n)          (Salazar et al. 2020, eq. 1)

[CLS] and [SEP] are never masked. ``word_l2r`` also masks the later pieces of the same word, so that a rare word of
many pieces is not foretold by its own end (Kauf and Ivanova 2023). An empty text has the empty sum, 0, which is the
best there is: weigh it with a length term, or leave empty hypotheses out.

A text of n tokens is n copies; those that come out equal (texts that differ in the masked token alone) are run once,
and the vocabulary head sees one vector of each. Not here: training the model, weights between scorers.

Example:
    >>> scorer = PseudoLikelihood(model, tokenizer, max_length=128)     # doctest: +SKIP
    >>> scorer.score([["the cat sat", "the cat sad"]])                  # doctest: +SKIP
    [array([-11.2, -19.8])]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from tunelet.models.evaluating import evaluating
from tunelet.models.scoring.differing import differing
from tunelet.models.scoring.one_position import hidden_at
from tunelet.models.scoring.scorer import (
    Encoded,
    Ids,
    Lists,
    Overlong,
    Progress,
    Scores,
    Unique,
    budget_on,
    device_of,
    encode,
    pad,
    token_batches,
)
from tunelet.models.vocabulary import VocabularyHead

Variant = Literal["original", "word_l2r"]


@dataclass(frozen=True)
class Job:
    """A text, and the positions in it that are scored, special tokens counted."""

    ids: Ids
    words: Ids
    places: NDArray[np.int64]


class PseudoLikelihood:
    """A `Scorer` over a masked language model.

    Args:
        model: as `models.language.build_masked_lm` gives it, plain or with PEFT's adapter.
        tokenizer: its fast tokenizer; it must have a mask token.
        max_length: tokens of the longest text, special tokens included.
        variant: which tokens are masked together.
        only_differing: mask only tokens in which the hypotheses of a list differ, and `neighbours` on either side. An
            approximation: what is left out are the same tokens in every hypothesis of the list, so their terms would
            be a constant of the list, had they not another context. Scores of different lists do not compare then,
            and lists whose texts are all equal score 0.
        kept: token ids to which the vocabulary is cut; None: all.
        token_budget: tokens in a batch, padding included; None: what is fast on the device.
        window: texts whose copies are sorted by length together; it bounds the memory.
        autocast: compute in this type (torch.bfloat16), or as the weights are if None.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        max_length: int,
        variant: Variant = "original",
        overlong: Overlong = "error",
        only_differing: bool = False,
        neighbours: int = 1,
        kept: NDArray[np.int64] | None = None,
        token_budget: int | None = None,
        window: int = 256,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.max_length, self.variant, self.overlong = max_length, variant, overlong
        self.only_differing, self.neighbours = only_differing, neighbours
        self.kept, self.token_budget, self.window, self.autocast = kept, token_budget, window, autocast

    def score(self, lists: Lists, *, progress: Progress | None = None) -> Scores:
        """Pseudo-log-likelihood of every text, in nats; see `Scorer.score`."""
        unique = Unique.of(lists)
        encoded = encode(unique.texts, self.tokenizer, self.max_length, self.overlong)
        jobs, places = self._jobs(unique, encoded)
        values = np.zeros(len(jobs))
        head = VocabularyHead(self.model, self.kept)
        with evaluating(self.model):
            for start in range(0, len(jobs), self.window):
                part = jobs[start : start + self.window]
                values[start : start + len(part)] = self._window(part, head)
                if progress is not None:
                    progress(start + len(part), len(jobs))
        return [values[place] for place in places]

    def _jobs(self, unique: Unique, encoded: Encoded) -> tuple[list[Job], list[NDArray[np.int64]]]:
        """What is scored, and for each list the positions of its texts therein."""
        if not self.only_differing:
            whole = [
                Job(ids, words, np.flatnonzero(words >= 0))
                for ids, words in zip(encoded.ids, encoded.words, strict=True)
            ]
            return whole, list(unique.places)
        jobs: list[Job] = []
        places: list[NDArray[np.int64]] = []
        for texts in unique.places:
            alike, back = np.unique(texts, return_inverse=True)  # a repeated text is one job
            inner = [np.flatnonzero(encoded.words[i] >= 0) for i in alike]
            chosen = differing(
                [encoded.ids[i][where] for i, where in zip(alike, inner, strict=True)], neighbours=self.neighbours
            )
            places.append(len(jobs) + back.astype(np.int64))
            jobs += [
                Job(encoded.ids[i], encoded.words[i], where[some])
                for i, where, some in zip(alike, inner, chosen, strict=True)
            ]
        return jobs, places

    def _window(self, jobs: Sequence[Job], head: VocabularyHead) -> NDArray[np.float64]:
        """Scores of some texts; equal copies among them are run once."""
        copies: dict[tuple[int, bytes], int] = {}
        rows: list[Ids] = []
        positions: list[int] = []
        owners: list[tuple[int, int, int]] = []  # copy, text, token
        for number, job in enumerate(jobs):
            for masked, position in self._masked(job):
                row = job.ids.copy()
                row[masked] = self.tokenizer.mask_token_id
                key = (position, row.tobytes())
                if key not in copies:
                    copies[key] = len(rows)
                    rows.append(row)
                    positions.append(position)
                owners.append((copies[key], number, int(job.ids[position])))
        values = np.zeros(len(jobs))
        if not owners:
            return values
        hidden = self._hidden(rows, np.array(positions, dtype=np.int64))
        asked = torch.tensor(owners, device=hidden.device)
        found = head.log_probabilities(hidden, asked[:, 2], asked[:, 0])
        np.add.at(values, asked[:, 1].cpu().numpy(), found.double().cpu().numpy())
        return values

    def _masked(self, job: Job) -> Iterator[tuple[NDArray[np.int64], int]]:
        """What is masked, and which of it is asked for, for each scored position."""
        for position in job.places:
            if self.variant == "original":
                yield np.array([position]), int(position)
            else:
                same = np.flatnonzero(job.words == job.words[position])
                yield same[same >= position], int(position)

    def _hidden(self, rows: list[Ids], positions: NDArray[np.int64]) -> torch.Tensor:
        """(copies, H): the last hidden state at the position of each copy."""
        device = device_of(self.model)
        budget = budget_on(device, self.token_budget)
        parts, order = [], []
        for batch in token_batches([len(row) for row in rows], budget):
            ids, mask = pad([rows[i] for i in batch], self.tokenizer.pad_token_id or 0, device)
            place = torch.from_numpy(positions[batch]).to(device)
            with torch.autocast(device.type, dtype=self.autocast, enabled=self.autocast is not None):
                parts.append(hidden_at(self.model, ids, mask, place).float())
            order.append(batch)
        whole = torch.cat(parts)
        back = torch.empty(len(rows), dtype=torch.long, device=device)
        back[torch.from_numpy(np.concatenate(order)).to(device)] = torch.arange(len(rows), device=device)
        return whole[back]
