"""The files of a whole fine-tuned model: as transformers writes them, with the tokenizer. Not here: adapters.

Example:
    >>> write_whole(part, model, base)          # doctest: +SKIP
    >>> labels_in_config(part)                  # doctest: +SKIP
    ('sadness', 'joy')
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from torch import nn

from tunelet.base.errors import AdapterError, Problem
from tunelet.models.bases import Base
from tunelet.models.fingerprint import tokenizer_digest
from tunelet.models.quiet import quiet_transformers


def write_whole(folder: Path, model: nn.Module, base: Base) -> None:
    """Write model.safetensors, config.json and the tokenizer's files."""
    tokenizer = copy.deepcopy(base.tokenizer)
    # what the last call set is not part of the tokenizer
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    with quiet_transformers():
        model.save_pretrained(folder)  # type: ignore[operator]
        tokenizer.save_pretrained(folder)


def labels_in_config(folder: Path) -> tuple[str, ...] | None:
    """The label list of `folder`/config.json in order, or None where it has none."""
    try:
        labels = json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"]
        return tuple(str(labels[str(index)]) for index in range(len(labels)))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def tokenizer_of(folder: Path) -> tuple[Any, str]:
    """The tokenizer in `folder`, and its digest.

    Raises:
        AdapterError: there is none that can be read.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AdapterError(Problem(f"the tokenizer cannot be read: {error}", folder)) from error
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    return tokenizer, tokenizer_digest(tokenizer)
