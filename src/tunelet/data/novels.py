"""Plain books to sentences as a recogniser writes them: lower case, no punctuation, one sentence a line.

A sentence ends at ``.``, ``!`` or ``?`` (with what closes after it: quotes, brackets) before a blank and a capital, a
digit or an opening quote, and at the end of a paragraph. The full stop of a title (Mr., St.) or of one capital (J.
Smith) ends none. Then: titles are spelled as they are spoken (mr. -> mister), accents fall off, hyphens and dashes part
words, apostrophes stay inside words alone (a quote cannot be told from the one of "'tis"), and every other sign is
dropped. Numbers are kept as they stand, or the whole sentence is dropped: nobody says "1815". Not here: tokens,
language models.

Example:
    >>> list(sentences(["“Mr. Hall’s here,” she said—", "twice. He didn’t go!"]))
    ["mister hall's here she said twice", "he didn't go"]
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from tunelet.base.errors import DataError, Problem
from tunelet.base.files import digest, sha256_file, write_atomic

#: To be raised when the same text would become other sentences.
_VERSION = 1
Numbers = Literal["keep", "drop"]
#: Books, whose sentences are looked for; or files with a sentence a line.
Layout = Literal["books", "lines"]

_SPOKEN = {"mr": "mister", "mrs": "missus", "messrs": "messieurs", "dr": "doctor", "st": "saint"}
#: Words whose full stop ends no sentence, beside the titles above.
_SHORT = {*_SPOKEN, "esq", "jr", "sr", "prof", "rev", "hon", "capt", "col", "gen", "lieut", "vol", "no", "viz", "etc"}
_END = re.compile(r"[.!?]+[\"”’')\]*_]*(?=\s+[\"“‘'(\[_]*[A-Z0-9])")
_LAST_WORD = re.compile(r"([A-Za-z]+)\.$")
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'"})
_TITLE = re.compile(rf"\b({'|'.join(_SPOKEN)})\b\.?", re.IGNORECASE)
_NOT_SPOKEN = re.compile(r"[^a-z0-9' ]+")
_DIGIT = re.compile("[0-9]")
_LOOSE = re.compile(r"(?<![a-z0-9])'+|'+(?![a-z0-9])")


def sentences(lines: Iterable[str], *, numbers: Numbers = "drop") -> Iterator[str]:
    """Sentences of a book, one after the other; no more than a paragraph is held.

    Args:
        lines: of the book; a blank one ends a paragraph.
        numbers: what happens to a sentence with digits: "keep" as they are, or "drop" the sentence.
    """
    for paragraph in _paragraphs(lines):
        start = 0
        for end in (*(match.end() for match in _END.finditer(paragraph)), len(paragraph)):
            part = paragraph[start:end].strip()
            if end < len(paragraph) and _ends_in_a_short_word(part):
                continue
            start = end
            spoken = normalise(part)
            if spoken and not (numbers == "drop" and _DIGIT.search(spoken)):
                yield spoken


def normalise(text: str) -> str:
    """One text as a recogniser writes it; the same for hypotheses and references gives the same words."""
    text = text.translate(_APOSTROPHES).replace("&", " and ")
    if not text.isascii():
        text = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
        text = text.replace("æ", "ae").replace("œ", "oe").replace("Æ", "Ae").replace("Œ", "Oe")
    text = _TITLE.sub(lambda found: _SPOKEN[found.group(1).lower()], text).lower()
    text = _LOOSE.sub(" ", _NOT_SPOKEN.sub(" ", text))
    return " ".join(text.split())


def sentence_file(
    files: Sequence[Path], cache_dir: Path, *, numbers: Numbers = "drop", layout: Layout = "books"
) -> Path:
    """The sentences of `files` in one text file, one a line, made once.

    Its name holds the hash of the books' contents and of how they were read.

    Raises:
        DataError: there is no file, or one cannot be read as UTF-8; all are named.
    """
    if not files:
        raise DataError(Problem("there is no text to read"))
    problems = [Problem("no such file", path) for path in files if not path.is_file()]
    if problems:
        raise DataError(problems)
    how = [numbers] if layout == "books" else [numbers, layout]
    key = digest([_VERSION, *how, [sha256_file(path) for path in files]])
    target = cache_dir / f"sentences-{key[:32]}.txt"
    if not target.is_file():
        write_atomic(target, "".join(f"{line}\n" for path in files for line in _read(path, numbers, layout)))
    return target


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a sentence file without their ends."""
    with open(path, encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.rstrip("\n")


def _read(path: Path, numbers: Numbers, layout: Layout) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8") as file:
            if layout == "books":
                yield from sentences(file, numbers=numbers)
            else:
                said = (normalise(line) for line in file)
                yield from (line for line in said if line and not (numbers == "drop" and _DIGIT.search(line)))
    except UnicodeDecodeError:
        line = next(i for i, raw in enumerate(path.read_bytes().split(b"\n"), start=1) if not _is_utf8(raw))
        raise DataError(Problem("not UTF-8", path, line, hint="convert the file to UTF-8")) from None


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    held: list[str] = []
    for line in lines:
        if line.strip():
            held.append(line.strip())
        elif held:
            yield " ".join(held)
            held = []
    if held:
        yield " ".join(held)


def _ends_in_a_short_word(part: str) -> bool:
    found = _LAST_WORD.search(part)
    return found is not None and (
        found.group(1).lower() in _SHORT or (len(found.group(1)) == 1 and found.group(1) != "I")
    )
