"""Any text as it is said: lower-case words of a to z and apostrophes, numbers spelled out. Not here: the sound.

Spoken and written down in this form, a text holds only what a CTC head over characters can write. Numbers are spelled
by num2words (extra ``offline``): 1999 is a year, 1st an ordinal, 2.5 has a point; long or odd ones are read digit by
digit. Signs that are said become words (%, $, £, €, &, +, @), all others are dropped.

Example:
    >>> spoken_form("It's 5 o’clock on the 2nd — call 0800!")
    "it's five o'clock on the second call zero eight zero zero"
    >>> spoken_form("...")
    ''
"""

from __future__ import annotations

import re
import unicodedata

from tunelet.base.errors import MissingExtraError
from tunelet.data.novels import normalise

#: a currency's sign, digits with thousands or a fraction, an ending
_NUMBER = re.compile(r"([$£€])?(\d{1,3}(?:,\d{3})+(?!\d)|\d+)(\.\d+)?(st|nd|rd|th)?", re.IGNORECASE)
_CURRENCY = {"$": "dollars", "£": "pounds", "€": "euros"}
_SIGNS = str.maketrans({"%": " percent ", "+": " plus ", "@": " at ", "=": " equals "})
#: digits of which no number is made
_LONG = 9


def spoken_form(text: str) -> str:
    """The words of `text`; empty where nothing in it is said.

    Raises:
        MissingExtraError: it holds a number, and num2words is not installed.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    text = re.sub(r"\d", " ", _NUMBER.sub(lambda match: f" {_said(match)} ", text))
    return normalise(text.translate(_SIGNS))


def _said(match: re.Match[str]) -> str:
    currency, whole, fraction, ending = match.groups()
    digits = whole.replace(",", "")
    if not digits.isascii():
        return " "
    if len(digits) > _LONG or (digits[0] == "0" and len(digits) > 1):
        said = _one_by_one(digits)
    elif ending:
        said = _words(int(digits), "ordinal")
    elif fraction is None and currency is None and "," not in whole and re.fullmatch(r"1[1-9]\d\d|20\d\d", whole):
        said = _words(int(digits), "year")
    else:
        said = _words(int(digits))
    if fraction is not None:
        said += f" point {_one_by_one(fraction[1:])}" if fraction[1:].isascii() else ""
    return said if currency is None else f"{said} {_CURRENCY[currency]}"


def _one_by_one(digits: str) -> str:
    return " ".join(_words(int(digit)) for digit in digits)


def _words(number: int, kind: str = "cardinal") -> str:
    try:
        from num2words import num2words
    except ImportError:
        raise MissingExtraError("offline", "spelling out numbers") from None
    return str(num2words(number, to=kind)).replace(",", " ")
