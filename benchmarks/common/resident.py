"""Job that trains a few steps of a random BERT and tells the peak of what the process held; one process, one figure.

Example:
    >>> worker = Worker("resident", {"what": "full", "engine": "peft", "size": {...}, "steps": 2})      # doctest: +SKIP
    >>> worker.wait()["growth"]                                                                         # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

import torch

from tunelet.training.resources import ResourceMeter

from .bert import Size, loss, tuned
from .worker import Channel


def resident(spec: dict[str, Any], channel: Channel) -> None:
    """Answers once: ``peak`` bytes while training, their ``kind``, and the ``growth`` over what imports had taken."""
    size = Size(**spec["size"])
    with ResourceMeter("cpu") as before:
        pass
    start = before.resources(trainable_parameters=0, total_parameters=0, adapter_bytes=0).peak_memory_bytes
    with ResourceMeter("cpu") as meter:
        found = tuned(size, spec["what"], engine=spec["engine"])
        optimizer = found.optimizer(learning_rate=1e-4)
        for _ in range(spec["steps"]):
            value = loss(found.model, size)
            torch.autograd.backward(value)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    peak = meter.resources(trainable_parameters=0, total_parameters=0, adapter_bytes=0)
    channel.answer(
        {
            "peak": peak.peak_memory_bytes,
            "kind": peak.peak_memory_kind,
            "growth": peak.peak_memory_bytes - start,
        }
    )
