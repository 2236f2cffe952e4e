"""Masked and causal language models: a pretrained backbone and its vocabulary head, a new one where it has none.

A base that was saved without a vocabulary head (`embedded:minilm`, a sentence encoder) gets one: the decoder is tied
to its word embeddings; new are only a square layer, a norm and one bias per token. The square layer starts as (nearly)
the identity: with weight I and bias `_OPEN` the GELU is in its linear part, and the norm takes the bias away again, so
the first logits are the inner products of the last hidden state with the word embeddings, scaled down. Not here: what
trains (`tuning`), losses (`training.language_losses`), scores (`models.scoring`).

Example:
    >>> model = build_masked_lm(base, seed=1)                                   # doctest: +SKIP
    >>> head_modules(model)                                                     # doctest: +SKIP
    ('cls.predictions.transform.dense', 'cls.predictions.transform.LayerNorm')
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedModel

from tunelet.base.errors import BaseModelError, Problem
from tunelet.base.streams import torch_stream
from tunelet.models.bases import Base
from tunelet.models.declared import declare
from tunelet.models.loading import from_base, refuse_lost
from tunelet.models.vocabulary import decoder_of, transform_of

#: Bias of the fresh square layer: from 3 upwards gelu(x) is x but for 0.4 %.
_OPEN = 3.0
#: Standard deviation that the first logits of a fresh head have, about; small, for they mean little yet.
_FIRST_SPREAD = 1.0
#: Encoders that transformers can also run from left to right.
_AS_DECODER = ("bert", "roberta", "xlm-roberta", "camembert", "electra")

Kind = Literal["masked", "causal"]


def build_masked_lm(base: Base, *, attention: str = "sdpa", seed: int = 0) -> PreTrainedModel:
    """The base as a masked language model, fp32, on the CPU, in evaluation mode.

    A stored vocabulary head is used; a missing one is new, from the stream ("head") of the seed.

    Raises:
        BaseModelError: transformers has no masked language model of this architecture, or the weights do not fit.
    """
    return _build(base, "masked", attention, seed)


def build_causal_lm(base: Base, *, attention: str = "sdpa", seed: int = 0) -> PreTrainedModel:
    """The base as a causal language model, fp32, on the CPU, in evaluation mode.

    An encoder of BERT's family is turned into one that sees only what is left of a token (``is_decoder``); it starts
    from the encoder's weights and has to be trained before its probabilities mean anything.

    Raises:
        BaseModelError: as `build_masked_lm`.
    """
    return _build(base, "causal", attention, seed)


def _build(base: Base, kind: Kind, attention: str, seed: int) -> PreTrainedModel:
    config = type(base.config).from_dict(base.config.to_dict())
    if kind == "causal" and config.model_type in _AS_DECODER:
        config.is_decoder = True
    config.tie_word_embeddings = True if config.model_type in _AS_DECODER else config.tie_word_embeddings
    factory: Any = AutoModelForMaskedLM if kind == "masked" else AutoModelForCausalLM
    model, report = from_base(factory, base, config, attention, what=f"{kind} language model")
    prefix = f"{model.base_model_prefix}."
    refuse_lost([name for name in report["missing_keys"] if name.startswith(prefix)], base)
    fresh = _fresh_head(model, sorted(report["missing_keys"]), base, seed)
    # the tied decoder is not new; a stored head trains only where a method says so
    declare(model, fresh_modules=fresh, task_type="CAUSAL_LM" if kind == "causal" else None)
    built: PreTrainedModel = model.eval()
    return built


def _fresh_head(model: Any, missing: list[str], base: Base, seed: int) -> tuple[str, ...]:
    """Fill a head that the file lacks; names of its modules that start untrained, the tied matrix not among them."""
    decoder = decoder_of(model)
    _, names = transform_of(model)
    fresh = tuple(name for name in names if any(key.startswith(f"{name}.") for key in missing))
    tied = decoder.weight is model.get_input_embeddings().weight
    lost = [key for key in missing if not key.startswith(tuple(f"{name}." for name in fresh))]
    lost = [key for key in lost if not key.endswith("bias") and not (tied and key.endswith("weight"))]
    if lost:
        raise BaseModelError(
            Problem(f"the file lacks {', '.join(lost[:3])}, and nothing is in their place", base.folder)
        )
    stream = torch_stream(seed, "head")
    spread = 0.1 * float(getattr(model.config, "initializer_range", 0.02))
    with torch.no_grad():
        for name in fresh:
            module = model.get_submodule(name)
            if isinstance(module, nn.LayerNorm):
                # a normed vector has length sqrt(H), so a logit spreads as much as an embedding is long
                module.weight.fill_(_FIRST_SPREAD / float(decoder.weight.norm(dim=1).mean()))
                module.bias.zero_()
            else:
                nn.init.eye_(module.weight)
                module.weight.add_(torch.empty_like(module.weight).normal_(0.0, spread, generator=stream))
                module.bias.fill_(_OPEN)
        if decoder.bias is not None and any(key.endswith(("predictions.bias", "decoder.bias")) for key in missing):
            decoder.bias.zero_()
    return fresh
