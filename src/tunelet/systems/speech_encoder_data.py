"""Which texts a speech encoder hears: drawn from tasks and novels, dealt to splits and voices. Not here: sound.

Texts of all splits differ, in their spoken form; so do the voices. Of a task only the train split is read for texts,
and what stands in its other splits as well is left out, so that no test item of a task was ever heard in training.

Example:
    >>> data = load_speech(SpokenTextSettings(source="embedded", limit={"train": 9, "validation": 2, "test": 2}), None)
    >>> [len(data.utterances[split]) for split in data.utterances]
    [9, 2, 2]
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tunelet.base.errors import DataError, Problem
from tunelet.base.files import digest, sha256_bytes, sha256_file
from tunelet.base.streams import numpy_stream
from tunelet.data.novels import sentences
from tunelet.data.places import ENVIRONMENT
from tunelet.data.records import SPLITS
from tunelet.data.speaking import drawn_manner, manner_facts
from tunelet.data.spoken import embedded_text
from tunelet.data.spoken_clips import Utterance
from tunelet.data.spoken_form import spoken_form
from tunelet.data.understanding.load import load_split
from tunelet.data.understanding.tasks import find_task
from tunelet.systems.speech_encoder_recordings import Recordings, read_recordings
from tunelet.systems.speech_encoder_settings import SpokenTextSettings


@dataclass(frozen=True)
class Pool:
    """Texts of a source as they are, and spoken forms that may not be among them."""

    texts: Sequence[str]
    other: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SpeechData:
    """What is to be heard.

    Attributes:
        settings: the recipe's section.
        utterances: by split, to be spoken.
        recordings: for train.
        recorded: for the split of that name, which is held out.
        absent: recordings below a folder of data that was not given.
        pools: all texts of the sources.
        sources: texts of each source, by split.
        kind: ``embedded``, ``environment`` or ``argument``.
    """

    settings: SpokenTextSettings
    utterances: dict[str, tuple[Utterance, ...]]
    recordings: tuple[Recordings, ...]
    sources: dict[str, dict[str, int]]
    kind: str
    recorded: tuple[Recordings, ...] = ()
    absent: tuple[str, ...] = ()
    pools: Mapping[str, Pool] = field(default_factory=dict, repr=False)

    def written(self) -> list[str]:
        """Spoken forms of all texts of the sources but for what is held out, and texts of recordings to train on."""
        held = {one.text for split in ("validation", "test") for one in self.utterances[split]}
        held |= {text for part in self.recorded for text in part.texts}
        found = [text for part in self.recordings for text in part.texts]
        for pool in self.pools.values():
            forms = map(spoken_form, pool.texts)
            found += [text for text in forms if text and text not in held and text not in pool.other]
        return found

    @cached_property
    def sha256(self) -> str:
        """Hash of everything that is heard or read: texts, manners, and the content of the recordings."""
        said = {
            split: [[one.text, manner_facts(one.manner)] for one in part] for split, part in self.utterances.items()
        }
        files = [
            [[[sha256_file(e.audio) for e in part.examples], part.texts, part.times] for part in parts]
            for parts in (self.recordings, self.recorded)
        ]
        read = [sha256_bytes("\n".join(pool.texts).encode()) for pool in self.pools.values()]
        return digest([said, *files, read])


def load_speech(settings: SpokenTextSettings, data_dir: Path | None) -> SpeechData:
    """Draw the texts.

    Raises:
        DataError: a source is missing or wrong, or there are too few texts for three splits.
    """
    environ = dict(os.environ) if data_dir is None else {**os.environ, ENVIRONMENT: str(data_dir)}
    if settings.source == "environment" and not environ.get(ENVIRONMENT):
        raise DataError(Problem(f"{ENVIRONMENT} is not set, but the recipe asks for it", field="data.source"))
    if settings.source != "embedded" and environ.get(ENVIRONMENT):
        pools, kind = _pools(settings, environ), "environment" if data_dir is None else "argument"
    else:
        pools, kind = {"embedded sentences": Pool(embedded_text())}, "embedded"
    dealt, sources = _dealt(_drawn(pools, settings), settings)
    voices = {"train": settings.voices.train, "validation": settings.voices.validation, "test": settings.voices.test}
    utterances = {
        split: tuple(
            Utterance(text, drawn_manner(text, voices[split], settings.seed, settings.manner)) for text in texts
        )
        for split, texts in dealt.items()
    }
    heard = {text for split in ("validation", "test") for text in dealt[split]}
    recordings, recorded, absent = read_recordings(settings.recordings, environ, heard, needed=kind != "embedded")
    return SpeechData(settings, utterances, recordings, sources, kind, recorded, absent, pools)


def facts(data: SpeechData) -> dict[str, Any]:
    """What the report says of the texts."""
    voices = {split: sorted({one.manner.voice for one in part}) for split, part in data.utterances.items()}
    return {
        "source": {"kind": data.kind, "location": ", ".join(data.sources)},
        "task": "speech to text",
        "splits": {split: len(part) for split, part in data.utterances.items()},
        "words": {split: sum(one.text.count(" ") + 1 for one in part) for split, part in data.utterances.items()},
        "voices": voices,
        "texts": data.sources,
        "recordings": {part.name: len(part.examples) for part in data.recordings},
        "recorded": {part.name: len(part.examples) for part in data.recorded},
    }


def _pools(settings: SpokenTextSettings, environ: Mapping[str, str]) -> dict[str, Pool]:
    place = Path(environ[ENVIRONMENT])
    found: dict[str, Pool] = {}
    problems: list[Problem] = []
    for name in settings.tasks:
        try:
            task = find_task(name, "data.tasks")
            splits = {split: load_split(task, split, data_dir=place) for split in task.data.splits}
        except DataError as error:
            problems += error.problems
            continue
        other = frozenset(spoken_form(e.text) for split, part in splits.items() if split != "train" for e in part)
        if "train" in splits:
            found[name] = Pool([e.text for e in splits["train"]], other)
        else:
            problems.append(Problem(f"task {name!r} has no train split to take texts from", field="data.tasks"))
    if settings.books and settings.novel_share:
        files = sorted((place / "text" / "gutenberg").rglob("*.txt"))
        if not files:
            problems.append(Problem("holds no .txt file", place / "text" / "gutenberg", hint="data.books=0"))
        drawn = numpy_stream(settings.seed, "books").permutation(len(files))[: settings.books]
        found["novels"] = Pool(list(_book_sentences([files[i] for i in sorted(drawn.tolist())])))
    if problems:
        raise DataError(problems)
    return found


def _drawn(pools: Mapping[str, Pool], settings: SpokenTextSettings) -> dict[str, list[str]]:
    """Spoken forms of each source in an order that the seed draws, as many as may be needed; none stands twice."""
    least, most = settings.words
    wanted = settings.limit.train + settings.limit.validation + settings.limit.test
    seen: set[str] = set()
    found: dict[str, list[str]] = {}
    for name, pool in pools.items():
        found[name] = []
        for row in numpy_stream(settings.seed, "texts", name).permutation(len(pool.texts)).tolist():
            text = spoken_form(pool.texts[row])
            if text in seen or text in pool.other or not text or not least <= text.count(" ") + 1 <= most:
                continue
            seen.add(text)
            found[name].append(text)
            if len(found[name]) == wanted:
                break
    return found


def _book_sentences(files: Sequence[Path]) -> Iterator[str]:
    for path in files:
        with open(path, encoding="utf-8") as file:
            yield from sentences(file)


def _dealt(
    pools: Mapping[str, Sequence[str]], settings: SpokenTextSettings
) -> tuple[dict[str, list[str]], dict[str, dict[str, int]]]:
    """Texts of each split; test and validation are served first, all sources in turn."""
    left = {name: list(texts) for name, texts in pools.items()}
    dealt: dict[str, list[str]] = {}
    counts: dict[str, dict[str, int]] = {name: {} for name in left}
    few = sum(map(len, left.values()))
    asked = settings.limit.train + settings.limit.validation + settings.limit.test
    for split in reversed(SPLITS):
        wanted: int = getattr(settings.limit, split)
        if split != "train" and few < asked:  # most of what there is belongs to train
            wanted = min(wanted, max(1, few // 10))
        taken = _taken({name: len(texts) for name, texts in left.items()}, wanted, settings.novel_share)
        dealt[split] = []
        for name, count in taken.items():
            dealt[split] += left[name][:count]
            left[name] = left[name][count:]
            counts[name][split] = count
        if not dealt[split]:
            what = f"found {few} texts of {settings.words[0]} to {settings.words[1]} words: too few for three splits"
            raise DataError(Problem(what, field="data"))
    return {split: dealt[split] for split in SPLITS}, counts


def _taken(there: Mapping[str, int], wanted: int, novel_share: float) -> dict[str, int]:
    """How many texts of each source: novels have their share, the others share evenly as far as they last."""
    taken = dict.fromkeys(there, 0)
    if "novels" in there:
        share = novel_share if len(there) > 1 else 1.0
        taken["novels"] = min(there["novels"], round(wanted * share))
    rest = wanted - taken.get("novels", 0)
    names = sorted((name for name in there if name != "novels"), key=lambda name: there[name])
    for number, name in enumerate(names):
        taken[name] = min(there[name], -(-rest // (len(names) - number)))
        rest -= taken[name]
    return taken
