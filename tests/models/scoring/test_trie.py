"""The tree of some sequences: every sequence can be read back from it, and nothing stands in it twice."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tunelet.models.scoring.trie import Tree

sequences = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=6)


def way(tree: Tree, node: int) -> list[int]:
    """Tokens from the root to a node."""
    tokens = []
    while node >= 0:
        tokens.append(int(tree.tokens[node]))
        node = int(tree.parents[node])
    return tokens[::-1]


@given(sequences, st.booleans())
def test_every_sequence_is_the_way_to_its_end(rows: list[list[int]], share: bool) -> None:
    tree = Tree.of(rows, share=share)
    assert [way(tree, int(end)) for end in tree.ends] == rows
    assert len(tree) == (
        len({tuple(r[: i + 1]) for r in rows for i in range(len(r))}) if share else sum(map(len, rows))
    )
    assert all(parent < node for node, parent in enumerate(tree.parents))
    assert [len(way(tree, i)) - 1 for i in range(len(tree))] == tree.depths.tolist()
    seen = tree.ancestors()
    assert seen.sum(1).tolist() == (tree.depths + 1).tolist()
    assert tree.sums(np.ones(len(tree))).tolist() == [len(row) for row in rows]


@given(sequences)
def test_the_inner_nodes_are_a_tree(rows: list[list[int]]) -> None:
    tree = Tree.of(rows)
    chosen = np.isin(np.arange(len(tree)), tree.inner)
    inner, place = tree.cut(chosen)
    for node in tree.inner:
        assert way(inner, int(place[node])) == way(tree, int(node))
