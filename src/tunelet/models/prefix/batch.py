"""Prompts that were read, to the tensors of a batch. Not here: reading (`reading`), likeness (`similarity`).

Example:
    >>> collate(questions, readings, pad_id=0)["gold"].shape                            # doctest: +SKIP
    torch.Size([32, 6])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tunelet.base.errors import DataError, Problem
from tunelet.data.understanding.asked import Asked
from tunelet.models.prefix.blocks import positions_of
from tunelet.models.prefix.reading import Reading


def collate(
    questions: Sequence[Asked], readings: Sequence[Reading], pad_id: int, *, blocks: bool = False
) -> dict[str, Tensor]:
    """Tensors of B questions; C is the most classes of one, O the most occurrences, T the most tokens.

    Args:
        blocks: with ``blocks`` (B, T), -1 for padding, and ``position_ids`` (B, T), for a model that reads in blocks.

    Returns:
        ``input_ids``, ``attention_mask`` (B, T); ``slots`` (B,) places of the answer slots in the flattened batch;
        ``name_tokens`` (N,) places of all tokens of class names there, ``name_of`` (N,) their occurrences, counted
        B O; ``labels`` (B, O) class of each occurrence, C for the word for none, -1 for padding; ``classes`` (B, C)
        which a task has; ``gold`` (B, C) 1.0 for right classes; ``multi``, ``has_none``, ``known`` (B,); where there is
        speech, ``speech_places`` (S,) in the flattened batch.

    Raises:
        DataError: a class of a task stands nowhere in its prompt.
    """
    batch, width = len(questions), max(len(reading.ids) for reading in readings)
    most = max(asked.classes for asked in questions)
    deep = max(len(reading.spans) for reading in readings)
    ids = np.full((batch, width), pad_id, dtype=np.int64)
    mask = np.zeros((batch, width), dtype=np.int64)
    labels = np.full((batch, deep), -1, dtype=np.int64)
    classes = np.zeros((batch, most), dtype=np.bool_)
    gold = np.zeros((batch, most), dtype=np.float32)
    tokens: list[int] = []
    owners: list[int] = []
    speech: list[int] = []
    for row, (asked, reading) in enumerate(zip(questions, readings, strict=True)):
        ids[row, : len(reading.ids)] = reading.ids
        mask[row, : len(reading.ids)] = 1
        classes[row, : asked.classes] = True
        gold[row, list(asked.gold)] = 1.0
        own = [occurrence.label for occurrence in asked.prompt.occurrences]
        _refuse_missing(asked, own)
        labels[row, : len(own)] = [most if label == asked.classes else label for label in own]
        for number, (first, after) in enumerate(reading.spans.tolist()):
            tokens += range(row * width + first, row * width + after)
            owners += [row * deep + number] * (after - first)
        if reading.speech is not None:
            first, places = reading.speech
            speech += range(row * width + first, row * width + first + places)
    made = {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask),
        "slots": torch.tensor([row * width + reading.slot for row, reading in enumerate(readings)]),
        "name_tokens": torch.tensor(tokens, dtype=torch.long),
        "name_of": torch.tensor(owners, dtype=torch.long),
        "labels": torch.from_numpy(labels),
        "classes": torch.from_numpy(classes),
        "gold": torch.from_numpy(gold),
        "multi": torch.tensor([asked.task.multi_label for asked in questions]),
        "has_none": torch.tensor([asked.task.none is not None for asked in questions]),
        "known": torch.tensor([asked.prompt.target is not None for asked in questions]),
    }
    if blocks:
        made["blocks"] = torch.full((batch, width), -1)
        made["position_ids"] = torch.zeros((batch, width), dtype=torch.long)
        for row, reading in enumerate(readings):
            made["blocks"][row, : len(reading.ids)] = torch.from_numpy(reading.blocks)
            made["position_ids"][row, : len(reading.ids)] = torch.from_numpy(positions_of(reading.blocks))
    if speech:
        made["speech_places"] = torch.tensor(speech, dtype=torch.long)
    return made


def _refuse_missing(asked: Asked, labels: Sequence[int]) -> None:
    missing = set(range(asked.classes)) - set(labels)
    if missing:
        name = asked.task.label_names[min(missing)]
        raise DataError(Problem(f"the class {name!r} of task {asked.task.name!r} stands nowhere in the prompt"))
