"""Tunelet adapts one pretrained model to many language-understanding jobs, in text and in speech.

It tells exactly what each low-rank adapter costs and how far it can be trusted. This file holds the public
names and the order of the layers; nothing here imports torch, so that ``import tunelet`` and every error
message come at once.

Example:
    >>> import tunelet
    >>> tunelet.LAYERS[0]
    'cli'
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

#: A run flows data -> models -> tuning -> training -> evaluation -> report. A layer imports only from layers to
#: its right; ``tests/contracts/test_layers.py`` parses every import and holds this.
LAYERS = ("cli", "serve", "systems", "report", "evaluation", "training", "tuning", "models", "data", "base")

_PUBLIC = {
    "TuneletError": "tunelet.base.errors",
    "InputError": "tunelet.base.errors",
    "Task": "tunelet.data.records",
    "TextExample": "tunelet.data.records",
    "load_dataset": "tunelet.data.sources",
    "load_adapter": "tunelet.tuning.folder",
    "predict_stream": "tunelet.evaluation.inference",
    "load_recipe": "tunelet.systems",
    "run_recipe": "tunelet.systems",
    "build_report": "tunelet.report",
}

__all__ = ["LAYERS", "__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    """Resolve a public name on first use (PEP 562), so that torch is loaded only by what needs it."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'tunelet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
