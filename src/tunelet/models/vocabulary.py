"""The vocabulary head of a language model, at chosen positions and over chosen tokens only.

On a small model the product with the whole vocabulary costs as much as all layers (MiniLM: 11.7 of 22.3 million
weights), at every position. Here the hidden states are chosen first, and the vocabulary may be cut to the tokens that
occur in the texts at hand: probabilities are then over those alone,

    log P(w | h) = e_w . t(h) + b_w - log sum_{v in kept} exp(e_v . t(h) + b_v),

which raises every probability a little, less the more of the vocabulary is kept. Scores of two heads with different
cuts do not compare. Not here: which positions (`models.scoring`, `training.language_losses`).

Example:
    >>> head = VocabularyHead(model, kept=used_ids([ids], minimum=2, always=special_ids))       # doctest: +SKIP
    >>> head.log_probabilities(hidden_MH, targets_M).shape                                      # doctest: +SKIP
    torch.Size([12])
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tunelet.base.errors import BaseModelError, InputError, Problem

#: Hidden states that go through the head at once, and tokens of the vocabulary: on a CPU their logits fit its caches.
_ROWS, _TOKENS = 1024, 2048
_ROBERTAS = ("roberta", "xlm-roberta", "camembert")
#: Settings by which a model changes its logits after the head; such heads are not computed here.
_AFTERWARDS = ("final_logit_softcapping", "logit_scale", "logits_scaling")


def whole_model(model: Any) -> Any:
    """The transformers model, out of PEFT's wrapper if it is in one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def backbone_of(model: Any) -> Any:
    """The model without its head."""
    whole = whole_model(model)
    return getattr(whole, whole.base_model_prefix)


def decoder_of(model: Any) -> nn.Linear:
    """The last layer of the head, whose rows are the tokens.

    Raises:
        BaseModelError: the model has no vocabulary head, or one that does more than a linear layer.
    """
    whole = whole_model(model)
    found = whole.get_output_embeddings() if hasattr(whole, "get_output_embeddings") else None
    changed = [name for name in _AFTERWARDS if getattr(whole.config, name, None)]
    if not isinstance(found, nn.Linear) or changed:
        what = f"changes its logits by {changed[0]}" if changed else "has no linear vocabulary head"
        raise BaseModelError(Problem(f"the model ({type(whole).__name__}) {what}"))
    return found


def transform_of(model: Any) -> tuple[Callable[[Tensor], Tensor], tuple[str, ...]]:
    """What the head does before its last layer, (M, H) to (M, H), and the names of the modules that do it.

    Modules are looked up at each call: PEFT may have put its own in their place.
    """
    whole = whole_model(model)
    kind = whole.config.model_type
    if kind == "bert":
        prefix = "cls.predictions.transform"
        return (lambda x: whole.cls.predictions.transform(x)), (f"{prefix}.dense", f"{prefix}.LayerNorm")
    if kind in _ROBERTAS:
        return (
            lambda x: whole.lm_head.layer_norm(functional.gelu(whole.lm_head.dense(x))),
            ("lm_head.dense", "lm_head.layer_norm"),
        )
    if kind == "distilbert":
        return (
            lambda x: whole.vocab_layer_norm(whole.activation(whole.vocab_transform(x))),
            ("vocab_transform", "vocab_layer_norm"),
        )
    outside = [name for name, _ in whole.named_children() if name != whole.base_model_prefix]
    if len(outside) == 1 and isinstance(getattr(whole, outside[0]), nn.Linear):
        return (lambda x: x), ()
    raise BaseModelError(
        Problem(
            f"the vocabulary head of {type(whole).__name__} is not known ({', '.join(outside)})",
            hint="BERT, RoBERTa, DistilBERT and decoders with one output layer are",
        )
    )


def used_ids(
    rows: Iterable[NDArray[np.integer[Any]]], size: int, *, minimum: int = 1, always: Iterable[int] = ()
) -> NDArray[np.int64]:
    """The token ids that occur, sorted: what a vocabulary can be cut to.

    Args:
        rows: arrays of token ids of any shape: the adaptation text and all lists that will be scored.
        size: of the vocabulary.
        minimum: how often an id must occur.
        always: ids that are kept whatever, such as those of the lists when `minimum` is for the text.
    """
    counts = np.zeros(size, dtype=np.int64)
    for row in rows:
        counts += np.bincount(np.asarray(row).reshape(-1), minlength=size)
    counts[list(always)] = minimum
    return np.flatnonzero(counts >= minimum)


class VocabularyHead:
    """The head of one model.

    Args:
        model: a language model, plain or with PEFT's adapter.
        kept: sorted token ids to which the vocabulary is cut; None: all.

    Attributes:
        kept: as given.
    """

    def __init__(self, model: Any, kept: NDArray[np.int64] | None = None) -> None:
        self._decoder = decoder_of(model)
        self._transform, _ = transform_of(model)
        self.kept = kept
        self._rows: tuple[Tensor, Tensor | None] | None = None
        if kept is not None:
            size, device = self._decoder.out_features, self._decoder.weight.device
            lookup = np.full(size, -1, dtype=np.int64)
            lookup[kept] = np.arange(len(kept))
            self._lookup = torch.from_numpy(lookup).to(device)
            self._index = torch.from_numpy(np.asarray(kept, dtype=np.int64)).to(device)

    def places(self, tokens: Tensor) -> Tensor:
        """Columns of `logits` for token ids of any shape; -1 for tokens that were cut away."""
        return tokens if self.kept is None else self._lookup[tokens]

    def logits(self, hidden: Tensor) -> Tensor:
        """(M, H) hidden states to (M, K), in the type of the weights."""
        weight, bias = self._weights()
        return functional.linear(self._transform(hidden), weight, bias)

    def loss(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """Mean -log P of `tokens` (M,), in nats; those that were cut away do not count. 0 where none is left."""
        places = self.places(tokens)
        total = functional.cross_entropy(self.logits(hidden).float(), places, ignore_index=-1, reduction="sum")
        return total / (places >= 0).sum().clamp_min(1)

    @torch.no_grad()
    def log_probabilities(self, hidden: Tensor, tokens: Tensor, states: Tensor | None = None) -> Tensor:
        """log P of tokens (M,), fp32.

        Args:
            hidden: (S, H) hidden states.
            tokens: (M,) token ids.
            states: (M,) which hidden state each token is asked of; None: token i of state i. A state of which several
                are asked goes through the head once.

        Raises:
            InputError: a token was cut away.
        """
        device = hidden.device
        tokens = tokens.to(device)
        states = torch.arange(len(tokens), device=device) if states is None else states.to(device)
        places = self.places(tokens)
        if len(places) and int(places.min()) < 0:
            lost = sorted(set(tokens[places < 0].tolist()))
            raise InputError(
                Problem(
                    f"{len(lost)} tokens of the texts are not in the cut vocabulary, such as id {lost[0]}",
                    hint="cut it to the tokens of the lists, too",
                )
            )
        order = torch.argsort(states, stable=True)
        found = torch.empty(len(tokens), device=device)
        weight, bias = self._weights()
        # few states at a time, so that the logits stay small
        edges = torch.searchsorted(states[order], torch.arange(0, len(hidden) + _ROWS, _ROWS, device=device)).tolist()
        for part, (first, last) in enumerate(itertools.pairwise(edges)):
            some = order[first:last]
            if not len(some):
                continue
            ready = self._transform(hidden[part * _ROWS : (part + 1) * _ROWS])
            rows = states[some] - part * _ROWS
            chosen = (ready[rows].float() * weight[places[some]].float()).sum(-1)
            if bias is not None:
                chosen = chosen + bias[places[some]]
            found[some] = chosen - _log_sum(ready, weight, bias)[rows]
        return found

    def _weights(self) -> tuple[Tensor, Tensor | None]:
        """Rows of the last layer. Frozen ones are taken out once; what trains is read anew."""
        weight, bias = self._decoder.weight, self._decoder.bias
        if self.kept is None:
            return weight, bias
        if self._rows is not None:
            return self._rows
        if weight.requires_grad or (bias is not None and bias.requires_grad):
            return weight[self._index], None if bias is None else bias[self._index]
        with torch.inference_mode(False):  # what an evaluation takes out, training uses, too
            self._rows = weight[self._index], None if bias is None else bias[self._index]
        return self._rows


def _log_sum(ready: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(M,) log sum_v exp(e_v . t + b_v), fp32; on a CPU by parts of the vocabulary, whose logits stay in the caches."""
    size = _TOKENS if ready.device.type == "cpu" else len(weight)
    largest = torch.full((len(ready),), -torch.inf, device=ready.device)
    total = torch.zeros(len(ready), device=ready.device)
    for start in range(0, len(weight), size):
        part = slice(start, start + size)
        logits = functional.linear(ready, weight[part], None if bias is None else bias[part]).float()
        higher = torch.maximum(largest, logits.amax(-1))
        total = total * (largest - higher).exp() + logits.sub_(higher[:, None]).exp_().sum(-1)
        largest = higher
    return largest + total.log()
