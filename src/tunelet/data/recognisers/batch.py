"""A first pass over many sound files: in worker processes, in order, and never twice for the same sound.

Each list is kept in a cache the moment it is there, named by the hash of the sound file and of all that the lists
depend on. So a pass that was interrupted goes on where it stopped when it is started again, and changing n or the
language model recognises anew. Not here: what a recogniser does, or the format of the lists (`data.nbest_files`).

Example:
    >>> test = read_spoken(Path("speechocean762/test.jsonl"))                       # doctest: +SKIP
    >>> lists = tuple(recognise(test, SphinxSettings(), cache=Path("cache")))       # doctest: +SKIP
    >>> write_nbest(Path("test-lists.jsonl"), lists)                                # doctest: +SKIP
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunelet.base.errors import DamagedFileError, DataError, Problem
from tunelet.base.files import canonical_json, digest, read_json, sha256_file, write_atomic
from tunelet.data.audio import read_audio
from tunelet.data.nbest import Hypothesis, NBest
from tunelet.data.recognisers.pool import Outcome, Outcomes, in_workers
from tunelet.data.recognisers.protocol import Recogniser, build, identity
from tunelet.data.recognisers.settings import RecogniserSettings
from tunelet.data.spoken import SpokenExample


@dataclass(frozen=True)
class Recognised:
    """One utterance is done.

    Attributes:
        id: of the utterance.
        done: how many are, with this one.
        total: how many there are.
        cached: whether its list was there already.
    """

    id: str
    done: int
    total: int
    cached: bool


Observer = Callable[[Recognised], None]


class ListCache:
    """A folder of N-best lists, one small file for each sound and recogniser. None keeps nothing.

    Args:
        folder: made when something is first written.
        recogniser: identity of the recogniser.
    """

    def __init__(self, folder: Path | None, recogniser: str) -> None:
        self.folder = folder
        self._recogniser = recogniser

    def path(self, sound: str) -> Path | None:
        """The file for a sound, named by its sha256."""
        return None if self.folder is None else self.folder / f"nbest-{digest([self._recogniser, sound])[:32]}.json"

    def read(self, sound: str) -> tuple[Hypothesis, ...] | None:
        """The list; None if there is none, or its file is damaged: what it would hold can be found again."""
        path = self.path(sound)
        if path is None or not path.is_file():
            return None
        try:
            rows = read_json(path)["nbest"]
            found = tuple(Hypothesis(str(row["text"]), float(row["score"])) for row in rows)
        except (DamagedFileError, KeyError, TypeError, ValueError):
            return None
        return found if found and all(math.isfinite(one.score) for one in found) else None

    def write(self, sound: str, hypotheses: Sequence[Hypothesis]) -> None:
        """Keep a list. A folder that cannot be written is no reason to stop: the work goes on without a cache."""
        path = self.path(sound)
        if path is not None:
            rows = [{"text": one.text, "score": one.score} for one in hypotheses]
            try:
                write_atomic(path, canonical_json({"nbest": rows}) + "\n")
            except OSError:
                self.folder = None


def recognise(
    examples: Sequence[SpokenExample],
    settings: RecogniserSettings,
    *,
    cache: Path | None = None,
    workers: int = 1,
    observer: Observer = lambda event: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Iterator[NBest]:
    """The N-best list of each utterance, in order, as soon as all before it are there.

    What is wrong with single files is told at the end, for all of them, when the others are in the cache.

    Args:
        examples: `text` becomes the reference as it is; normalising is the user's choice (`data.normalise`).
        cache: folder for the lists; None: nothing is kept.
        workers: processes; 1: this one.
        observer: told of each utterance when its list is there, in the order in which that happens.
        interrupted: asked after each utterance.

    Raises:
        MissingExtraError, InputError: the recogniser cannot be built.
        DataError: sound files that cannot be read, or on which the recogniser failed.
        KeyboardInterrupt: `interrupted` said so.
    """
    store = ListCache(cache, identity(settings))
    problems: list[Problem] = []
    lists: dict[int, tuple[Hypothesis, ...] | None] = {}
    sounds: dict[int, str] = {}
    for place, example in enumerate(examples):
        try:
            sounds[place] = sha256_file(example.audio)
        except OSError as error:
            problems.append(Problem(f"cannot be read: {error.strerror or error}", example.audio))
            lists[place] = None
        else:
            found = store.read(sounds[place])
            if found is not None:
                lists[place] = found
    for done, place in enumerate(sorted(lists), start=1):
        observer(Recognised(examples[place].id, done, len(examples), cached=True))
    # the same sound twice is recognised once
    first = {sounds[place]: place for place in reversed(range(len(examples))) if place not in lists}
    tasks = sorted(first.values())
    outcomes = _outcomes([examples[place].audio for place in tasks], settings, workers)
    sent = 0
    try:
        while sent < len(examples):
            while sent in lists:
                hypotheses = lists.pop(sent)
                if hypotheses is not None:
                    yield NBest(examples[sent].id, hypotheses, examples[sent].text, examples[sent].speaker)
                sent += 1
            if sent == len(examples):
                break
            if interrupted():
                raise KeyboardInterrupt
            number, outcome = next(outcomes)
            sound = sounds[tasks[number]]
            problems.extend(outcome.problems)
            if outcome.hypotheses is not None:
                store.write(sound, outcome.hypotheses)
            for place in range(tasks[number], len(examples)):
                if sounds.get(place) == sound:
                    lists[place] = outcome.hypotheses
                    observer(Recognised(examples[place].id, sent + len(lists), len(examples), cached=False))
    finally:
        outcomes.close()
    if problems:
        raise DataError(problems)


def _outcomes(paths: Sequence[Path], settings: RecogniserSettings, workers: int) -> Outcomes:
    if workers > 1 and len(paths) > 1:
        return in_workers(paths, settings, min(workers, len(paths)))
    return _here(paths, settings)


def _here(paths: Sequence[Path], settings: RecogniserSettings) -> Outcomes:
    recogniser: Recogniser | None = None
    for number, path in enumerate(paths):
        recogniser = recogniser or build(settings)
        try:
            yield number, Outcome(recogniser.nbest(read_audio(path)))
        except DataError as error:
            yield number, Outcome(None, error.problems)
