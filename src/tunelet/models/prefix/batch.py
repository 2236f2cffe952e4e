"""Prompts that were read, to the tensors of a batch.

Not here: reading (`reading`), likeness (`similarity`), which prompts share a row (`packing`).

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
from tunelet.models.prefix.blocks import positions_of, told_apart
from tunelet.models.prefix.packing import Row, alone
from tunelet.models.prefix.reading import Reading


def collate(
    questions: Sequence[Asked], readings: Sequence[Reading], pad_id: int, rows: Sequence[Row] | None = None
) -> dict[str, Tensor]:
    """Tensors of B questions; C is the most classes of one, O the most occurrences.

    Args:
        rows: R rows of T places in which the prompts stand, for a model that reads in blocks; None: each has one.

    Returns:
        ``input_ids``, ``attention_mask`` (R, T); ``slots`` (B,) places of the answer slots in the flattened batch;
        ``name_tokens`` (N,) places of all tokens of class names there, ``name_of`` (N,) their occurrences, counted
        B O; ``labels`` (B, O) class of each occurrence, C for the word for none, -1 for padding; ``classes`` (B, C)
        which a task has; ``gold`` (B, C) 1.0 for right classes; ``multi``, ``has_none``, ``known`` (B,); where there is
        speech, ``speech_places`` (S,) in the flattened batch; with `rows`, ``blocks`` (R, T) as `blocks.visible` takes
        them and ``position_ids`` (R, T).

    Raises:
        DataError: a class of a task stands nowhere in its prompt.
    """
    placed = alone([len(reading.ids) for reading in readings]) if rows is None else rows
    batch, width = len(questions), max(row.length for row in placed)
    most = max(asked.classes for asked in questions)
    deep = max(len(reading.spans) for reading in readings)
    ids = np.full((len(placed), width), pad_id, dtype=np.int64)
    blocks = np.full((len(placed), width), -1)
    positions = np.zeros((len(placed), width), dtype=np.int64)
    labels = np.full((batch, deep), -1, dtype=np.int64)
    classes = np.zeros((batch, most), dtype=np.bool_)
    gold = np.zeros((batch, most), dtype=np.float32)
    tokens: list[int] = []
    owners: list[int] = []
    speech: list[int] = []
    slots: list[int] = []
    where: dict[int, tuple[int, int]] = {}
    for number, row in enumerate(placed):
        for member, question in enumerate(row.members):
            where[question] = (number, member)
            reading = readings[question]
            start = row.starts[member]
            places = np.r_[: row.shared, start : start + len(reading.ids) - row.shared]
            ids[number, places] = reading.ids
            blocks[number, places] = told_apart(reading.blocks, member)
            positions[number, places] = positions_of(reading.blocks)
    for question, (asked, reading) in enumerate(zip(questions, readings, strict=True)):
        number, member = where[question]
        row, begin = placed[number], number * width
        slots.append(begin + row.place(member, reading.slot))
        classes[question, : asked.classes] = True
        gold[question, list(asked.gold)] = 1.0
        own = [occurrence.label for occurrence in asked.prompt.occurrences]
        _refuse_missing(asked, own)
        labels[question, : len(own)] = [most if label == asked.classes else label for label in own]
        for occurrence, (first, after) in enumerate(reading.spans.tolist()):
            place, count = begin + row.place(member, first), after - first  # a name stands within one block
            tokens += range(place, place + count)
            owners += [question * deep + occurrence] * count
        if reading.speech is not None:
            place = begin + row.place(member, reading.speech[0])
            speech += range(place, place + reading.speech[1])
    made = {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy((blocks >= 0).astype(np.int64)),
        "slots": torch.tensor(slots, dtype=torch.long),
        "name_tokens": torch.tensor(tokens, dtype=torch.long),
        "name_of": torch.tensor(owners, dtype=torch.long),
        "labels": torch.from_numpy(labels),
        "classes": torch.from_numpy(classes),
        "gold": torch.from_numpy(gold),
        "multi": torch.tensor([asked.task.multi_label for asked in questions]),
        "has_none": torch.tensor([asked.task.none is not None for asked in questions]),
        "known": torch.tensor([asked.prompt.target is not None for asked in questions]),
    }
    if rows is not None:
        made |= {"blocks": torch.from_numpy(blocks), "position_ids": torch.from_numpy(positions)}
    if speech:
        made["speech_places"] = torch.tensor(speech, dtype=torch.long)
    return made


def _refuse_missing(asked: Asked, labels: Sequence[int]) -> None:
    missing = set(range(asked.classes)) - set(labels)
    if missing:
        name = asked.task.label_names[min(missing)]
        raise DataError(Problem(f"the class {name!r} of task {asked.task.name!r} stands nowhere in the prompt"))
