"""Token sequences of a list as one tree, in which a shared beginning stands once. Not here: the model that reads it.

Example:
    >>> tree = Tree.of([[7, 1, 2], [7, 1, 3]])
    >>> tree.tokens, tree.parents, tree.depths
    (array([7, 1, 2, 3]), array([-1,  0,  1,  1]), array([0, 1, 2, 2]))
    >>> tree.ends
    array([2, 3])
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Tree:
    """A forest of tokens, parents before children.

    Attributes:
        tokens: (M,) the token at each node.
        parents: (M,) the node before it, -1 at a first token.
        depths: (M,) its position in the sequence, from 0.
        ends: for each sequence the node of its last token.
    """

    tokens: Ids
    parents: Ids
    depths: Ids
    ends: Ids

    @classmethod
    def of(cls, sequences: Iterable[Sequence[int] | Ids], *, share: bool = True) -> Tree:
        """The tree of `sequences`, none of them empty; with `share` off each has nodes of its own."""
        known: dict[tuple[int, int], int] = {}
        tokens: list[int] = []
        parents: list[int] = []
        depths: list[int] = []
        ends = []
        for sequence in sequences:
            node = -1
            for depth, token in enumerate(map(int, sequence)):
                found = known.get((node, token)) if share else None
                if found is None:
                    found = len(tokens)
                    known[node, token] = found
                    tokens.append(token)
                    parents.append(node)
                    depths.append(depth)
                node = found
            ends.append(node)
        return cls(*(np.array(values, dtype=np.int64) for values in (tokens, parents, depths, ends)))

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def inner(self) -> Ids:
        """The nodes that have children, rising: those whose next token is asked for."""
        return np.unique(self.parents[self.parents >= 0])

    def ancestors(self) -> NDArray[np.bool_]:
        """(M, M), whether node j is on the way to node i, i itself included: what node i may look at."""
        seen = np.eye(len(self), dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen

    def cut(self, nodes: NDArray[np.bool_]) -> tuple[Tree, Ids]:
        """The tree of the chosen nodes alone, which must hold every parent of its own; and the new place of each."""
        place = np.where(nodes, np.cumsum(nodes) - 1, -1)
        parents = self.parents[nodes]
        moved = np.where(parents >= 0, place[parents], -1)
        return Tree(self.tokens[nodes], moved, self.depths[nodes], place[self.ends]), place

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(sequences,) the sum of a value at each node over each sequence."""
        total = values.copy()
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                total[node] += total[parent]
        return total[self.ends]
