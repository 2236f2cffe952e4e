"""What a model that is no plain classifier says of itself, so that the tuning methods treat it right.

A classifier's head is whatever lies outside its backbone. In a language model most of what lies there is pretrained,
or tied to the word embeddings, and must not be trained with every adapter. Not here: building models.

Example:
    >>> model = torch.nn.Linear(2, 2)
    >>> declare(model, fresh_modules=(), task_type="CAUSAL_LM")
    >>> declared(model)
    Declared(fresh_modules=(), task_type='CAUSAL_LM')
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

_DECLARED = "_tunelet_declared"
#: Attribute of an encoder that computes no scores between places that a mask keeps apart, so that rows may be long.
READS_SEGMENTS = "_tunelet_reads_segments"


@dataclass(frozen=True)
class Declared:
    """What a model says.

    Attributes:
        fresh_modules: names of all modules that start untrained, so that they train whatever the method.
        task_type: PEFT's name of the task; None: none of PEFT's, and PEFT adds nothing of its own.
    """

    fresh_modules: tuple[str, ...]
    task_type: str | None


def declare(model: torch.nn.Module, *, fresh_modules: tuple[str, ...], task_type: str | None) -> None:
    """Write it on `model`; it goes where the model goes, copies included."""
    object.__setattr__(model, _DECLARED, Declared(fresh_modules, task_type))


def declared(model: torch.nn.Module) -> Declared | None:
    """What `model` says, or None."""
    found = getattr(model, _DECLARED, None)
    return found if isinstance(found, Declared) else None
