"""Log probability of a text by a causal language model; what the hypotheses of a list have in common is scored once.

    log P(w) = sum_{t=1}^{n+1} log P(w_t | BOS, w_1 .. w_{t-1}),     w_{n+1} = EOS

The texts of a list form a tree of tokens. One forward pass goes over its nodes: each looks at its ancestors alone (the
attention mask) and has its depth as position, so every node gets what it would get in its own text. A leaf's next token
is not asked for, so leaves (the EOS) are not run at all. Not here: training, weights between scorers.

Example:
    >>> CausalScorer(model, tokenizer, max_length=128).score([["a b", "a c", ""]])      # doctest: +SKIP
    [array([-14.2, -13.0, -6.1])]
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tunelet.base.errors import BaseModelError, Problem
from tunelet.models.evaluating import evaluating
from tunelet.models.scoring.scorer import (
    Ids,
    Lists,
    Overlong,
    Progress,
    Scores,
    Unique,
    budget_on,
    device_of,
    encode,
    token_batches,
)
from tunelet.models.scoring.trie import Tree
from tunelet.models.vocabulary import VocabularyHead, backbone_of


class CausalScorer:
    """A `Scorer` over a causal language model.

    Args:
        model: as `models.language.build_causal_lm` gives it, plain or with PEFT's adapter.
        tokenizer: its fast tokenizer. BOS and EOS are its own, or [CLS] and [SEP] where it has none.
        max_length: tokens of the longest text, BOS and EOS included.
        share: whether shared beginnings are run once. Off, every text is run for itself; the scores are the same.
        kept: token ids to which the vocabulary is cut; None: all.
        token_budget: nodes in a batch, padding included; None: what is fast on the device.
        autocast: compute in this type (torch.bfloat16), or as the weights are if None.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        max_length: int,
        overlong: Overlong = "error",
        share: bool = True,
        kept: NDArray[np.int64] | None = None,
        token_budget: int | None = None,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.max_length, self.overlong, self.share = max_length, overlong, share
        self.kept, self.token_budget, self.autocast = kept, token_budget, autocast

    def score(self, lists: Lists, *, progress: Progress | None = None) -> Scores:
        """log P of every text, in nats; see `Scorer.score`.

        Raises:
            BaseModelError: the model cannot be told the position of a token, or the tokenizer lacks BOS or EOS.
        """
        _can_share(backbone_of(self.model))
        unique = Unique.of(lists)
        begin, end = boundaries(self.tokenizer)
        encoded = encode(unique.texts, self.tokenizer, self.max_length - 2, self.overlong, special=False)
        rows = [np.array([begin, *ids, end]) for ids in encoded.ids]
        # without sharing a text is a list of its own
        groups = [np.unique(place) for place in unique.places if len(place)] if self.share else _single(len(rows))
        trees = [Tree.of([rows[i] for i in group]) for group in groups]
        values = np.zeros(len(rows))
        done = 0
        head = VocabularyHead(self.model, self.kept)
        budget = budget_on(device_of(self.model), self.token_budget)
        with evaluating(self.model):
            for batch in token_batches([len(tree.inner) for tree in trees], budget):
                found = self._forest([trees[i] for i in batch], head)
                for i, scores in zip(batch, found, strict=True):
                    values[groups[i]] = scores
                done += len(batch)
                if progress is not None:
                    progress(done, len(trees))
        return unique.spread(values)

    def _forest(self, trees: Sequence[Tree], head: VocabularyHead) -> list[NDArray[np.float64]]:
        """Scores of the texts of some trees, run together, each padded to the largest."""
        device = device_of(self.model)
        is_inner = [np.isin(np.arange(len(tree)), tree.inner) for tree in trees]
        cuts = [tree.cut(chosen) for tree, chosen in zip(trees, is_inner, strict=True)]
        ids, positions, seen = _padded([cut for cut, _ in cuts], self.tokenizer.pad_token_id or 0)
        dtype = self.autocast or next(self.model.parameters()).dtype
        bias = torch.zeros(seen.shape, dtype=dtype).masked_fill_(torch.from_numpy(~seen), torch.finfo(dtype).min)
        with torch.autocast(device.type, dtype=self.autocast, enabled=self.autocast is not None):
            hidden = backbone_of(self.model)(
                input_ids=torch.from_numpy(ids).to(device),
                attention_mask=bias[:, None].to(device),
                position_ids=torch.from_numpy(positions).to(device),
                use_cache=False,
            ).last_hidden_state
        # each node that is not a root asks its parent for itself
        asked = [np.flatnonzero(tree.parents >= 0) for tree in trees]
        places = [i * ids.shape[1] + cuts[i][1][tree.parents[asked[i]]] for i, tree in enumerate(trees)]
        tokens = [tree.tokens[asked[i]] for i, tree in enumerate(trees)]
        states, back = np.unique(np.concatenate(places), return_inverse=True)
        found = (
            head.log_probabilities(
                hidden.flatten(0, 1)[torch.from_numpy(states).to(device)].float(),
                torch.from_numpy(np.concatenate(tokens)),
                torch.from_numpy(back.astype(np.int64)),
            )
            .double()
            .cpu()
            .numpy()
        )
        scores, start = [], 0
        for tree, where in zip(trees, asked, strict=True):
            values = np.zeros(len(tree))
            values[where] = found[start : start + len(where)]
            start += len(where)
            scores.append(tree.sums(values))
        return scores


def boundaries(tokenizer: Any) -> tuple[int, int]:
    """Ids of the tokens that stand before and after a text.

    Raises:
        BaseModelError: the tokenizer has none.
    """
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    if begin is None and end is not None:
        begin = end  # as GPT-like models without a BOS were trained: the end of one text begins the next
    if begin is None or end is None:
        raise BaseModelError(Problem("the tokenizer has neither BOS and EOS nor [CLS] and [SEP]"))
    return int(begin), int(end)


def _can_share(backbone: Any) -> None:
    if "position_ids" not in inspect.signature(type(backbone).forward).parameters:
        raise BaseModelError(
            Problem(f"{type(backbone).__name__} takes no position_ids, so it cannot be run over a tree of tokens")
        )


def _single(count: int) -> list[Ids]:
    return [np.array([i]) for i in range(count)]


def _padded(trees: Sequence[Tree], pad_id: int) -> tuple[Ids, Ids, NDArray[np.bool_]]:
    """Ids and positions (B, L), and what may look at what (B, L, L). A padded node looks at itself, lest it be NaN."""
    width = max(len(tree) for tree in trees)
    ids = np.full((len(trees), width), pad_id, dtype=np.int64)
    positions = np.zeros((len(trees), width), dtype=np.int64)
    seen = np.broadcast_to(np.eye(width, dtype=bool), (len(trees), width, width)).copy()
    for i, tree in enumerate(trees):
        ids[i, : len(tree)], positions[i, : len(tree)] = tree.tokens, tree.depths
        seen[i, : len(tree), : len(tree)] = tree.ancestors()
    return ids, positions, seen
