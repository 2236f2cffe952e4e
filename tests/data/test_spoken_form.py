"""Texts as they are said: what is dropped, what is spelled out, and that a CTC head can write all of it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelet.data.spoken_form import spoken_form


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("It’s GOOD—really!", "it's good really"),
        ("", ""),
        ("... 🙂 —", ""),
        ("Mr. Hall & co", "mister hall and co"),
        ("at 10:30am", "at ten thirty am"),
        ("in 1999 and 2005", "in nineteen ninety nine and two thousand and five"),
        ("1,250 people", "one thousand two hundred and fifty people"),
        ("the 21st", "the twenty first"),
        ("$3.50", "three point five zero dollars"),
        ("50% + 7", "fifty percent plus seven"),
        ("call 0800", "call zero eight zero zero"),
        ("1234567890", "one two three four five six seven eight nine zero"),
        ("full-width ３", "full width three"),
        ("b2b", "b two b"),
    ],
)
def test_known_texts(text: str, said: str) -> None:
    pytest.importorskip("num2words")
    assert spoken_form(text) == said


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=40) | st.text(" 0123456789.,$%stndrh:-'", max_size=30))
@settings(max_examples=150, deadline=None)
def test_any_text_is_of_letters_apostrophes_and_single_blanks(text: str) -> None:
    pytest.importorskip("num2words")
    said = spoken_form(text)
    assert re.fullmatch(r"([a-z']+( [a-z']+)*)?", said)
    assert spoken_form(said) == said
