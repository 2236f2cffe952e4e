"""Small models for the tests of the fast path, and its layer once more in plain autograd."""

from __future__ import annotations

import copy
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, linear
from transformers import BertConfig, BertForSequenceClassification

from tunelet.tuning.fast.attach import attach
from tunelet.tuning.fast.engine import FastEncoder
from tunelet.tuning.fast.layer import DOWN_INPUT, OUT_INPUT, QKV_INPUT, UP_INPUT, Layer
from tunelet.tuning.fast.members import Member
from tunelet.tuning.fast.passes import Pass

TARGETS: dict[str, list[str] | None] = {
    "full": None,
    "query": ["query"],
    "qv": ["query", "value"],
    "qkv": ["query", "key", "value"],
    "attention": ["query", "key", "value", "attention.output.dense"],
    "dense": ["intermediate.dense", "output.dense"],
    "all": ["query", "key", "value", "dense"],
}


def config(**changes: Any) -> BertConfig:
    """A BERT of a few thousand weights, with weights large enough for every part to matter."""
    chosen = {
        "vocab_size": 60,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 160,
        "num_labels": 3,
        "initializer_range": 0.2,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    return BertConfig(**{**chosen, **changes})


def classifier(
    targets: str = "all",
    *,
    rank: int = 4,
    dropout: float = 0.0,
    seed: int = 0,
    lora: dict[str, Any] | None = None,
    **changes: Any,
) -> Any:
    """A classifier in training mode, trained in full or by PEFT's LoRA, whose B is not zero: the update is there."""
    torch.manual_seed(seed)
    model: Any = BertForSequenceClassification(config(**changes))
    for module in model.modules():
        if isinstance(module, nn.LayerNorm | nn.Linear):
            nn.init.normal_(module.bias, std=0.2)
    if TARGETS[targets] is not None:
        names = TARGETS[targets]
        options = {"task_type": "SEQ_CLS", "r": rank, "lora_alpha": 2 * rank, "lora_dropout": dropout}
        model = get_peft_model(model, LoraConfig(**{**options, "target_modules": names, **(lora or {})}))
    stir(model)
    return model.train()


def stir(model: nn.Module) -> None:
    """Give every B weights, as training does."""
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            nn.init.normal_(parameter, std=0.2)


def batch(rows: int, length: int, *, padded: bool, seed: int = 1) -> dict[str, Tensor]:
    """Token ids and mask (rows, length); texts get shorter from row to row if padded."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 60, (rows, length), generator=generator)
    mask = torch.ones_like(ids)
    if padded:
        for row in range(rows):
            mask[row, max(1, length - row * max(1, length // (rows + 1))) :] = 0
    return {"input_ids": ids * mask, "attention_mask": mask}


def engine_of(model: Any, dtype: torch.dtype = torch.float32, **options: Any) -> FastEncoder:
    """The fast path of `model`; the test fails where there is none."""
    engine, why_not = attach(model, dtype, **options)
    assert engine is not None, why_not
    return engine


def loss_of(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """A loss that looks at every logit."""
    logits = model(**inputs).logits.float()
    weights = torch.linspace(-1.0, 1.0, logits.numel()).view(logits.shape)
    loss: Tensor = (logits * weights).sum() + logits.square().mean()
    return loss


def loss_and_gradients(model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss (1,), and the gradients of all that trains."""
    model.zero_grad()
    loss = loss_of(model, inputs)
    loss.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad and p.grad is not None}
    return loss.detach(), gradients


def twins(model: Any, dtype: torch.dtype = torch.float32, **options: Any) -> tuple[Any, Any]:
    """The model as it is, and a copy computed by the fast path."""
    fast = copy.deepcopy(model)
    engine_of(fast, dtype, **options)
    return model, fast


def assert_same_gradients(found: dict[str, Tensor], expected: dict[str, Tensor], *, tolerance: float) -> None:
    """Same names, and each gradient within `tolerance` of the largest of its tensor (or of all, where it vanishes)."""
    assert set(found) == set(expected)
    largest = max((gradient.abs().max().item() for gradient in expected.values()), default=0.0)
    for name, gradient in expected.items():
        # the key's bias has no gradient but rounding: it shifts all scores of a query alike. In a text of one token
        # queries and keys have none either; what is left of them differs between processors by a few eps of the largest
        scale = largest if "key" in name and "bias" in name else max(gradient.abs().max().item(), 1e-2 * largest)
        difference = (found[name] - gradient).abs().max().item()
        assert difference <= tolerance * scale, f"{name}: {difference} of {scale}"


def layer_by_autograd(layer: Layer, x: Tensor, step: Pass) -> Tensor:
    """(T, H) to (T, H): the layer for all tokens with the masks that the fast path takes, written as the paper does.

    What it holds in fewer products (a layer for the first token) is the same function: the masks have the same places.
    """
    rows, heads = len(x), layer.heads
    members = [member for site in layer.sites for member in site.members]
    first = layer.query.members + ([] if layer.key_value is None else layer.key_value.members)
    shared = layer.query.shared_masks
    q, k, v = (
        _linear(member, x, _mask(layer, step, QKV_INPUT, (rows, x.shape[1]), member, 0 if shared else part))
        .view(step.batch, step.length, heads, -1)
        .transpose(1, 2)
        for part, member in enumerate(first)
    )
    scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
    if step.bias is not None:
        scores = scores + step.bias.view(step.batch, heads, 1, step.length)
    weights = scores.softmax(-1)
    mask_of = layer.mask_of_scores(step, step.length)
    if mask_of is not None:
        weights = weights * mask_of(0, step.batch * heads).view(weights.shape)
    c = (weights @ v).transpose(1, 2).reshape(rows, -1)
    out, up, down = members[3:]
    o = _linear(out, c, _mask(layer, step, OUT_INPUT, tuple(c.shape), out))
    y = _norm(layer, 0, x + _times(o, layer.mask_of_residual(False, step, tuple(o.shape))))
    g = gelu(_linear(up, y, _mask(layer, step, UP_INPUT, tuple(y.shape), up)))
    z = _linear(down, g, _mask(layer, step, DOWN_INPUT, tuple(g.shape), down))
    return _norm(layer, 1, y + _times(z, layer.mask_of_residual(True, step, tuple(z.shape))))


def _mask(layer: Layer, step: Pass, place: int, shape: tuple[int, ...], member: Member, part: int = 0) -> Tensor | None:
    return step.mask(member.dropout, layer.number(place), shape, part)


def _linear(member: Member, x: Tensor, mask: Tensor | None) -> Tensor:
    y = linear(x, member.weight, member.bias)
    if member.a is None or member.b is None:
        return y
    return y + member.scaling * linear(linear(_times(x, mask), member.a), member.b)


def _norm(layer: Layer, which: int, x: Tensor) -> Tensor:
    module = (layer.norm_attention, layer.norm_output)[which].module
    return layer_norm(x, module.normalized_shape, module.weight, module.bias, module.eps)


def _times(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask
