"""Makes a loaded adapter answer fast: update merged, what a classifier ignores left out, smaller types.

In fp32 the answers stay those of the adapter to rounding (merging moves logits by about 1e-6). bf16 and int8 move
probabilities, by about 0.01 and 0.05; labels stay those of fp32, because a copy in fp32 answers again what is nearly a
tie (`guard`). Not here: batches and streams (`evaluation.inference`).

Example:
    >>> loaded = load_adapter(folder)                               # doctest: +SKIP
    >>> faster = for_inference(loaded, precision="int8")            # doctest: +SKIP
    >>> for row in predict_stream(faster, examples): ...            # doctest: +SKIP
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tunelet.base.errors import InputError, Problem
from tunelet.base.streams import numpy_stream
from tunelet.models.rates import faster_precision
from tunelet.tuning.answering import AnsweringEncoder, can_answer, linears
from tunelet.tuning.fast.attach import attach
from tunelet.tuning.guard import Guard
from tunelet.tuning.int8 import Int8Linear, largest_inputs
from tunelet.tuning.loaded import LoadedAdapter
from tunelet.tuning.precision import freeze_in

Precision = Literal["auto", "fp32", "bf16", "int8"]


@dataclass(frozen=True, eq=False)
class Ready(LoadedAdapter):
    """An adapter whose model only answers.

    Attributes:
        precision: type of the encoder's products.
        exact: the same in fp32, for answers that are nearly a tie; None where `model` is it.
        guard: which these are; None without `exact`.
    """

    precision: str = "fp32"
    exact: nn.Module | None = field(default=None)
    guard: Guard | None = field(default=None)


def for_inference(loaded: LoadedAdapter, *, precision: Precision = "auto", merge: bool = True) -> Ready:
    """The adapter with a model that only answers.

    Args:
        loaded: its model is changed in place and must not be used for training afterwards.
        precision: type of the encoder's products; the head stays fp32. auto: bf16 where the processor has instructions
            for it, else fp32.
        merge: fold the update into the weights. Without, the base's weights stay as they are, at some cost in speed.

    Returns:
        `loaded` with the faster model. One of an unknown architecture is merged and cast all the same. A fusion answers
        through its own forward pass, in which each expert's update is merged, in fp32.

    Raises:
        InputError: int8 without merging, or on a processor for which torch has no int8 products; bf16 or int8 of a
            fusion, or a fusion that is not to be merged.
    """
    if loaded.fused:
        return _fused(loaded, precision, merge)
    kind = faster_precision(str(_device(loaded.model))) if precision == "auto" else precision
    if kind == "int8" and not merge:
        raise InputError(Problem("int8 needs merged weights", field="precision", hint="merge them, or fp32 or bf16"))
    model: Any = loaded.model
    if merge and hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model.requires_grad_(False).eval()
    plain = {part.name: getattr(loaded, part.name) for part in fields(LoadedAdapter)}
    if kind == "fp32":
        return Ready(**{**plain, "model": _exact(model)})
    rough = _in_int8(model, _some_texts(loaded)) if kind == "int8" else _in_bf16(copy.deepcopy(model))
    guard = Guard(multi_label=loaded.task.multi_label)
    return Ready(**{**plain, "model": rough}, precision=kind, exact=_exact(model), guard=guard)


def _fused(loaded: LoadedAdapter, precision: Precision, merge: bool) -> Ready:
    """A fusion as it is: its bank of experts is the fast pass already."""
    if precision not in ("auto", "fp32"):
        hint = "take fp32, or auto, which is fp32 for a fusion"
        message = f"a fusion answers in fp32 alone, found {precision}"
        raise InputError(Problem(message, field="precision", hint=hint))
    if not merge:
        message = "the experts of a fusion answer with merged weights; the update of a text hangs on the text"
        raise InputError(Problem(message, field="merge"))
    loaded.model.requires_grad_(False).eval()
    return Ready(**{part.name: getattr(loaded, part.name) for part in fields(LoadedAdapter)})


def backbone_of(model: Any) -> nn.Module:
    """The encoder without its head."""
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    backbone: nn.Module = getattr(whole, whole.base_model_prefix)
    return backbone


def _device(model: nn.Module) -> str:
    return next(model.parameters()).device.type


def _exact(model: Any) -> nn.Module:
    """`model` with the fastest forward pass in fp32 that knows it."""
    if can_answer(model):
        AnsweringEncoder(backbone_of(model))
    else:
        attach(model, torch.float32)
    found: nn.Module = model
    return found


def _in_bf16(model: Any) -> nn.Module:
    freeze_in(backbone_of(model), torch.bfloat16)
    engine, _ = attach(model, torch.bfloat16)
    if engine is None:
        _cast_inputs(model, torch.bfloat16)
    found: nn.Module = model
    return found


def _in_int8(model: Any, batch: Mapping[str, Tensor]) -> nn.Module:
    """A copy of `model` whose encoder has int8 layers, made after a look at `batch`; it shares all other weights.

    What sees one token a text (BERT's last layer, pooler, head) costs nothing and stays fp32.
    """
    backbone: Any = backbone_of(model)
    bert = can_answer(model)
    if bert:
        named = [linear for block in backbone.encoder.layer[:-1] for linear in linears(block)]
    else:
        named = [module for name, module in backbone.named_modules() if "pooler" not in name]
    chosen = [linear for linear in named if type(linear) is nn.Linear]
    sizes = largest_inputs(model, chosen, batch)
    memo: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    memo |= {id(linear): Int8Linear(linear, size) for linear, size in zip(chosen, sizes, strict=True)}
    rough: nn.Module = copy.deepcopy(model, memo)
    if bert:
        AnsweringEncoder(backbone_of(rough))
    return rough


def _some_texts(loaded: LoadedAdapter) -> dict[str, Tensor]:
    """A batch of random tokens, the same ones each time: enough to see which inputs of a layer are large."""
    stream = numpy_stream(0, "int8")
    count = min(len(loaded.tokenizer), loaded.model.get_input_embeddings().num_embeddings)  # type: ignore[operator]
    drawn = [stream.integers(0, count, size=int(stream.integers(3, 40))).tolist() for _ in range(32)]
    texts = [loaded.tokenizer.decode(ids, skip_special_tokens=True) for ids in drawn]
    batch = loaded.tokenizer(
        texts,
        truncation=True,
        max_length=loaded.max_length,
        padding=True,
        return_tensors="pt",
        return_token_type_ids=False,
    )
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def _cast_inputs(model: nn.Module, dtype: torch.dtype) -> None:
    """Run the whole model under autocast, because its layers hold weights of another type than their inputs."""
    plain = model.forward

    def forward(*arguments: Any, **named: Any) -> Any:
        device = next(model.parameters()).device.type
        with torch.autocast(device, dtype=dtype):
            return plain(*arguments, **named)

    model.forward = forward
