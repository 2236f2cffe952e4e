"""Adapters that plain PEFT saved, without `tunelet.json`: loaded as strictly as can be, with what is unknown said.

Not known are the labels' names, which tokenizer and base were really used, and what the adapter should answer.

Example:
    >>> load_plain(folder, None, Refusals(force=False)).warnings        # doctest: +SKIP
    ('saved without tunelet.json: ...',)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from tunelet.base.errors import AdapterError, Problem
from tunelet.data.records import Label, Task
from tunelet.models.bases import EMBEDDED_ON_HUB, Base, load_base
from tunelet.models.classifier import build_classifier, output_weight_name
from tunelet.models.settings import EMBEDDED, ModelSettings
from tunelet.tuning.attach import attach_stored
from tunelet.tuning.checks import Refusals
from tunelet.tuning.stored import CONFIG, WEIGHTS, read_tensors
from tunelet.tuning.whole import labels_in_config


@dataclass(frozen=True, eq=False)
class PlainAdapter:
    """An adapter over its base, with what had to be assumed."""

    model: nn.Module
    base: Base
    task: Task
    warnings: tuple[str, ...]


def load_plain(folder: Path, base: str | None, refusals: Refusals) -> PlainAdapter:
    """Load PEFT's `folder` over `base`, or over the base that its config names.

    Raises:
        AdapterError: no base is named; the file is damaged or holds NaN; it holds no head; a tensor has no place in
            the base or one of the base's adapter is missing.
    """
    tensors, _ = read_tensors(folder / WEIGHTS)
    known = _base(folder, base)
    output = f"base_model.model.{output_weight_name(known.config)}"
    if output not in tensors:
        raise AdapterError(
            Problem(
                f"the file holds no head: expected {output}, found {len(tensors)} tensors, such as "
                f"{min(tensors, default='none')}",
                folder / WEIGHTS,
                hint="save it with task_type='SEQ_CLS', so that PEFT saves the classifier too",
            )
        )
    labels, said = _labels(folder, known, tensors[output].shape[0])
    task = Task(folder.name, "an adapter saved without a description", tuple(Label(name) for name in labels))
    model, warned = attach_stored(build_classifier(known, task), folder, tensors, refusals)
    first = "saved without tunelet.json: base, tokenizer and answers cannot be checked against the training's"
    return PlainAdapter(model, known, task, (first, said, *warned))


def _base(folder: Path, base: str | None) -> Base:
    path = folder / CONFIG
    try:
        named = json.loads(path.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (ValueError, AttributeError) as error:
        raise AdapterError(Problem(f"not a JSON object: {error}", path)) from None
    name = base or named
    if not name:
        problem = Problem("no base is named", path, field="base_model_name_or_path", hint="say which with base=...")
        raise AdapterError(problem)
    # the embedded base under the name by which the hub has the same weights
    return load_base(ModelSettings(base=EMBEDDED if name == EMBEDDED_ON_HUB else str(name)))


def _labels(folder: Path, base: Base, count: int) -> tuple[tuple[str, ...], str]:
    """Names for `count` outputs, and a sentence on where they are from."""
    beside = labels_in_config(folder)
    if beside is not None and len(beside) == count:
        return beside, "the labels are those of config.json beside the adapter"
    own = tuple(str(base.config.id2label[i]) for i in sorted(base.config.id2label))
    if len(own) == count and not all(name.startswith("LABEL_") for name in own):
        return own, f"the labels are those of the base {base.name!r}; the adapter names none"
    return tuple(f"label_{i}" for i in range(count)), f"the {count} labels have no names; they are called label_0, ..."
