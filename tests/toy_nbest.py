"""Small N-best lists for tests: made by hand, or drawn by hypothesis."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from tunelet.data.homophones import Homophones
from tunelet.data.nbest import Hypothesis, NBest

#: A small vocabulary in which words sound alike.
SOUNDS = {
    "sea": "S IY1",
    "see": "S IY1",
    "two": "T UW1",
    "to": "T UW1",
    "too": "T UW1",
    "i": "AY1",
    "eye": "AY1",
}
HOMOPHONES = Homophones((("eye", "i"), ("sea", "see"), ("to", "too", "two")), SOUNDS, 2.0, 1000)
#: Ids that could be taken for one another where a number is hung on.
IDS = [f"{letter}{tail}" for letter in "abc" for tail in ("", "-1", "-2", "-10", "-1-1", "-2-10")]
WORDS = [*SOUNDS, "the", "calm", "dog", "walks"]


def nbest(identity: str, ref: str | None, *hypotheses: tuple[str, float], speaker: str | None = None) -> NBest:
    """A list from (text, score) pairs."""
    return NBest(identity, tuple(Hypothesis(text, score) for text, score in hypotheses), ref, speaker)


def lists_of(speakers: Sequence[str], ref: str = "the sea is calm") -> list[NBest]:
    """One list for each entry of `speakers`, all with the same words."""
    hypotheses = (("the see is calm", -1.0), (ref, -1.5))
    return [nbest(f"{name}-{i}", ref, *hypotheses, speaker=name) for i, name in enumerate(speakers)]


def sentences(words: Sequence[str] = tuple(WORDS), most: int = 6) -> st.SearchStrategy[str]:
    """Texts of known words; possibly none."""
    return st.lists(st.sampled_from(list(words)), max_size=most).map(" ".join)


@st.composite
def drawn_lists(
    draw: st.DrawFn,
    texts: st.SearchStrategy[str] | None = None,
    *,
    refs: bool = True,
    most: int = 6,
    speakers: bool = False,
    ids: st.SearchStrategy[str] | None = None,
) -> list[NBest]:
    """Lists with references, of 1 to 4 hypotheses, with ids that are unique."""
    texts = sentences() if texts is None else texts
    ids = st.sampled_from(IDS) if ids is None else ids
    names = draw(st.lists(ids, min_size=1, max_size=most, unique=True))
    scores = st.floats(-1e6, 1e6, allow_nan=False)
    found = []
    for name in names:
        hypotheses = draw(st.lists(st.tuples(texts, scores), min_size=1, max_size=4))
        ref = draw(texts if refs else st.none() | texts)
        found.append(nbest(name, ref, *hypotheses, speaker=draw(st.sampled_from("abc")) if speakers else None))
    return found
