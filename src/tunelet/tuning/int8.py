"""A linear layer in int8 that only answers: weights rounded once, inputs rounded as they come.

For an output i with weights w_i (K), w_i is about a_i q_i with q_i in -127 ... 127 and a_i = max |w_i| / 127; an input
matrix x is about b (u - z) with one step b and one zero z, for its own smallest and largest value. Then
y = a b (u - z) q^T + bias, and u q^T is a product of small whole numbers (Jacob et al. 2018, eq. 3).

x86 processors without VNNI add pairs of such products in 16 bits, where 255 x 127 x 2 does not fit; there inputs are
rounded to 7 bits. Not here: which layers (`inference`), when an answer is to be trusted (`guard`).

Example:
    >>> layer = torch.nn.Linear(8, 4)
    >>> small = Int8Linear(layer, largest=torch.ones(8))
    >>> small(torch.ones(2, 8)).shape
    torch.Size([2, 4])
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tunelet.base.errors import InputError, Problem
from tunelet.models.rates import processor_flags

#: input channels that are computed apart
APART = 8
#: torch's engines for int8, the fastest first
ENGINES = ("onednn", "fbgemm", "qnnpack")
#: instructions that add products of bytes in 32 bits
_WIDE = ("avx512_vnni", "avx_vnni", "amx_int8")


class Int8Linear(nn.Module):
    """What `plain` computes, nearly all of it in int8.

    The few input channels that are far larger than the others would make the step b too wide for all; they are left out
    of the product in int8 and are a thin product of their own, in fp32 (Dettmers et al. 2022, section 3.2).

    Args:
        plain: (N, K) weights; it is not changed, and what is needed of it is copied.
        largest: (K,) largest magnitude of each input, as `largest_inputs` found it.

    Raises:
        InputError: torch has no int8 products on this processor.
    """

    def __init__(self, plain: nn.Linear, largest: Tensor) -> None:
        super().__init__()
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self._narrow = narrow_inputs()
        weight = plain.weight.detach().float()
        self._apart = largest.topk(min(APART, len(largest) // 2)).indices
        self._kept = torch.ones_like(largest)
        self._kept[self._apart] = 0.0
        self._thin = weight[:, self._apart].t().contiguous()
        steps = ((weight * self._kept).abs().amax(1).clamp_min(1e-12) / 127).double()
        zeros = torch.zeros_like(steps, dtype=torch.long)
        bias = None if plain.bias is None else plain.bias.detach().float()
        with _packing():
            rounded = torch.quantize_per_channel(weight, steps, zeros, 0, torch.qint8)
            self._packed = torch.ops.quantized.linear_prepack(rounded, bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., K) in fp32 to (..., N) in fp32."""
        rows = x.reshape(-1, self.in_features)
        y: Tensor = torch.ops.quantized.linear_dynamic(rows * self._kept, self._packed, self._narrow)
        y.addmm_(rows[:, self._apart], self._thin)
        return y.view(*x.shape[:-1], self.out_features)


def largest_inputs(model: nn.Module, linears: Sequence[nn.Linear], batch: Mapping[str, Tensor]) -> list[Tensor]:
    """(K,) largest magnitude of each input of each layer while `model` answers a batch."""
    found: dict[int, Tensor] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        size = inputs[0].detach().abs().reshape(-1, inputs[0].shape[-1]).amax(0)
        found[id(module)] = torch.maximum(size, found.get(id(module), size))

    hooks = [linear.register_forward_pre_hook(note) for linear in linears]
    try:
        with torch.inference_mode():
            model(**batch)
    finally:
        for hook in hooks:
            hook.remove()
    return [found.get(id(linear), linear.weight.new_ones(linear.in_features)).clone() for linear in linears]


def narrow_inputs() -> bool:
    """Whether 8 bits of an input might overflow a sum of two products on this processor."""
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")
    return x86 and not any(flag in (processor_flags() or ()) for flag in _WIDE)


@contextmanager
def _packing() -> Iterator[None]:
    """The fastest engine that there is, while weights are packed; a packed weight keeps to its engine.

    torch 2.13 announces that tensors of type qint8 will go; products of packed weights have no other way in so far.
    """
    there = torch.backends.quantized.supported_engines
    engine = next((name for name in ENGINES if name in there), None)
    if engine is None:
        raise InputError(
            Problem("torch has no int8 products on this processor", field="--precision", hint="fp32 or auto")
        )
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = engine
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*quantized tensor creation", category=UserWarning)
            yield
    finally:
        torch.backends.quantized.engine = before
