"""Two sentences and what the adapter says to them: the last check that a loaded adapter is the one that was saved.

Hashes show that files are unchanged; the probes show that what they give is, whatever changed beneath them: the
base, the tokenizer, a library that reads the scaling otherwise. Not here: metrics.

Example:
    >>> probes = run_probes(model, tokenizer, max_length=128)       # doctest: +SKIP
    >>> worst_difference(probes, run_probes(other, tokenizer, max_length=128))      # doctest: +SKIP
    0.0
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tunelet.base.settings import Field, Settings

PROBE_TEXTS = (
    "i did not expect the letter, and i read it twice before i could sit down",
    "after the long winter the garden is green again and everyone is out in the sun",
)
#: Largest difference of a logit, in fp32, that two machines may show.
TOLERANCE = 1e-4


class Probe(Settings):
    """A text and its logits."""

    text: str = Field(description="what the model is given")
    logits: tuple[float, ...] = Field(description="one number per label, in fp32")


def run_probes(
    model: nn.Module, tokenizer: Any, *, max_length: int, texts: Sequence[str] = PROBE_TEXTS
) -> tuple[Probe, ...]:
    """Logits of each text, given one by one without padding, in evaluation mode and the model's own precision.

    The model is left in the mode in which it was.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    probes = []
    try:
        with torch.inference_mode():
            for text in texts:
                encoded = tokenizer(text, truncation=True, max_length=max_length, padding=False, return_tensors="pt")
                given = {key: encoded[key].to(device) for key in ("input_ids", "attention_mask")}
                logits = model(**given).logits[0].float().cpu()  # (labels,)
                probes.append(Probe(text=text, logits=tuple(logits.tolist())))
    finally:
        model.train(was_training)
    return tuple(probes)


def worst_difference(saved: Sequence[Probe], now: Sequence[Probe]) -> float:
    """Largest absolute difference of a logit; infinite where the numbers of labels or of probes differ."""
    if len(saved) != len(now) or any(len(a.logits) != len(b.logits) for a, b in zip(saved, now, strict=True)):
        return math.inf
    return max(
        (abs(x - y) for a, b in zip(saved, now, strict=True) for x, y in zip(a.logits, b.logits, strict=True)),
        default=0.0,
    )
