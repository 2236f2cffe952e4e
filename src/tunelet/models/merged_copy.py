"""A copy of a module whose adapters are folded into its weights, for answers while the module itself stays as it is.

Not here: merging for good (`tuning.inference`).

Example:
    >>> states = BlockStates(merged_copy(model.language))                               # doctest: +SKIP
"""

from __future__ import annotations

import copy
from typing import Any


def merged_copy(module: Any) -> Any:
    """The module itself where PEFT adapted nothing in it, else a copy with every active update merged.

    A forward pass that was put in place of the module's own is not copied.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    if not any(isinstance(part, BaseTunerLayer) for part in module.modules()):
        return module
    instead = module.__dict__.pop("forward", None)
    try:
        found = copy.deepcopy(module)
    finally:
        if instead is not None:
            module.__dict__["forward"] = instead
    for part in found.modules():
        if isinstance(part, BaseTunerLayer):
            part.merge()
    return found.requires_grad_(False).eval()
