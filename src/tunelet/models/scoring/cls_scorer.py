"""One pass, one number for each text: the [CLS] scorer of RescoreBERT. Not here: the model (`models.rescorer`).

Its numbers are log probabilities only in what they are for: they are added to the first pass's, higher is better.

Example:
    >>> ClsScorer(build_rescorer(base), base.tokenizer, max_length=128).score([["a b", "a c"]])     # doctest: +SKIP
    [array([0., 0.])]
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tunelet.models.evaluating import evaluating
from tunelet.models.scoring.one_position import hidden_at
from tunelet.models.scoring.scorer import (
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
from tunelet.models.vocabulary import whole_model


class ClsScorer:
    """A `Scorer` over an encoder with the head ``score``.

    Args:
        model: as `models.rescorer.build_rescorer` gives it, plain or with PEFT's adapter.
        tokenizer: its fast tokenizer.
        max_length: tokens of the longest text, special tokens included.
        token_budget: tokens in a batch, padding included; None: what is fast on the device.
        autocast: compute in this type (torch.bfloat16), or as the weights are if None.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        max_length: int,
        overlong: Overlong = "error",
        token_budget: int | None = None,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.max_length, self.overlong = max_length, overlong
        self.token_budget, self.autocast = token_budget, autocast

    def score(self, lists: Lists, *, progress: Progress | None = None) -> Scores:
        """g of every text; see `Scorer.score`."""
        unique = Unique.of(lists)
        encoded = encode(unique.texts, self.tokenizer, self.max_length, self.overlong)
        values = np.zeros(len(encoded.ids))
        device, done = device_of(self.model), 0
        budget = budget_on(device, self.token_budget)
        with evaluating(self.model):
            for batch in token_batches(encoded.lengths, budget):
                ids, mask = pad([encoded.ids[i] for i in batch], self.tokenizer.pad_token_id or 0, device)
                with torch.autocast(device.type, dtype=self.autocast, enabled=self.autocast is not None):
                    # as the model's own forward pass, but the last layer for the first token alone
                    first = hidden_at(self.model, ids, mask, torch.zeros(len(ids), dtype=torch.long, device=device))
                    scores = whole_model(self.model).score(first)
                values[batch] = scores[:, 0].double().cpu().numpy()
                done += len(batch)
                if progress is not None:
                    progress(done, len(values))
        return unique.spread(values)
