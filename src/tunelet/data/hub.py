"""Datasets of the Hugging Face hub, through the package `datasets` (extra ``hub``). Not here: deciding to use it.

Nothing is downloaded unless the recipe asks for the hub; `datasets` is imported only then.

Example:
    >>> from tunelet.data.tasks import EMOTION                                      # doctest: +SKIP
    >>> splits = load_hub("dair-ai/emotion", EMOTION, "text", "label", SPLITS)      # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from tunelet.base.errors import DataError, MissingExtraError, Problem
from tunelet.data.formats import Row
from tunelet.data.problems import ProblemLog, raise_together
from tunelet.data.readers import examples_of
from tunelet.data.records import Task, TextExample


def load_hub(
    name: str, task: Task, text_field: str, label_field: str, splits: Sequence[str]
) -> dict[str, tuple[TextExample, ...]]:
    """The splits of a dataset on the hub. Numbered labels become names by the dataset's own list.

    Raises:
        MissingExtraError: the package `datasets` is not installed.
        DataError: the dataset cannot be had, lacks a split, or its rows do not fit the task.
    """
    library = _library()
    try:
        found = library.load_dataset(name)
    except Exception as error:  # the library raises many kinds: network, HTTP, unknown name, its own
        raise DataError(
            Problem(
                f"{name!r} cannot be loaded from the hub: {type(error).__name__}: {error}",
                field="data.hub",
                hint="without a connection, name a folder: data.path or TUNELET_DATA",
            )
        ) from error
    absent = [split for split in splits if split not in found]
    if absent:
        have = ", ".join(map(str, found))
        raise DataError(Problem(f"{name!r} has no split {', '.join(absent)}; it has {have}", field="data.hub"))
    logs, examples = [], {}
    for split in splits:
        log = ProblemLog(f"hub:{name}/{split}")
        rows = _rows(found[split], label_field)
        examples[split] = examples_of(rows, task, text_field, label_field, "jsonl", log)
        if not examples[split] and not len(log):
            log.add("no examples, expected at least one")
        logs.append(log)
    raise_together(logs)
    return examples


def _library() -> ModuleType:
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("hub", "reading a dataset from the Hugging Face hub") from None
    module: ModuleType = datasets
    return module


def _rows(split: Any, label_field: str) -> Iterator[Row]:
    features = getattr(split, "features", None) or {}
    feature = features.get(label_field)
    names: Sequence[str] | None = getattr(getattr(feature, "feature", feature), "names", None)
    for number, values in enumerate(split, start=1):
        yield Row(number, values if names is None else {**values, label_field: _named(values.get(label_field), names)})


def _named(value: object, names: Sequence[str]) -> object:
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return names[value]
    return value  # what is no position is told by the check of the row
