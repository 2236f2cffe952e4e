"""Reads what a `rescore` recipe names: lists or sound, parted into train, dev and test sets, and text. Not here: torch.

Sound stays sound here: the first pass is a stage of the run (`systems.rescore_stages`). ``embedded:train`` (dev, test)
is the speech in the package, ``embedded:text`` its text.

Example:
    >>> data = load_data(load_recipe("rescore"), None)        # doctest: +SKIP
    >>> data.sizes                                                  # doctest: +SKIP
    {'train': ..., 'dev': ..., 'test-clean': 2620}
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from tunelet.base.errors import DataError, Problem
from tunelet.base.files import digest, sha256_file
from tunelet.base.settings import Field, Settings
from tunelet.data.folds import held_out
from tunelet.data.nbest import Hypothesis, NBest, NBestSet, joined, sha256_lists
from tunelet.data.nbest_files import read_nbest
from tunelet.data.novels import Layout, Numbers
from tunelet.data.recognisers.protocol import identity
from tunelet.data.recognisers.settings import SphinxSettings
from tunelet.data.speakers import SpeakerRule
from tunelet.data.spoken import SpokenExample, embedded_speech, read_spoken
from tunelet.systems.rescore_places import EMBEDDED, EMBEDDED_TEXT, Places

#: what test sets may not be called
_TAKEN = ("train", "dev")

Lists = tuple[NBest, ...]
Spoken = tuple[SpokenExample, ...]


class RescoreDataSettings(Settings):
    """Which lists, or which sound."""

    kind: Literal["lists", "sound"] = Field(
        "lists", description="what the files are: N-best lists, or indices of sound files for the first pass"
    )
    train: tuple[str, ...] = Field(
        min_length=1, description="lists to learn from; relative paths start at --data or TUNELET_DATA"
    )
    dev: tuple[str, ...] = Field(
        (), description="lists that choose checkpoint and weights; none: a part of train with speakers of its own"
    )
    held_out: float = Field(0.2, gt=0, lt=1, description="that part's share of the words of train")
    held_out_seed: int = Field(1, ge=0, description="draws that part; the same for all runs")
    test: dict[str, str] = Field(min_length=1, description="name of a set: its lists, which are reported")
    speaker: SpeakerRule = Field("field", description="who speaks: as the file says, by LibriSpeech's ids, or unknown")
    normalise: Literal["none", "lower", "librispeech"] = Field(
        "librispeech", description="normalisation of references and hypotheses, and what the scorers are given"
    )
    text: tuple[str, ...] = Field(
        (), description="text for the n-gram model: files, or folders of .txt; none: there is no n-gram model"
    )
    numbers: Numbers = Field("drop", description="what happens to sentences of the text with digits")
    first_pass: SphinxSettings = Field(default_factory=SphinxSettings, description="recogniser of sound")
    workers: int = Field(2, ge=1, description="processes that recognise sound")
    limit: int | None = Field(None, ge=2, description="the first so many lists of each file alone; for trials")

    @field_validator("test")
    @classmethod
    def _check_names(cls, test: dict[str, str]) -> dict[str, str]:
        for name in test:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) or name in _TAKEN:
                raise ValueError(
                    f"{name!r} cannot name a set: expected letters, digits, '-', '_' and '.', not {_TAKEN}"
                )
        return test


@dataclass(frozen=True)
class RescoreData:
    """The data of a recipe.

    Attributes:
        lists: of each set (train, dev, then the test sets), where the recipe names lists.
        spoken: of each set, where it names sound; one of the two is empty.
        locations: where each set came from, as the user named it.
        text: files for the n-gram model.
        numbers: what happens to their sentences with digits.
        normalise: name of the normalisation.
        first_pass, workers: recogniser of sound.
        kind: which of the places the data came from.
    """

    lists: Mapping[str, Lists]
    spoken: Mapping[str, Spoken]
    locations: Mapping[str, str]
    text: tuple[Path, ...]
    numbers: Numbers
    normalise: str
    first_pass: SphinxSettings
    workers: int
    kind: str

    @property
    def layout(self) -> Layout:
        """How the text is read: the sentences in the package stand one a line, all else are books."""
        return "lines" if self.text == (EMBEDDED_TEXT,) else "books"

    @property
    def names(self) -> tuple[str, ...]:
        """train, dev, and the test sets in the recipe's order."""
        return tuple(self.lists or self.spoken)

    @property
    def tests(self) -> tuple[str, ...]:
        """The sets that are reported and chose nothing."""
        return self.names[2:]

    @property
    def sizes(self) -> dict[str, int]:
        """Utterances of each set."""
        return {name: len((self.lists or self.spoken)[name]) for name in self.names}

    @cached_property
    def sha256(self) -> str:
        """Hash of all that results depend on: lists, or sound with its recogniser; references; the text."""
        if self.lists:
            parts = {name: sha256_lists(lists) for name, lists in self.lists.items()}
        else:
            heard = {
                name: [(one.id, sha256_file(one.audio), one.text, one.speaker) for one in spoken]
                for name, spoken in self.spoken.items()
            }
            parts = {name: digest([identity(self.first_pass), rows]) for name, rows in heard.items()}
        return digest([list(parts.items()), self.normalise, self.text_sha256])

    @cached_property
    def text_sha256(self) -> str:
        """Hash of the text for the n-gram model; "" where there is none."""
        return digest([self.layout, self.numbers, [sha256_file(path) for path in self.text]]) if self.text else ""


def read_data(given: RescoreDataSettings, data_dir: Path | None) -> RescoreData:
    """Read what a recipe names.

    Args:
        given: the recipe's section.
        data_dir: a folder at which relative paths start, or a file with a further set to report.

    Raises:
        DataError: every file that is missing or wrong; an utterance in two sets; no speakers to hold out.
    """
    places = Places(data_dir)
    tests = dict(given.test)
    if data_dir is not None and data_dir.is_file():
        name = data_dir.name.split(".")[0]
        tests[f"data-{name}" if name in (*_TAKEN, *tests) else name] = str(data_dir.absolute())
    named = {"train": list(given.train), "dev": list(given.dev), **{name: [path] for name, path in tests.items()}}
    found = {name: [places.find(path, f"data.{name}") for path in paths] for name, paths in named.items()}
    books = tuple(book for path in given.text for book in places.books(path))
    places.raise_if_any()
    locations = {name: ", ".join(paths) or f"held out of {', '.join(given.train)}" for name, paths in named.items()}
    common = (locations, books, given.numbers, given.normalise, given.first_pass, given.workers, places.kind)
    if given.kind == "lists":
        sets = _read_all(found, given.speaker, given.limit)
        lists = {name: joined(several) for name, several in sets.items()}
        _refuse_shared({name: [one.id for one in own] for name, own in lists.items()}, locations)
        if not given.dev:
            kept, held = held_out(lists["train"], given.held_out, given.held_out_seed)
            lists |= {"train": _chosen(lists["train"], kept), "dev": _chosen(lists["train"], held)}
        return RescoreData(lists, {}, *common)
    spoken = {
        name: tuple(one for path in paths for one in _spoken(path)[: given.limit]) for name, paths in found.items()
    }
    unsaid = [(name, one.id) for name, own in spoken.items() for one in own if one.text is None]
    if unsaid:
        message = f"{len(unsaid)} utterances, such as {unsaid[0][1]!r}, have no text to count word errors against"
        raise DataError(Problem(message, locations[unsaid[0][0]], field="text"))
    _refuse_shared({name: [one.id for one in own] for name, own in spoken.items()}, locations)
    if not given.dev:
        refs = [NBest(one.id, (Hypothesis(one.text or ""),), one.text, one.speaker) for one in spoken["train"]]
        kept, held = held_out(refs, given.held_out, given.held_out_seed)
        whole = spoken["train"]
        spoken |= {"train": tuple(whole[i] for i in kept), "dev": tuple(whole[i] for i in held)}
    return RescoreData({}, spoken, *common)


def _spoken(path: Path) -> Spoken:
    name = str(path)
    return embedded_speech(name.removeprefix(EMBEDDED)) if name.startswith(EMBEDDED) else read_spoken(path)


def _refuse_shared(ids: Mapping[str, Sequence[str]], locations: Mapping[str, str]) -> None:
    """No utterance is in two sets, or twice in one.

    Raises:
        DataError: for each two sets how many are, and the first of them.
    """
    owners: dict[str, str] = {}
    shared: dict[tuple[str, str], list[str]] = {}
    for name, own in ids.items():
        for one in own:
            if one in owners:
                shared.setdefault((owners[one], name), []).append(one)
            owners.setdefault(one, name)
    if shared:
        raise DataError(
            Problem(
                f"{len(both)} utterances, such as {both[0]!r}, are in {one} and in {other}",
                locations[other],
                field="id",
            )
            for (one, other), both in shared.items()
        )


def _read_all(
    found: Mapping[str, Sequence[Path]], speaker: SpeakerRule, limit: int | None
) -> dict[str, list[NBestSet]]:
    """The lists of every set; what is wrong with any file is told at once."""
    problems: list[Problem] = []
    sets: dict[str, list[NBestSet]] = {name: [] for name in found}
    for name, paths in found.items():
        for path in paths:
            try:
                sets[name].append(_limited(read_nbest(path, speaker=speaker, need_references=True), limit))
            except DataError as error:
                problems.extend(error.problems)
    if problems:
        raise DataError(problems)
    return sets


def _limited(found: NBestSet, limit: int | None) -> NBestSet:
    return found if limit is None else NBestSet(found.lists[:limit], found.form, found.location, found.scored)


def _chosen(lists: Lists, positions: Sequence[int]) -> Lists:
    return tuple(lists[i] for i in positions)
