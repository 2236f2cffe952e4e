"""Rows of questions read by a causal language model: the prefix once, then rests and trees of answers in one pass.

A row reads the rest of its prompt and the inner nodes of its tree, each node looking at its ancestors alone, so the
log-probability of every token of every answer comes from that pass. Not here: which answer is taken (`answering`).

Example:
    >>> reader = Reader(model, room=512)                                                        # doctest: +SKIP
    >>> running, rests = reader.begin(reader.prefix(ids), rows, calibrated=False)               # doctest: +SKIP
    >>> reader.read(running, rests, [answer_tree(row.tokens) for row in rows]).values[0].shape  # doctest: +SKIP
    (61,)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tunelet.base.errors import DataError, Problem
from tunelet.data.understanding.asked import Asked
from tunelet.models.in_context.answer_tree import AnswerTree, Values
from tunelet.models.in_context.running import Running, causal
from tunelet.models.in_context.tokens import AnswerTokens, Ids
from tunelet.models.scoring.scorer import device_of
from tunelet.models.vocabulary import VocabularyHead, decoder_of

#: Places that speech is taken to have where batches are planned, before it is heard.
_GUESS = 100


@dataclass(frozen=True)
class Row:
    """One question, ready to be read.

    Attributes:
        question: as it was asked.
        prefix: ids that it shares with others; may be empty.
        before: ids of the rest up to its speech; all of it where there is none.
        after: ids behind the speech; None where there is none.
        tokens: of its possible answers.
        nothing: ids of the rest with a query that says nothing; None where nobody asks for it.
    """

    question: Asked
    prefix: Ids
    before: Ids
    after: Ids | None
    tokens: AnswerTokens
    nothing: Ids | None = None

    @property
    def length(self) -> int:
        """Places of the rest, those of speech guessed."""
        return len(self.before) + (0 if self.after is None else _GUESS + len(self.after))

    def __str__(self) -> str:
        return f"example {self.question.query.id!r} of {self.question.task.name!r}"


#: Vectors (S_i, H) of the speech of some questions.
Hear = Callable[[Sequence[Asked]], list[Tensor]]


@dataclass(frozen=True, eq=False)
class Seen:
    """What a pass gave.

    Attributes:
        values: for each row the log-probability of each node's token behind its parent; empty without trees.
        last: (B, H) the last hidden state of each rest.
        tree_start: the place in the cache of the first node.
    """

    values: list[Values]
    last: Tensor
    tree_start: int


class Reader:
    """See the top of the file.

    Args:
        language: a causal language model in evaluation mode, plain or with PEFT's adapter.
        room: places that it has, or None.
        hear: gives the speech of questions; None where none has any.
        autocast: compute in this type, or as the weights are if None.
    """

    def __init__(
        self, language: Any, *, room: int | None, hear: Hear | None = None, autocast: torch.dtype | None = None
    ) -> None:
        self.language, self.room, self.hear, self.autocast = language, room, hear, autocast
        self.device = device_of(language)
        self._words = language.get_input_embeddings()
        self._head, self._head_dtype = VocabularyHead(language), decoder_of(language).weight.dtype

    def embedded(self, ids: Ids) -> Tensor:
        """(L, H)."""
        vectors: Tensor = self._words(torch.tensor(ids, dtype=torch.int64, device=self.device))
        return vectors

    def prefix(self, ids: Ids) -> Running:
        """One row that has read the prefix, which may be empty.

        Raises:
            DataError: it is longer than the room.
        """
        running = Running.start(self.language, autocast=self.autocast)
        if self.room is not None and len(ids) > self.room:
            what = f"instruction, definitions and guidelines have {len(ids)} tokens, the language model has {self.room}"
            raise DataError(Problem(what, field="labels", hint="take shorter definitions or a model with more room"))
        if ids:
            self.read(running, [self.embedded(ids)], [None])
        return running

    def begin(self, base: Running, rows: Sequence[Row], *, calibrated: bool) -> tuple[Running, list[Tensor]]:
        """A copy of the prefix for each row, and the rests that are to be read.

        Where calibrated, as many more follow, in the same order: the same prompts with queries that say nothing.

        Raises:
            DataError: a prompt leaves no room for an answer; all such are told.
        """
        speaks = [row.question for row in rows if row.after is not None]
        clips = iter(self.hear(speaks) if self.hear is not None and speaks else [])
        rests = []
        for row in rows:
            parts = [self.embedded(row.before)]
            if row.after is not None:
                parts += [next(clips).to(parts[0].dtype), self.embedded(row.after)]
            rests.append(torch.cat(parts))
        if self.room is not None:
            start = int(base.length[0])
            problems = [
                no_room(row, start + len(rest), self.room)
                for row, rest in zip(rows, rests, strict=True)
                if start + len(rest) + row.tokens.longest_name > self.room
            ]
            if problems:
                raise DataError(problems)
        if calibrated:
            rests += [self.embedded(row.nothing or row.before) for row in rows]
        return base.copied(len(rests)), rests

    def read(self, running: Running, rests: Sequence[Tensor], trees: Sequence[AnswerTree | None]) -> Seen:
        """Read the rest (L_i, H) of each row, and its tree.

        Afterwards the rests are part of the rows; nothing of the trees is, until `follow`.
        """
        count = torch.tensor([len(rest) for rest in rests], device=self.device)
        cut, nodes = int(count.max()), max(0 if tree is None else len(tree.run) for tree in trees)
        real = torch.arange(cut, device=self.device)[None] < count[:, None]
        vectors = rests[0].new_zeros(len(rests), cut + nodes, rests[0].shape[1])
        looks = torch.eye(cut + nodes, dtype=torch.bool, device=self.device).repeat(len(rests), 1, 1)
        looks[:, :cut, :cut] = causal(real)
        looks[:, cut:, :cut] = real[:, None, :]
        depths = torch.zeros(len(rests), cut + nodes, dtype=torch.int64, device=self.device)
        depths[:, :cut] = torch.arange(cut, device=self.device) * real
        for row, rest in enumerate(rests):
            vectors[row, : len(rest)] = rest
        for tree in {id(tree): tree for tree in trees if tree is not None}.values():  # mostly one for all rows
            where = torch.tensor([row for row, other in enumerate(trees) if other is tree], device=self.device)
            end = cut + len(tree.run)
            vectors[where, cut:end] = self.embedded(tuple(tree.run.tokens.tolist()))
            looks[where, cut:end, cut:end] = torch.from_numpy(tree.ancestors).to(self.device)
            depths[where, cut:end] = count[where, None] + torch.from_numpy(tree.run.depths).to(self.device)
        start = running.seen.shape[1] + cut
        with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            hidden = running.read(vectors, looks, depths, torch.nn.functional.pad(real, (0, nodes)))
        running.length = running.length + count
        last = hidden[torch.arange(len(rests), device=self.device), count - 1]
        return Seen(self._values(hidden, count.tolist(), cut, trees) if nodes else [], last, start)

    def follow(self, running: Running, start: int, trees: Sequence[AnswerTree], leaves: Sequence[int]) -> list[Tensor]:
        """Make the way to a leaf part of each row; the leaf itself, which was not run, is what is to be read next."""
        rests = []
        for row, (tree, leaf) in enumerate(zip(trees, leaves, strict=True)):
            inner = [start + int(tree.place[node]) for node in tree.path(leaf)[:-1]]
            running.seen[row, inner] = True
            running.length[row] += len(inner)
            rests.append(self.embedded((int(tree.tree.tokens[leaf]),)))
        return rests

    def likeliest(self, last: Tensor) -> list[int]:
        """The likeliest next token of each row, from the last hidden states (B, H)."""
        best: list[int] = self._head.logits(last.to(self._head_dtype)).argmax(-1).tolist()
        return best

    def _values(self, hidden: Tensor, count: list[int], cut: int, trees: Sequence[AnswerTree | None]) -> list[Values]:
        """Each node's token, asked of its parent's state; of the last state of the rest where it has no parent."""
        states, tokens = [], []
        for row, tree in enumerate(trees):
            if tree is not None:
                parents = tree.tree.parents
                places = np.where(parents < 0, count[row] - 1, cut + tree.place[np.maximum(parents, 0)])
                states.append(row * hidden.shape[1] + places)
                tokens.append(tree.tree.tokens)
        unique, back = np.unique(np.concatenate(states), return_inverse=True)
        found = self._head.log_probabilities(
            hidden.flatten(0, 1)[torch.from_numpy(unique).to(self.device)].to(self._head_dtype),
            torch.from_numpy(np.concatenate(tokens)),
            torch.from_numpy(back.astype(np.int64)),
        )
        return np.split(found.double().cpu().numpy(), np.cumsum([len(part) for part in tokens])[:-1])


def no_room(row: Row, length: int, room: int) -> Problem:
    """That a prompt is too long."""
    what = f"the prompt has {length} places, its answer needs {row.tokens.longest_name}, the language model has {room}"
    return Problem(what, str(row), hint="fewer demonstrations, shorter definitions, or a model with more room")
