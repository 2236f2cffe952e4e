"""The N best word sequences of a lattice are those that listing every path finds."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelet.base.errors import DataError
from tunelet.data.recognisers.lattice import Lattice, n_best, parse_lattice, plain_text, plain_word

WORDS = ("sea", "see", "the", None)

TEXT = """\
# getcwd: /this/is/bogus
# -logbase 1.000100e+00
#
Frames 40
#
Nodes 5 (NODEID WORD STARTFRAME FIRST-ENDFRAME LAST-ENDFRAME)
0 </s> 35 39 39 ; 0
1 <sil> 30 34 34 ; 0
2 sea(2) 10 29 34 ; 0
3 see 10 29 34 ; 0
4 <s> 0 9 9 ; 0
#
Initial 4
Final 0
#
BestSegAscr 0 (NODEID ENDFRAME ASCORE)
#
Edges (FROM-NODEID TO-NODEID ASCORE)
1 0 -1024
2 0 -30720
2 1 -20480
3 0 -10240
4 2 -10240
4 3 -10240
End
"""


def language(history: tuple[str, ...], word: str) -> float:
    """A model with a memory of two words: any function that differs for different words does."""
    text = " ".join((*history, word))
    return -1.0 - (zlib.crc32(text.encode()) % 97) / 29


@st.composite
def lattices(draw: Any) -> Lattice:
    """Up to 7 nodes in the order of time; every node is reached and reaches the end."""
    size = draw(st.integers(min_value=3, max_value=7))
    words = (None, *(draw(st.sampled_from(WORDS)) for _ in range(size - 2)), None)
    scores = st.integers(min_value=-30, max_value=-1)
    exits: dict[int, dict[int, float]] = {node: {} for node in range(size)}
    for node in range(1, size):
        exits[draw(st.integers(min_value=0, max_value=node - 1))][node] = draw(scores) / 4
    for node in range(size - 1):
        exits[node][draw(st.integers(min_value=node + 1, max_value=size - 1))] = draw(scores) / 4
    return Lattice(words, {node: sorted(following.items()) for node, following in exits.items()}, 0, size - 1)


def every_path(lattice: Lattice, node: int) -> Iterator[tuple[tuple[str, ...], float]]:
    """The words after `node` and the acoustic score to the end, for all paths."""
    if node == lattice.end:
        yield (), 0.0
        return
    for to, acoustic in lattice.exits[node]:
        word = lattice.words[to]
        for words, score in every_path(lattice, to):
            yield (() if word is None else (word,)) + words, acoustic + score


def by_listing(lattice: Lattice, weight: float, penalty: float) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    for words, acoustic in every_path(lattice, lattice.start):
        padded = ("<s>", *words, "</s>")
        said = sum(language(padded[max(0, i - 2) : i], padded[i]) for i in range(1, len(padded)))
        total = acoustic + weight * said + penalty * len(words)
        found[words] = max(total, found.get(words, -math.inf))
    return found


@settings(max_examples=150, deadline=None)
@given(lattice=lattices(), weight=st.sampled_from([0.5, 1.0, 9.5]), penalty=st.sampled_from([0.0, -0.5]))
def test_the_list_is_that_of_all_paths(lattice: Lattice, weight: float, penalty: float) -> None:
    expected = sorted(by_listing(lattice, weight, penalty).items(), key=lambda item: (-item[1], item[0]))
    found = n_best(lattice, 500, language, weight=weight, penalty=penalty, width=500, beam=1e9)
    assert sorted(path.words for path in found) == sorted(words for words, _ in expected)
    assert [path.total for path in found] == pytest.approx([total for _, total in expected])
    for path in found:
        whole = path.acoustic + weight * path.language + penalty * len(path.words)
        assert path.total == pytest.approx(whole)


@settings(max_examples=50, deadline=None)
@given(lattice=lattices())
def test_any_word_sequence_of_the_lattice_can_be_asked_for(lattice: Lattice) -> None:
    for words, total in by_listing(lattice, 2.0, 0.0).items():
        (path,) = n_best(lattice, 1, language, weight=2.0, only=words, width=1000)
        assert path.words == words
        assert path.total == pytest.approx(total)
    assert n_best(lattice, 1, language, only=["never", "said"]) == []


@settings(max_examples=50, deadline=None)
@given(lattice=lattices(), n=st.integers(min_value=1, max_value=4))
def test_fewer_are_the_first_of_more(lattice: Lattice, n: int) -> None:
    more = n_best(lattice, 100, language, width=500, beam=1e9)
    assert n_best(lattice, n, language, width=500, beam=1e9) == more[:n]


def test_a_narrow_beam_drops_what_is_far_below() -> None:
    lattice = Lattice((None, "sea", "see", None), {0: [(1, -1.0), (2, -90.0)], 1: [(3, -1.0)], 2: [(3, -1.0)]}, 0, 3)
    flat = lambda history, word: 0.0  # noqa: E731
    assert [path.text for path in n_best(lattice, 5, flat, beam=100.0)] == ["sea", "see"]
    assert [path.text for path in n_best(lattice, 5, flat, beam=50.0)] == ["sea"]


def test_the_text_of_a_lattice_is_read() -> None:
    lattice = parse_lattice(TEXT)
    assert lattice.words == (None, None, "sea", "see", None)
    assert (lattice.start, lattice.end) == (4, 0)
    paths = n_best(lattice, 5, lambda history, word: 0.0)
    assert [path.text for path in paths] == ["see", "sea"]
    nat = math.log(1.0001)
    assert [path.acoustic for path in paths] == pytest.approx([-20480 * nat, -31744 * nat])


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("2 0 -30720", "2 0 loud", "^lattice:20: not a line of a Sphinx lattice: '2 0 loud'"),
        ("End\n", "", "not a whole Sphinx lattice"),
        ("Final 0\n", "", "not a whole Sphinx lattice"),
        ("4 3 -10240", "4 9 -10240", "not a whole Sphinx lattice"),
        ("1 <sil> 30 34 34 ; 0\n", "", "not a whole Sphinx lattice"),
    ],
)
def test_a_broken_lattice_is_told(old: str, new: str, says: str) -> None:
    assert TEXT.count(old) == 1
    with pytest.raises(DataError, match=says):
        parse_lattice(TEXT.replace(old, new))


def test_a_cycle_is_told() -> None:
    lattice = Lattice((None, "sea", "see", None), {0: [(1, -1.0)], 1: [(2, -1.0), (3, -1.0)], 2: [(1, -1.0)]}, 0, 3)
    with pytest.raises(DataError, match="cycle"):
        n_best(lattice, 1, language)


@pytest.mark.parametrize(
    ("word", "plain"),
    [("sea", "sea"), ("sea(2)", "sea"), ("<sil>", None), ("<s>", None), ("[NOISE]", None), ("++UM++", None)],
)
def test_fillers_and_variants_are_stripped(word: str, plain: str | None) -> None:
    assert plain_word(word) == plain
    assert plain_text(f"the {word} is") == ("the is" if plain is None else f"the {plain} is")
