"""Memory of a training step, counted tensor by tensor: ours, PEFT's LoRA and full fine-tuning, at BERT-base's size.

The peers are counted on torch's meta device, whole, as on a graphics card (dropout masks of one byte; fused attention
where transformers would use it). Ours is counted in real passes over two and over three layers and extended: every
further layer holds what the third added. In the long form also the resident sets of real processes. Not here: what is
counted (`tunelet.training.memory`).

Example:
    $ tunelet bench memory --json memory.json
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tunelet.training.memory import ByteMasks, MemoryBreakdown, saved_activations, tensor_bytes

from .common.bert import Size, loss, tuned
from .common.processes import Workers
from .common.summary import result

#: of the processes whose resident sets are measured
SMALL = Size(batch=4, length=256)
#: Adam keeps two numbers for each that trains
MOMENTS = 2


def measure(*, quick: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure; see docs/benchmarks.md for the figures."""
    return compare(Size(), None if quick else SMALL, tell)


def compare(size: Size, resident: Size | None, tell: Callable[[str], None]) -> dict[str, Any]:
    """Count at `size`; measure resident sets at `resident`, if given."""
    figures: dict[str, Any] = {"size": asdict(size)}
    ratios: dict[str, float] = {}
    ours = {what: count_ours(size, what) for what in ("lora_linear", "lora_attention")}
    ours_bf16 = {f"{what}_bf16": count_ours(size, what, "bf16") for what in ours}
    figures["ours"] = {name: _told(held) for name, held in (ours | ours_bf16).items()}
    checkpointing = count_checkpointing(size, "lora_linear")
    figures["checkpointing"] = {"lora_linear": _told(checkpointing)}
    ratios["checkpointing_over_lora_linear"] = held_at_once(checkpointing) / held_at_once(ours["lora_linear"])
    for attention, suffix in (("sdpa", ""), ("eager", "_eager")):
        peers = {what: count_peer(size, what, attention) for what in ("full", "lora_linear", "lora_attention")}
        figures[attention] = {
            name if name == "full" else name.replace("lora", "peft"): _told(held) for name, held in peers.items()
        }
        full = held_at_once(peers["full"])
        ratios[f"lora_linear_over_full{suffix}"] = held_at_once(ours["lora_linear"]) / full
        ratios[f"lora_attention_over_full{suffix}"] = held_at_once(ours["lora_attention"]) / full
        ratios[f"peft_linear_over_full{suffix}"] = held_at_once(peers["lora_linear"]) / full
        told = (figures[attention] | figures["ours"]).items()
        tell(f"{attention}: " + ", ".join(f"{name} {held['held_at_once'] / 2**30:.2f} GiB" for name, held in told))
    if resident is not None:
        figures["resident"] = {"size": asdict(resident), **_resident(resident, tell)}
    return result("memory", ratios, figures)


def held_at_once(held: MemoryBreakdown) -> int:
    """The peak of a step: weights and moments all the time, and either what the forward pass left or the gradients.

    Gradients come to be as the activations go, and are gone before the next forward pass.
    """
    return held.parameters + held.optimizer + max(held.saved_activations, held.gradients)


def count_peer(size: Size, what: str, attention: str) -> MemoryBreakdown:
    """A step of transformers (`full`) or PEFT (`lora_...`) in fp32, counted on the meta device."""
    with torch.device("meta"):
        model = tuned(size, what, attention=attention).model
    with ByteMasks(), FusedAttention():
        return _counted(model, saved_activations(lambda: loss(model, size, "meta"), model))


def count_ours(size: Size, what: str, dtype: str = "fp32") -> MemoryBreakdown:
    """A step of the fast path, from real forward passes over two and three layers of `size`."""
    two, three = (_count_real(replace(size, layers=layers), what, dtype) for layers in (2, 3))
    more = size.layers - 2
    return MemoryBreakdown(
        **{key: value + more * (three.to_json()[key] - value) for key, value in two.to_json().items()}
    )


def count_checkpointing(size: Size, what: str) -> MemoryBreakdown:
    """`count_ours` with gradient checkpointing: every layer's input, and all that one layer keeps, computed again."""
    two, three = (_count_real(replace(size, layers=layers), what, "fp32") for layers in (2, 3))
    kept = [_count_real(replace(size, layers=layers), what, "fp32", checkpointing=True) for layers in (2, 3)]
    inputs = kept[0].saved_activations + (size.layers - 2) * (kept[1].saved_activations - kept[0].saved_activations)
    again = three.saved_activations - two.saved_activations
    return replace(count_ours(size, what), saved_activations=inputs + again)


class FusedAttention(TorchFunctionMode):
    """Inside, attention on the meta device keeps what the fused kernel of a graphics card does: no scores."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is not nn.functional.scaled_dot_product_attention:
            return function(*args, **kwargs)
        query, key, value = args[:3]
        fused = torch.ops.aten._scaled_dot_product_flash_attention
        return fused(query, key, value, kwargs.get("dropout_p", 0.0), False, scale=kwargs.get("scale"))[0]


@cache
def _count_real(size: Size, what: str, dtype: str, *, checkpointing: bool = False) -> MemoryBreakdown:
    found = tuned(size, what, engine="fast", dtype=dtype)
    if found.engine is None:
        raise RuntimeError("the settings ask for the fast path, and it was not attached")
    found.engine.checkpointing = checkpointing
    saved = saved_activations(lambda: loss(found.model, size), found.model)
    return _counted(found.model, saved, found.engine.tensors())


def _counted(model: nn.Module, saved: int, working: list[Tensor] | tuple[()] = ()) -> MemoryBreakdown:
    trained = tensor_bytes(parameter for parameter in model.parameters() if parameter.requires_grad)
    return MemoryBreakdown(
        parameters=tensor_bytes([*model.parameters(), *model.buffers(), *working]),
        gradients=trained,
        optimizer=MOMENTS * trained,
        saved_activations=saved,
    )


def _told(held: MemoryBreakdown) -> dict[str, int]:
    return {**held.to_json(), "held_at_once": held_at_once(held), "sum": held.total}


def _resident(size: Size, tell: Callable[[str], None]) -> dict[str, Any]:
    """Name -> peak of a fresh process that trains two steps."""
    cases = {
        "full": ("full", "peft"),
        "peft_linear": ("lora_linear", "peft"),
        "peft_attention": ("lora_attention", "peft"),
        "lora_linear": ("lora_linear", "fast"),
        "lora_attention": ("lora_attention", "fast"),
    }
    found: dict[str, Any] = {}
    for name, (what, engine) in cases.items():
        with Workers() as workers:
            spec = {"what": what, "engine": engine, "size": asdict(size), "steps": 2}
            found[name] = workers.start("resident", spec).wait()
        tell(f"  resident set, {name}: {found[name]['growth'] / 2**30:.2f} GiB above the imports")
    return found
