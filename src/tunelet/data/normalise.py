"""Named normalisations of transcripts, the same for reference and hypothesis. Not here: spelling out numbers.

    none         as it is; words are what white space separates
    lower        lower case, single spaces
    librispeech  what the transcripts of LibriSpeech can hold, in lower case: letters without accents, digits,
                 apostrophes inside or at the edge of a word; everything else (punctuation, hyphens, dashes) is a space

A word error rate belongs to its normalisation: the report names it.

Example:
    >>> normaliser("librispeech")("Well-known: the CAFÉ’s “menu”...")
    "well known the cafe's menu"
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from tunelet.base.registry import Registry

#: A text to a text, applied to references and hypotheses alike; applying it twice changes nothing more.
Normaliser = Callable[[str], str]

NORMALISERS: Registry[Normaliser] = Registry("normalisation")

_APOSTROPHES = str.maketrans("’‘ʼ＇`´", "''''''")
# a letter, digit, or an apostrophe beside one
_WORD = re.compile(r"'?[^\W_]+(?:'[^\W_]+)*'?")


def normaliser(name: str) -> Normaliser:
    """The normalisation called `name`.

    Raises:
        InputError: there is none; all names are told.
    """
    return NORMALISERS.get(name)


@NORMALISERS.register("none")
def _none(text: str) -> str:
    return text


@NORMALISERS.register("lower")
def _lower(text: str) -> str:
    return " ".join(text.lower().split())


@NORMALISERS.register("librispeech")
def _librispeech(text: str) -> str:
    if not text.isascii():
        # folding can bring marks of its own, so they are dropped before and after
        text = _without_marks(_without_marks(text.translate(_APOSTROPHES)).casefold())
    return " ".join(_WORD.findall(text.translate(_APOSTROPHES).casefold()))


def _without_marks(text: str) -> str:
    parted = unicodedata.normalize("NFKD", text)
    return "".join(mark for mark in parted if not unicodedata.category(mark).startswith("M"))
