"""Normalisations: what they change, and that a second time changes nothing more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelet.base.errors import InputError
from tunelet.data.normalise import NORMALISERS, normaliser


@pytest.mark.parametrize(
    ("name", "text", "normal"),
    [
        ("none", " The  SEA, ", " The  SEA, "),
        ("lower", " The  SEA, ", "the sea,"),
        ("librispeech", "THE SEA", "the sea"),
        ("librispeech", " the\tsea\u2028was\u00a0calm ", "the sea was calm"),
        ("librispeech", "“Well-known”—he said: yes/no...", "well known he said yes no"),
        ("librispeech", "Don’t, 'TIS the boys' O'Hara ' x", "don't 'tis the boys' o'hara x"),
        ("librispeech", "Café naïve STRASSE straße", "cafe naive strasse strasse"),
        ("librispeech", "3.5 U.S. snake_case", "3 5 u s snake case"),
        ("librispeech", "ﬁne ＡＢＣ", "fine abc"),
        ("librispeech", "''", ""),
        ("librispeech", "", ""),
    ],
)
def test_what_it_makes(name: str, text: str, normal: str) -> None:
    assert normaliser(name)(text) == normal


@pytest.mark.parametrize("name", NORMALISERS.names())
@given(st.text())
def test_twice_is_once(name: str, text: str) -> None:
    once = normaliser(name)(text)
    assert normaliser(name)(once) == once


def test_twice_is_once_for_every_character() -> None:
    normalise = normaliser("librispeech")
    plane = [f"a{chr(code)}b" for code in range(0x80, 0x10000) if not 0xD800 <= code < 0xE000]
    once = list(map(normalise, plane))
    assert list(map(normalise, once)) == once


@given(st.text(st.characters(max_codepoint=0x24F, exclude_categories=("C",))))
def test_case_never_counts(text: str) -> None:
    normalise = normaliser("librispeech")
    assert normalise(text.casefold()) == normalise(text)


def test_an_unknown_one_names_the_others() -> None:
    with pytest.raises(InputError, match="did you mean 'lower'"):
        normaliser("lowr")
