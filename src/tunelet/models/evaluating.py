"""A model in evaluation mode, without gradients, left as it was found. Not here: what is computed.

Example:
    >>> with evaluating(model):         # doctest: +SKIP
    ...     hidden = model(ids)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Dropout off, no gradients; afterwards every module has the training mode it had before.

    Module by module, because a frozen part may be in evaluation mode while the rest trains.
    """
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in before:
            module.training = training
