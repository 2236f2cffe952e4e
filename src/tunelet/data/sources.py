"""Loads the dataset that a recipe means. Not here: the decision where it is (`data.places`), or file formats.

Example:
    >>> dataset = load_dataset(DataSettings(source="embedded"))         # doctest: +SKIP
    >>> dataset.sizes, dataset.source.location                          # doctest: +SKIP
    ({'train': 480, 'validation': 120, 'test': 120}, 'tunelet/embedded/emotion')
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.resources import as_file
from importlib.resources.abc import Traversable
from pathlib import Path

from tunelet.base.errors import DataError
from tunelet.base.files import sha256_file
from tunelet.data.hub import load_hub
from tunelet.data.limits import stratified
from tunelet.data.places import find_place, split_file
from tunelet.data.problems import ProblemLog, raise_together
from tunelet.data.readers import scan_examples
from tunelet.data.records import SPLITS, Dataset, DataSource, Task, TextExample, sha256_examples
from tunelet.data.settings import DataSettings
from tunelet.data.tasks import resolve_task


def load_dataset(
    settings: DataSettings,
    data_dir: Path | None = None,
    *,
    splits: Sequence[str] = SPLITS,
    environ: Mapping[str, str] | None = None,
) -> Dataset:
    """Load the task and its splits from the first place that has them (see `data.places` for the order).

    Args:
        settings: the recipe's section.
        data_dir: the folder given on the command line: it holds the split files, or a folder for each task.
        splits: which splits must be there and are read.
        environ: environment variables; None: those of the process.

    Raises:
        DataError: with the problems of all files at once.
        MissingExtraError: the hub was asked for, and its package is not installed.
    """
    task = resolve_task(settings)
    place = find_place(settings, task, data_dir, os.environ if environ is None else environ)
    if place.folder is None:
        examples = load_hub(place.location, task, settings.text_field, settings.label_field, splits)
        hashes = {split: sha256_examples(examples[split]) for split in splits}
    else:
        examples, hashes = _read_folder(place.folder, place.location, task, settings, splits)
    for split, limit in settings.limit.items():
        if limit is not None and split in examples:
            examples[split] = stratified(examples[split], limit, split)
    return Dataset(task, examples, DataSource(place.kind, place.location, hashes))


def _read_folder(
    folder: Path | Traversable, location: str, task: Task, settings: DataSettings, splits: Sequence[str]
) -> tuple[dict[str, tuple[TextExample, ...]], dict[str, str]]:
    logs: list[ProblemLog] = []
    examples: dict[str, tuple[TextExample, ...]] = {}
    hashes: dict[str, str] = {}
    with ExitStack() as stack:
        for split in splits:
            try:
                path = stack.enter_context(as_file(split_file(folder, split)))
            except DataError as error:
                log = ProblemLog(location)
                for problem in error.problems:
                    log.add(problem.message, hint=problem.hint)
            else:
                log = ProblemLog(path)
                examples[split] = scan_examples(path, task, settings.text_field, settings.label_field, log)
                hashes[split] = sha256_file(path) if not len(log) else ""
            logs.append(log)
    raise_together(logs)
    return examples, hashes
