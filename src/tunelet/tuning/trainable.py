"""The table of what trains, shown before the first step. Not here: memory (`training.memory`).

Every parameter counts once. PEFT keeps the head twice, the one that trains and the original for when the adapter
is switched off; counting both is how published tables came to say 82,956 where 78,342 numbers train.

Example:
    >>> table = trainable_table(tuned.model)        # doctest: +SKIP
    >>> table.trainable, table.total                # doctest: +SKIP
    (78342, 109560582)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from peft import PeftModel
from torch import nn

from tunelet.tuning.method import ADAPTER

_PREFIX = "base_model.model."


@dataclass(frozen=True)
class TrainableRow:
    """Trained tensors that differ only in the layer they are in.

    Attributes:
        pattern: their name, ``*`` for each number in it, such as ``encoder.layer.*.attention.self.query.lora_A``.
        count: how many there are.
        shape: of each.
    """

    pattern: str
    count: int
    shape: tuple[int, ...]

    @property
    def parameters(self) -> int:
        """Numbers in all of them."""
        size = 1
        for length in self.shape:
            size *= length
        return self.count * size


@dataclass(frozen=True)
class TrainableTable:
    """What trains, and of how much.

    Attributes:
        rows: in the model's order.
        trainable: parameters that train, head included.
        total: all parameters, the base's, the adapter's and the head's, each once.
    """

    rows: tuple[TrainableRow, ...]
    trainable: int
    total: int

    @property
    def share(self) -> float:
        """Trainable over total."""
        return self.trainable / self.total if self.total else 0.0

    def to_json(self) -> dict[str, Any]:
        """The table as JSON values."""
        rows = [
            {"pattern": row.pattern, "count": row.count, "shape": list(row.shape), "parameters": row.parameters}
            for row in self.rows
        ]
        return {"rows": rows, "trainable": self.trainable, "total": self.total, "share": self.share}


def trainable_table(model: nn.Module) -> TrainableTable:
    """Count the parameters of `model`, on any device, meta included."""
    counts: dict[tuple[str, tuple[int, ...]], int] = {}
    trainable = total = 0
    for name, parameter in model.named_parameters():
        if ".original_module." in name or ".ranknum." in name:
            continue  # the head's spare copy, and AdaLoRA's note of its rank
        total += parameter.numel()
        if parameter.requires_grad:
            trainable += parameter.numel()
            key = (_pattern(name, model), tuple(parameter.shape))
            counts[key] = counts.get(key, 0) + 1
    rows = tuple(TrainableRow(pattern, count, shape) for (pattern, shape), count in counts.items())
    return TrainableTable(rows, trainable, total)


def _pattern(name: str, model: nn.Module) -> str:
    name = name.removeprefix(_PREFIX).replace(f".modules_to_save.{ADAPTER}", "").replace(".base_layer.", ".")
    name = re.sub(rf"\.{ADAPTER}(\.weight)?$", "", name)
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    backbone = str(getattr(base, "base_model_prefix", ""))
    name = name.removeprefix(f"{backbone}.") if backbone else name
    return re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", name)
