"""Training a language model on plain text, as the loop wants it: masked or causal, with logits only where asked.

The masks of a batch are a function of (seed, the rows in it), so a run that goes on masks as it would have, and a text
is masked otherwise whenever it comes in another company. Validation masks are fixed. Not here: reading text
(`data.language_text`), scores of hypotheses (`models.scoring`).

Example:
    >>> splits = {"train": text, "validation": held_out}                            # doctest: +SKIP
    >>> objective = LanguageObjective("masked", splits, tokenizer, seed=1)          # doctest: +SKIP
    >>> objective.loss(model, objective.batch(np.array([0, 1]))).backward()         # doctest: +SKIP
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tunelet.base.files import sha256_bytes
from tunelet.base.streams import numpy_stream
from tunelet.data.batching import in_order
from tunelet.data.language_text import TokenisedText
from tunelet.data.masking import mask_tokens
from tunelet.models.evaluating import evaluating
from tunelet.models.vocabulary import VocabularyHead, backbone_of


def language_loss(model: Any, head: VocabularyHead, batch: dict[str, Tensor]) -> Tensor:
    """Mean -log P, in nats, of the tokens that are asked for; only their hidden states reach the vocabulary.

    Args:
        model: masked or causal, plain or with PEFT's adapter.
        head: its head; tokens that were cut away do not count.
        batch: ``input_ids``, ``attention_mask`` (B, L); ``asked`` (M,) places in the flattened batch whose hidden state
            foretells; ``targets`` (M,) token ids.
    """
    hidden = backbone_of(model)(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    return head.loss(hidden.flatten(0, 1)[batch["asked"]], batch["targets"])


@dataclass(frozen=True)
class LanguageScores:
    """How well a model foretells a split.

    Attributes:
        nats: sum of -log P over the tokens.
        tokens: that were asked for and are in the vocabulary.
        cut: that were asked for and are not.
    """

    nats: float
    tokens: int
    cut: int

    @property
    def loss(self) -> float:
        """Nats a token."""
        return self.nats / max(1, self.tokens)

    @property
    def perplexity(self) -> float:
        """exp(loss), bounded so that it is a number."""
        return math.exp(min(self.loss, 700.0))


@dataclass
class LanguageObjective:
    """Loss and evaluation for the loop (`training.loop.Objective`).

    Attributes:
        kind: "masked" asks for chosen tokens from all others, "causal" for each from what is left of it.
        splits: ``train`` and ``validation`` rows.
        tokenizer: gives the special ids.
        seed: of the run.
        kept: token ids to which the vocabulary is cut; None: all. Random replacements are drawn from it, too.
        share: of the tokens that are asked for, where masked.
        evaluation_size: rows in a batch of the evaluation.
    """

    kind: Literal["masked", "causal"]
    splits: dict[str, TokenisedText]
    tokenizer: Any
    seed: int
    kept: NDArray[np.int64] | None = None
    share: float = 0.15
    evaluation_size: int = 64
    _known: tuple[torch.nn.Module, VocabularyHead] | None = field(default=None, repr=False)

    def batch(self, indices: NDArray[np.int64]) -> dict[str, Tensor]:
        """The tensors of some training rows; see `language_loss`."""
        key = sha256_bytes(np.asarray(indices, dtype="<i8").tobytes())
        return self._made("train", indices, numpy_stream(self.seed, "masking", key))

    def loss(self, model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Mean -log P of what is asked for, in nats."""
        return language_loss(model, self._head(model), batch)

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        """``loss`` (nats a token) and ``perplexity`` on validation, over all tokens that are asked for and kept."""
        scores = self.score(model, "validation")
        return {"loss": scores.loss, "perplexity": scores.perplexity}

    def score(self, model: torch.nn.Module, split: str) -> LanguageScores:
        """Scores on a held-out split, with masks that are the same every time."""
        text, total, tokens, cut = self.splits[split], 0.0, 0, 0
        head, device = self._head(model), next(model.parameters()).device
        # frozen weights that are held in bf16 do not multiply fp32 ones
        half = any(parameter.dtype == torch.bfloat16 for parameter in model.parameters())
        with evaluating(model):
            for number, rows in enumerate(in_order(text.lengths, self.evaluation_size)):
                made = self._made(split, rows, numpy_stream(0, "validation masking", number))
                batch = {key: value.to(device) for key, value in made.items()}
                count = int((head.places(batch["targets"]) >= 0).sum())
                with torch.autocast(device.type, torch.bfloat16, enabled=half):
                    total += float(language_loss(model, head, batch)) * count
                tokens += count
                cut += len(batch["targets"]) - count
        return LanguageScores(total, tokens, cut)

    def names(self, indices: NDArray[np.int64]) -> list[str]:
        """Numbers of the rows."""
        return [f"row {int(index)}" for index in indices]

    def _made(self, split: str, rows: NDArray[np.int64], stream: np.random.Generator) -> dict[str, Tensor]:
        pad_id = self.tokenizer.pad_token_id or 0
        ids, real = self.splits[split].padded(np.asarray(rows, dtype=np.int64), pad_id)
        if self.kind == "masked":
            special = np.isin(ids, self.tokenizer.all_special_ids)
            draws = np.arange(len(self.tokenizer)) if self.kept is None else self.kept
            given, chosen = mask_tokens(
                ids, real & ~special, self.tokenizer.mask_token_id, draws, stream, share=self.share
            )
            asked = np.flatnonzero(chosen)
            targets = ids[chosen]
        else:
            given, width = ids, ids.shape[1]
            follows = np.zeros_like(real)
            follows[:, :-1] = real[:, 1:]
            asked = np.flatnonzero(follows)
            targets = ids.reshape(-1)[asked + 1] if width > 1 else np.empty(0, dtype=np.int64)
        return {
            "input_ids": torch.from_numpy(given),
            "attention_mask": torch.from_numpy(real.astype(np.int64)),
            "asked": torch.from_numpy(asked),
            "targets": torch.from_numpy(targets),
        }

    def _head(self, model: torch.nn.Module) -> VocabularyHead:
        """One head for a model, so that frozen rows are taken out once."""
        if self._known is None or self._known[0] is not model:
            self._known = model, VocabularyHead(model, self.kept)
        return self._known[1]
