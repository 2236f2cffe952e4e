"""Which answer a causal language model gives: one of the task's, by probability, or what it writes freely.

Questions with the same prefix (instruction, definitions, guidelines, and what else they begin with, as equal
demonstrations) read on from its keys and values; a prefix that only one question has is read with it. A single-label
answer is the class whose name with the end is the likeliest. A multi-label answer takes the best token at each node of
the tree of answers and, behind a comma, another pass over the tree of the later classes, so the classes come in
canonical order and none comes twice; where the room ends, so does the answer. Calibrated answers subtract, token by
token, what the same prompt gives with a query that says nothing.
Not here: reading (`reading`), token ids (`tokens`), sound (`hearing`).

Example:
    >>> answer_rows(model, [row], Asking(), spell=tokens.text)[0].labels                # doctest: +SKIP
    ('positive',)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tunelet.data.understanding.answers import read_leniently, read_strictly
from tunelet.data.understanding.asked import Asked
from tunelet.models.in_context.answer_tree import Values, answer_tree
from tunelet.models.in_context.reading import Hear, Reader, Row
from tunelet.models.in_context.running import Running, room_of
from tunelet.models.in_context.settings import Asking
from tunelet.models.in_context.tokens import Ids
from tunelet.models.prompt_model import Answer
from tunelet.models.scoring.scorer import device_of, token_batches
from tunelet.models.vocabulary import whole_model

#: Places of a batch on a CPU and on another device, where the caller does not say: prefixes count in every row.
ON_CPU, ELSEWHERE = 4096, 32_768
#: Tokens that a free answer may have beyond the longest one of the task: "Output:", a full stop.
CHATTER = 8


def answer_rows(
    language: Any,
    rows: Sequence[Row],
    asking: Asking,
    *,
    spell: Callable[[Asked, Sequence[int]], str],
    hear: Hear | None = None,
    autocast: torch.dtype | None = None,
) -> list[Answer]:
    """Answers in the order of the questions.

    Args:
        language: in evaluation mode, no gradients wanted; the caller has set LoRA's scale.
        rows: questions; with `nothing` where answers are calibrated.
        spell: what ids mean as text, for free answers (`PromptTokens.text`).
        hear: gives the speech of questions; None where none has any.
        autocast: compute in this type, or as the weights are if None.

    Raises:
        DataError: a prompt leaves no room for an answer.
        BaseModelError: the model cannot be run over a tree of tokens.
    """
    answers: list[tuple[int, Answer]] = []
    reader = Reader(language, room=room_of(language), hear=hear, autocast=autocast)
    budget = asking.batch_tokens or (ON_CPU if device_of(language).type == "cpu" else ELSEWHERE)
    for prefix, members in _by_prefix(rows).items():
        held = [rows[i] if prefix else _whole(rows[i]) for i in members]
        if prefix:
            more = _common(held)
            prefix, held = prefix + more, [_without(row, len(more)) for row in held]
        base = reader.prefix(prefix)
        lengths = [len(prefix) + row.length + len(answer_tree(row.tokens).run) for row in held]
        for batch in token_batches(lengths, budget // (2 if asking.calibrated else 1)):
            some = [held[i] for i in batch]
            running, rests = reader.begin(base, some, calibrated=asking.calibrated)
            if asking.constrained:
                found = constrained_answers(reader, running, rests, some)
            else:
                written = _written(reader, running, rests, some)
                found = [
                    free_answer(row.question, spell(row.question, ids), asking)
                    for row, ids in zip(some, written, strict=True)
                ]
            answers += zip([members[i] for i in batch], found, strict=True)
    return [answer for _, answer in sorted(answers, key=lambda pair: pair[0])]


def constrained_answers(reader: Reader, running: Running, rests: list[Tensor], rows: Sequence[Row]) -> list[Answer]:
    """The best answers of the tasks.

    Args:
        reader: of the model.
        running: what is read so far of the questions; if it has as many rows again, these are what is subtracted.
        rests: what of each of its rows is still to be read (L_i, H).
        rows: the questions.
    """
    copies = len(rests) // len(rows)
    trees = [answer_tree(row.tokens) for row in rows]
    seen = reader.read(running, rests, trees * copies)
    scores = _scores(trees, seen.values)
    said: list[tuple[int, ...]] = [(int(np.argmax(row)),) for row in scores]
    going = [number for number, row in enumerate(rows) if row.tokens.multi_label]
    running = _chosen(running, going, len(rows), copies)
    values, trees = _taken(seen.values, going, len(rows)), [trees[number] for number in going]
    for number in going:
        said[number] = ()
    while going:
        stay, leaves, later = [], [], []
        for place, (number, tree) in enumerate(zip(going, trees, strict=True)):
            tokens = rows[number].tokens
            # is there room for this name, the comma, and yet another name?
            full = reader.room is not None and int(running.length[place]) + 2 * tokens.longest_name > reader.room
            adjusted = values[place] - (values[len(going) + place] if copies == 2 else 0.0)
            way = tree.ways[chosen := tree.greedy(adjusted, ending=full)]
            said[number] += () if way.label is None else (way.label,)
            if way.goes_on and way.label is not None:
                stay.append(place)
                leaves.append(int(tree.tree.ends[chosen]))
                later.append(answer_tree(tokens, way.label + 1))
        if not stay:
            break
        running = _chosen(running, stay, len(going), copies)
        rests = reader.follow(running, seen.tree_start, [trees[place] for place in stay] * copies, leaves * copies)
        going, trees = [going[place] for place in stay], later
        seen = reader.read(running, rests, trees * copies)
        values = seen.values
    return [
        Answer(tuple(row.question.task.label_names[label] for label in labels), values)
        for row, labels, values in zip(rows, said, scores, strict=True)
    ]


def free_answer(question: Asked, text: str, asking: Asking) -> Answer:
    """What a free answer means."""
    read = read_leniently if asking.answers == "free-lenient" else read_strictly
    meant = read(question.task, text, question.prompt.names)
    return Answer(meant.labels if meant.valid else None, None, text)


def new_tokens(row: Row) -> int:
    """Tokens that a free answer may have."""
    return row.tokens.longest + CHATTER


def _by_prefix(rows: Sequence[Row]) -> dict[Ids, list[int]]:
    """Positions of the questions by their prefix; those whose prefix no other has are under the empty one."""
    groups: dict[Ids, list[int]] = {}
    for position, row in enumerate(rows):
        groups.setdefault(row.prefix, []).append(position)
    found: dict[Ids, list[int]] = {}
    for prefix, members in groups.items():
        found.setdefault(prefix if len(members) > 1 else (), []).extend(members)
    return found


def _whole(row: Row) -> Row:
    """The question with its prefix in the rest."""
    nothing = None if row.nothing is None else row.prefix + row.nothing
    return replace(row, prefix=(), before=row.prefix + row.before, nothing=nothing)


def _common(rows: Sequence[Row]) -> Ids:
    """What the rests of rows with one prefix have in common at their beginning: the same demonstrations, say."""
    sides = [side for row in rows for side in (row.before, row.nothing) if side is not None]
    low, high = min(sides), max(sides)  # in the order of ids, so all others begin as these two do
    count = 0
    while count < min(len(low), len(high)) - 1 and low[count] == high[count]:  # something is left to read
        count += 1
    return low[:count]


def _without(row: Row, count: int) -> Row:
    return replace(row, before=row.before[count:], nothing=None if row.nothing is None else row.nothing[count:])


def _scores(trees: Sequence[Any], values: Sequence[Values]) -> list[Values]:
    found = [tree.scores(row) for tree, row in zip([*trees, *trees], values, strict=False)]
    count = len(trees)
    return found if len(found) == count else [found[i] - found[count + i] for i in range(count)]


def _chosen(running: Running, places: Sequence[int], count: int, copies: int) -> Running:
    """The rows at these places of `count`, and of as many more where there are copies."""
    if len(places) in (0, count):
        return running
    rows = [copy * count + place for copy in range(copies) for place in places]
    return running.chosen(torch.tensor(rows, dtype=torch.int64, device=running.seen.device))


def _taken(values: Sequence[Values], places: Sequence[int], count: int) -> list[Values]:
    return [values[copy * count + place] for copy in range(len(values) // count) for place in places]


def _written(reader: Reader, running: Running, rests: list[Tensor], rows: Sequence[Row]) -> list[list[int]]:
    """What the model writes by taking the likeliest token, up to the end, the longest answer or the end of the room."""
    limits = [new_tokens(row) for row in rows]
    if reader.room is not None:
        lengths = [int(start) + len(rest) for start, rest in zip(running.length.tolist(), rests, strict=True)]
        limits = [min(limit, reader.room - length) for limit, length in zip(limits, lengths, strict=True)]
    ends = ends_of(reader.language, rows[0].tokens.end)
    said: list[list[int]] = [[] for _ in rows]
    going = list(range(len(rows)))
    while going:
        best = reader.likeliest(reader.read(running, rests, [None] * len(rests)).last)
        for number, token in zip(going, best, strict=True):
            said[number].append(token)
        stay = [
            place
            for place, number in enumerate(going)
            if said[number][-1] not in ends and len(said[number]) < limits[number]
        ]
        running = _chosen(running, stay, len(going), 1)
        going = [going[place] for place in stay]
        rests = [reader.embedded((said[number][-1],)) for number in going]
    return [ids[:-1] if ids[-1] in ends else ids for ids in said]


def ends_of(language: Any, end: int) -> frozenset[int]:
    """Ids that end an answer: the tokenizer's, and those of the model."""
    own = getattr(whole_model(language).config, "eos_token_id", None)
    return frozenset([end, *([] if own is None else [own] if isinstance(own, int) else own)])
