"""What the last layer of a task's own adapter sees: the place from which a fusion can start as that adapter.

The adapter is loaded as for answering, and its last layer is taken out, so that what comes out is what would go in:
BERT's pooled first token, DistilBERT's first layer of the head, a decoder's last token. Not here: the fusion
(`attention`), the adapter's update as an expert (`experts`).

Example:
    >>> own = open_own("mood", folder, task)                        # doctest: +SKIP
    >>> own.vectors(input_ids, attention_mask).shape                # doctest: +SKIP
    torch.Size([16, 384])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tunelet.base.errors import AdapterError, Problem
from tunelet.base.files import digest, sha256_file
from tunelet.data.records import Task
from tunelet.tuning import stored
from tunelet.tuning.inference import for_inference
from tunelet.tuning.loaded import load_one

#: to be raised when the same files would give other vectors
_VERSION = 1


@dataclass(frozen=True, eq=False)
class OwnHead:
    """An adapter without its last layer, which stands beside it.

    Attributes:
        name: of the expert.
        model: gives as `logits` what the last layer would see.
        weight, bias: of the last layer, (C, H) and (C,).
        sha256: hex, over the files of the adapter: equal where the vectors are.
    """

    name: str
    model: nn.Module
    weight: Tensor
    bias: Tensor | None
    sha256: str

    @torch.no_grad()
    def vectors(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Ids and mask (B, L) to (B, H)."""
        found: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return found

    def compute(self, tokenizer: Any, *, max_length: int, batch: int = 64) -> Any:
        """What computes vectors for `vectors.VectorCache`, whose one expert this is."""

        def run(texts: Sequence[str], experts: Sequence[int]) -> Tensor:
            parts = []
            for start in range(0, len(texts), batch):
                encoded = tokenizer(
                    list(texts[start : start + batch]),
                    truncation=True,
                    max_length=max_length,
                    padding=True,
                    return_tensors="pt",
                    return_token_type_ids=False,
                )
                parts.append(self.vectors(encoded["input_ids"], encoded["attention_mask"]))
            return torch.cat(parts)[:, None]

        return run


def open_own(name: str, folder: Path, task: Task, *, base: str | None = None, force: bool = False) -> OwnHead:
    """Load the target's own adapter, its last layer apart.

    Args:
        name: of the expert.
        task: of the fusion; the adapter's labels have to be the same, in the same order.
        base, force: as `tuning.loaded.load_one` takes them.

    Raises:
        AdapterError: a check of the adapter failed, its labels are others, or it has no last layer for them.
    """
    loaded = load_one(folder, base=base, force=force)
    if loaded.task.label_names != task.label_names:
        told = f"its labels are {', '.join(loaded.task.label_names)}, the fusion's {', '.join(task.label_names)}"
        raise AdapterError(Problem(f"the expert {name!r} is no adapter of the fusion's task: {told}", folder))
    model: Any = for_inference(loaded, precision="fp32").model
    inside = f"{getattr(model, 'base_model_prefix', '')}."
    last = [
        place
        for place, module in model.named_modules()
        if type(module) is nn.Linear and module.out_features == len(task.labels) and not place.startswith(inside)
    ]
    if not last:
        message = f"the expert {name!r} has no last layer of {len(task.labels)} outputs to start from"
        hint = "take fusion.residual none and fusion.head fresh"
        raise AdapterError(Problem(message, folder, hint=hint))
    layer = model.get_submodule(last[-1])
    model.set_submodule(last[-1], nn.Identity())
    bias = None if layer.bias is None else layer.bias.detach().clone()
    files = [sha256_file(folder / part) for part in (stored.CONFIG, stored.WEIGHTS)]
    known = "" if loaded.base is None else loaded.base.fingerprint
    return OwnHead(name, model, layer.weight.detach().clone(), bias, digest([_VERSION, known, *files]))
