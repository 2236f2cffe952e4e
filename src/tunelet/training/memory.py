"""What one training step holds in memory, counted tensor by tensor, in bytes.

Four things fill memory while a network trains: its parameters, their gradients, the optimiser's state, and the
activations that autograd keeps from the forward pass for the backward pass. The first three grow with the number of
(trained) parameters, the last with batch size and text length. This module counts each exactly, on every device, by
looking at the tensors themselves. It is not a profiler: it says nothing of allocator overhead, of workspaces, or of
temporaries that die inside an operation. `resources.py` measures the peak that the machine saw, all of that included.

Example:
    >>> import torch
    >>> layer = torch.nn.Linear(8, 4, bias=False)
    >>> batch = torch.ones(2, 8)
    >>> saved_activations(lambda: layer(batch).sum(), layer)  # the weight's gradient needs the input: 2 x 8 x 4 bytes
    64
    >>> _ = layer.requires_grad_(False)
    >>> saved_activations(lambda: layer(batch).sum(), layer)  # a frozen weight needs no input
    0
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

StorageKey = tuple[str, int]
"""Device type and address: what makes two tensors share memory."""


@dataclass(frozen=True)
class MemoryBreakdown:
    """Bytes held by one training step.

    Attributes:
        parameters: All parameters and buffers, trained or frozen; shared (tied) storages once.
        gradients: The gradients of the trained parameters.
        optimizer: The optimiser's state tensors.
        saved_activations: What autograd keeps for the backward pass (see `saved_activations`).
    """

    parameters: int
    gradients: int
    optimizer: int
    saved_activations: int

    @property
    def total(self) -> int:
        """The sum of the four parts, in bytes."""
        return self.parameters + self.gradients + self.optimizer + self.saved_activations

    def to_json(self) -> dict[str, int]:
        """The four parts and nothing else (the total can be had from them)."""
        return asdict(self)


class SavedTensors:
    """Context manager that follows the storages which autograd keeps for the backward pass.

    A storage counts once and whole, however many saved tensors look into it: a view keeps all of its memory alive, and
    three projections of one input keep one input. Storages of `model`'s parameters and buffers do not count, because
    they are there with or without a backward pass. Inputs do (token ids: a few kilobytes).

    Two things are out of sight of autograd's hooks, and so of this count: tensors that a custom
    `torch.autograd.Function` stores as plain attributes instead of by `save_for_backward`, and what activation
    checkpointing recomputes during the backward pass.

    Attributes:
        live: Bytes kept at this moment. Falls as a backward pass, or the end of the graph, frees them.
        peak: The largest value of `live` so far.
    """

    def __init__(self, model: nn.Module | None = None) -> None:
        self.live = 0
        self.peak = 0
        self._holders: dict[StorageKey, int] = {}
        self._excluded = set(_storages(_weights(model))) if model is not None else set()
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, _unpack)

    def __enter__(self) -> SavedTensors:
        self._hooks.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hooks.__exit__(kind, error, trace)

    def _pack(self, tensor: Tensor) -> _Kept:
        return _Kept(tensor, self)

    def _hold(self, key: StorageKey, size: int) -> None:
        count = self._holders.get(key, 0)
        self._holders[key] = count + 1
        if count == 0 and key not in self._excluded:
            self.live += size
            self.peak = max(self.peak, self.live)

    def _release(self, key: StorageKey, size: int) -> None:
        count = self._holders[key] - 1
        if count:
            self._holders[key] = count
            return
        # Forget the address: the allocator may give it to another tensor, which then counts anew.
        del self._holders[key]
        if key not in self._excluded:
            self.live -= size


class _Kept:
    """One saved tensor, as autograd holds it. Lives as long as the graph needs the tensor, and gives its share back."""

    __slots__ = ("key", "size", "tensor", "watch")

    def __init__(self, tensor: Tensor, watch: SavedTensors) -> None:
        # An operation's own result refers to the graph that is about to hold it. Detached, it does not: the two would
        # keep each other, and gigabytes, alive for good.
        self.tensor = tensor.detach()
        self.watch = watch
        self.key, self.size = _storage(tensor)
        watch._hold(self.key, self.size)

    def __del__(self) -> None:
        self.watch._release(self.key, self.size)


def _unpack(kept: _Kept) -> Tensor:
    return kept.tensor


def saved_activations(step: Callable[[], Tensor], model: nn.Module | None = None) -> int:
    """Bytes that the forward pass of `step` leaves in memory for the backward pass.

    Args:
        step: Runs one forward pass and returns the loss. It draws random numbers as usual (dropout); wrap the call in
            `preserved_rng` to leave the streams as they were.
        model: Its parameters and buffers are not counted.

    Returns:
        The bytes of all distinct storages alive at once for the backward pass (the peak, should `step` also run one).
    """
    with SavedTensors(model) as saved:
        loss = step()
        peak = saved.peak
    del loss  # the graph has to live until here, or there would be nothing to count
    return peak


def measure_memory(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    loss: Callable[[], Tensor],
    *,
    working: Iterable[Tensor] = (),
) -> MemoryBreakdown:
    """Count the four parts of a training step by running one forward and one backward pass.

    Weights, gradients that were there, and random streams are left as they were; no optimiser step is taken. (Buffers
    that a forward pass updates, as batch normalisation has, are updated once.) The model's mode is used as it stands:
    dropout counts only in train mode.

    Args:
        model: Whose parameters, gradients and buffers are counted.
        optimizer: Its state is counted as it is. Most optimisers make it in their first step, so measure after one.
        loss: Runs the forward pass on one batch, under the autocast of the run if it has one; returns the scalar loss.
        working: Tensors that stay over the steps beside the model's own (weights held in another type, mask pools);
            they count as parameters, each storage once.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = [parameter.grad for parameter in trained]
    for parameter in trained:
        parameter.grad = None
    try:
        with preserved_rng(model):
            with SavedTensors(model) as saved:
                value = loss()
                activations = saved.peak
            value.backward()  # type: ignore[no-untyped-call]
        gradients = tensor_bytes(parameter.grad for parameter in trained if parameter.grad is not None)
    finally:
        for parameter, gradient in zip(trained, before, strict=True):
            parameter.grad = gradient
    return MemoryBreakdown(
        parameters=tensor_bytes([*_weights(model), *working]),
        gradients=gradients,
        optimizer=optimizer_bytes(optimizer) if optimizer is not None else 0,
        saved_activations=activations,
    )


def optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of the tensors in an optimiser's state, in whatever nesting it keeps them; zero before its first step."""
    return tensor_bytes(_tensors_in(list(optimizer.state.values())))


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the distinct storages under `tensors`."""
    return sum(_storages(tensors).values())


@contextmanager
def preserved_rng(model: nn.Module) -> Iterator[None]:
    """Put the global random streams of the CPU and of the model's CUDA devices back on leaving."""
    devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        yield


class ByteMasks(TorchFunctionMode):
    """Inside, dropout keeps a mask of one byte per element, as it does on CUDA; on the CPU it keeps one of four.

    It makes what is counted on a CPU, or on the meta device, comparable to figures of a graphics card.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is nn.functional.dropout and not kwargs.get("inplace", False):
            return _byte_mask_dropout(*args, **kwargs)
        return function(*args, **kwargs)


def _byte_mask_dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if not training or p == 0:
        return input
    dropped: Tensor = torch.native_dropout(input, p, training)[0]
    return dropped


def _weights(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _storages(tensors: Iterable[Tensor]) -> dict[StorageKey, int]:
    return dict(_storage(tensor) for tensor in tensors)


def _storage(tensor: Tensor) -> tuple[StorageKey, int]:
    """What tells one storage from another, and its size in bytes.

    Tensors without data (the meta device) all have address 0, so there the storage object itself is the key: this is
    what makes it possible to count for a model and a batch that would not fit into memory.
    """
    if tensor.layout is not torch.strided:  # sparse and opaque tensors have no single storage
        return ("object", id(tensor)), tensor.numel() * tensor.element_size()
    storage = tensor.untyped_storage()
    return (tensor.device.type, storage.data_ptr() or storage._cdata), storage.nbytes()


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors_in(item)
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _tensors_in(item)
