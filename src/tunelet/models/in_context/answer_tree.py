"""The answers that are possible next, as one tree of tokens, and the greedy way through it. Not here: a model.

Every way through the tree is a class's name with what follows it: the end, or (in a multi-label answer, where a later
class is left) a comma, behind which the tree of the later classes begins. Names that begin alike share nodes; a name
may be the beginning of another one, for what follows tells them apart.

Example:
    >>> tokens = AnswerTokens(names := ((5,), (5, 6), (7,)), names, none=None, comma=(2,), end=1, multi_label=True)
    >>> tree = answer_tree(tokens, 1)
    >>> [(way.label, way.goes_on) for way in tree.ways], tree.tree.tokens.tolist()
    ([(1, False), (1, True), (2, False)], [5, 6, 1, 2, 7, 1])
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from tunelet.models.in_context.tokens import AnswerTokens
from tunelet.models.scoring.trie import Tree

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Way:
    """One way through the tree.

    Attributes:
        label: position of the class that it says; None: that no class fits.
        goes_on: whether another class follows.
    """

    label: int | None
    goes_on: bool


@dataclass(frozen=True, eq=False)
class AnswerTree:
    """The tree.

    Attributes:
        tree: of all ways; no way is the beginning of another one.
        ways: what each of its sequences says.
        run: its inner nodes, which a model has to read; the last token of a way is only asked for.
        place: for each node its place in `run`, -1 for those that are not run.
        classes: C.
    """

    tree: Tree
    ways: tuple[Way, ...]
    run: Tree
    place: NDArray[np.int64]
    classes: int

    @cached_property
    def ancestors(self) -> NDArray[np.bool_]:
        """(run, run), see `Tree.ancestors`."""
        return self.run.ancestors()

    @cached_property
    def _children(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for node, parent in enumerate(self.tree.parents.tolist()):
            found.setdefault(parent, []).append(node)
        return found

    @cached_property
    def _way_at(self) -> dict[int, int]:
        return {node: number for number, node in enumerate(self.tree.ends.tolist())}

    @cached_property
    def _ending(self) -> frozenset[int]:
        """Nodes that lead to a way that does not go on."""
        nodes = set()
        for way, end in zip(self.ways, self.tree.ends.tolist(), strict=True):
            nodes.update([] if way.goes_on else self.path(end))
        return frozenset(nodes)

    def path(self, node: int) -> list[int]:
        """Nodes from the first token to this one."""
        found = []
        while node >= 0:
            found.append(node)
            node = int(self.tree.parents[node])
        return found[::-1]

    def greedy(self, values: Values, *, ending: bool = False) -> int:
        """The way that takes the best token at each node; of equal ones the earlier class.

        Args:
            values: (nodes,) log-probability of each node's token behind its parent.
            ending: only ways that do not go on.
        """
        node = -1
        while node not in self._way_at:
            near = [child for child in self._children[node] if not ending or child in self._ending]
            node = max(near, key=lambda child: float(values[child]))
        return self._way_at[node]

    def scores(self, values: Values) -> Values:
        """(C,) log-probability that the answer says a class, or begins with it; -inf for classes not in the tree."""
        found = np.full(self.classes, -np.inf)
        for way, total in zip(self.ways, self.tree.sums(values), strict=True):
            if way.label is not None:
                found[way.label] = np.logaddexp(found[way.label], total)
        return found


@lru_cache(maxsize=256)
def answer_tree(tokens: AnswerTokens, first: int = 0) -> AnswerTree:
    """The tree of the classes from `first` on; from the beginning also of the answer that no class fits."""
    classes = len(tokens.names)
    names = tokens.later if first else tokens.names
    sequences, ways = [], []
    for label in range(first, classes):
        for goes_on in (False, True) if tokens.multi_label and label + 1 < classes else (False,):
            sequences.append((*names[label], *(tokens.comma if goes_on else (tokens.end,))))
            ways.append(Way(label, goes_on))
    if first == 0 and tokens.none is not None:
        sequences.append((*tokens.none, tokens.end))
        ways.append(Way(None, False))
    tree = Tree.of(sequences)
    run, place = tree.cut(np.isin(np.arange(len(tree)), tree.inner))
    return AnswerTree(tree, tuple(ways), run, place, classes)
