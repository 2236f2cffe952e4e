"""Rescores files: lists in any format, or sound, one chunk at a time. Not here: what a rescorer is (`rescore_folder`).

JSON Lines are checked whole before the first list is rescored, then streamed; other formats are read at once. Sound
goes through the first pass that the rescorer was made for.

Example:
    >>> tally = Tally(rescorer.normalise)                                               # doctest: +SKIP
    >>> for row in rescored(rescorer, opened([Path("lists.jsonl")], rescorer), tally): ...     # doctest: +SKIP
    >>> tally.to_json()["wer_rescored"]                                                 # doctest: +SKIP
    0.06
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunelet.base.errors import DataError, InputError, Problem
from tunelet.data.formats import json_rows
from tunelet.data.lines import open_bytes, read_lines
from tunelet.data.nbest import NBest
from tunelet.data.nbest_files import read_nbest, stream_nbest
from tunelet.data.nbest_formats import jsonl
from tunelet.data.normalise import Normaliser
from tunelet.data.problems import ProblemLog
from tunelet.data.recognisers.batch import recognise
from tunelet.data.recognisers.settings import SphinxSettings
from tunelet.data.spoken import from_paths, is_sound
from tunelet.evaluation.transcripts import WordErrors, word_errors
from tunelet.systems.rescore_folder import Rescorer

#: lists that are rescored together
CHUNK = 64


@dataclass
class Tally:
    """Counts over the lists that went by.

    Attributes:
        normalise: of references and hypotheses.
        utterances, hypotheses, references: how many.
        first_pass, chosen, oracle: word errors of the lists that have a reference.
        seconds: spent on rescoring alone.
    """

    normalise: Normaliser
    utterances: int = 0
    hypotheses: int = 0
    references: int = 0
    first_pass: WordErrors = field(default_factory=WordErrors)
    chosen: WordErrors = field(default_factory=WordErrors)
    oracle: WordErrors = field(default_factory=WordErrors)
    seconds: float = 0.0

    def count(self, one: NBest, text: str) -> None:
        """Count a list and the hypothesis that was chosen."""
        self.utterances += 1
        self.hypotheses += len(one)
        if one.ref is None:
            return
        self.references += 1
        ref = self.normalise(one.ref)
        all_errors = {own: word_errors(ref, self.normalise(own)) for own in one.unique().texts}
        self.first_pass += all_errors[one.texts[0]]
        self.chosen += all_errors[text]
        self.oracle += min(all_errors.values(), key=lambda errors: errors.errors)

    def to_json(self) -> dict[str, Any]:
        """What ``--json`` writes; word error rates are fractions, and null unless every list has a reference."""
        known = self.references == self.utterances and self.first_pass.words > 0
        before, after = self.first_pass.errors, self.chosen.errors
        return {
            "utterances": self.utterances,
            "wer_first_pass": self.first_pass.rate if known else None,
            "wer_rescored": self.chosen.rate if known else None,
            "wer_oracle": self.oracle.rate if known else None,
            "relative_reduction": (before - after) / before if known and before else None,
            "hypotheses_per_second": self.hypotheses / self.seconds if self.seconds > 0 else 0.0,
        }


def checked(paths: Sequence[Path]) -> None:
    """Refuse what cannot be rescored before anything heavy is loaded.

    Raises:
        DataError: a file is missing, or lists are broken; all problems with their places.
        InputError: sound and lists are mixed, or there are several files of lists.
    """
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise DataError(Problem("does not exist", path) for path in missing)
    sound = [is_sound(path) for path in paths]
    if any(sound) and not all(sound):
        lists = paths[sound.index(False)]
        raise InputError(Problem("is no sound file, but others are; expected one file of lists, or sound alone", lists))
    if not any(sound) and len(paths) != 1:
        raise InputError(Problem("is a second file of lists; expected one", paths[1], hint="run the command for each"))
    if any(sound):
        from_paths(paths)
    elif _streams(paths[0]):
        _check_lines(paths[0])
    else:
        read_nbest(paths[0])


def opened(paths: Sequence[Path], first_pass: SphinxSettings, *, workers: int = 1) -> Iterator[NBest]:
    """The lists of a file, or of the first pass over sound, in order.

    Raises:
        DataError: see `checked`; what is wrong in sound is told at its end.
    """
    if is_sound(paths[0]):
        yield from recognise(from_paths(paths), first_pass, workers=workers)
    elif _streams(paths[0]):
        with open_bytes(paths[0]) as file:
            yield from stream_nbest(file, str(paths[0]))
    else:
        yield from read_nbest(paths[0]).lists


def rescored(
    rescorer: Rescorer, lists: Iterable[NBest], tally: Tally, *, chunk: int = CHUNK
) -> Iterator[dict[str, Any]]:
    """The rows of OUT, in the order of the lists; `tally` counts them."""
    waiting = iter(lists)
    while held := list(itertools.islice(waiting, chunk)):
        start = time.perf_counter()
        rows = rescorer.rescore(held)
        tally.seconds += time.perf_counter() - start
        for one, row in zip(held, rows, strict=True):
            tally.count(one, row["text"])
            yield row


def _streams(path: Path) -> bool:
    return path.is_file() and path.name.removesuffix(".gz").endswith(".jsonl")


def _check_lines(path: Path) -> None:
    log, lines = ProblemLog(path), dict[str, int | None]()
    with open_bytes(path) as file:
        for found in jsonl.read(json_rows(read_lines(file, log), log), log):
            if found.id is not None and found.id in lines:
                message = f"{found.id[:60]!r} is also the id of a list on line {lines[found.id]}"
                log.add(message, line=found.line, field="id")
            elif found.id is not None:
                lines[found.id] = found.line
    if not lines and not len(log):
        log.add("no list in it, expected at least one", hint="was the file written to the end?")
    log.raise_if_any()
