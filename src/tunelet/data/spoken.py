"""Utterances with their sound files: reads an index in JSON Lines, one utterance a line. Not here: the sound itself.

    {"id": "a-1", "audio": "test/a-1.opus", "text": "IT WAS GOOD FOR ME", "speaker": "0024"}

`audio` is relative to the folder of the index; without `id` it is the id. `text` and `speaker` may be missing, and
other keys are left alone.
`data/speech/speechocean762` is laid out so (``train.jsonl``, ``test.jsonl``); the embedded speech has all its splits in
one ``index.jsonl``, with the key `split`.

Example:
    >>> test = read_spoken(Path("speechocean762/test.jsonl"))           # doctest: +SKIP
    >>> len(test), test[0].speaker                                      # doctest: +SKIP
    (600, '0024')
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from tunelet.base.errors import DataError, Problem
from tunelet.base.registry import unknown_name
from tunelet.data.audio import SUFFIXES
from tunelet.data.formats import json_rows
from tunelet.data.lines import open_bytes, read_lines
from tunelet.data.problems import ProblemLog

#: The parts of the embedded speech.
EMBEDDED_SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class SpokenExample:
    """A recorded utterance.

    Attributes:
        id: unique in its index.
        audio: the sound file.
        text: what was said, as in the index; None where nobody wrote it down.
        speaker: who said it, or None.
        seconds: length as the index has it (`seconds` or `duration`), or None.
    """

    id: str
    audio: Path
    text: str | None = None
    speaker: str | None = None
    seconds: float | None = None


def read_spoken(index: Path, *, split: str | None = None, text: str = "text") -> tuple[SpokenExample, ...]:
    """Every utterance of an index, or those of one split, in order.

    Args:
        split: only rows whose key `split` has this value.
        text: key of what was said.

    Raises:
        DataError: with all problems of the file: rows that are no utterances, ids that stand twice, sound files that
            are not there.
    """
    index = Path(index)
    log = ProblemLog(index)
    found: list[SpokenExample] = []
    lines: dict[str, int] = {}
    splits: dict[str, int] = {}
    with open_bytes(index) as file:
        for row in json_rows(read_lines(file, log), log):
            example = _example(row.values, index.parent, row.line, log, text)
            if example is None:
                continue
            if example.id in lines:
                log.add(f"{example.id[:60]!r} is also the id on line {lines[example.id]}", line=row.line, field="id")
            lines.setdefault(example.id, row.line)
            own = row.values.get("split")
            splits[str(own)] = splits.get(str(own), 0) + 1
            if split is None or own == split:
                found.append(example)
    log.raise_if_any()
    if not found:
        what = "no utterance in it" if split is None else unknown_name("split", split, splits)
        raise DataError(Problem(what, index))
    return tuple(found)


def embedded_speech(split: str) -> tuple[SpokenExample, ...]:
    """The embedded sentences of a split, see its datasheet; sentences and voices of the splits are disjoint."""
    return read_spoken(embedded_folder() / "index.jsonl", split=split)


def embedded_text() -> tuple[str, ...]:
    """The embedded sentences without sound, in the style of the spoken ones: text to adapt a language model on."""
    text = (embedded_folder() / "text.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.split("\n") if line)


def embedded_folder() -> Path:
    """The folder of the embedded speech."""
    return Path(str(files("tunelet") / "embedded" / "speech"))


def from_paths(paths: Iterable[Path]) -> tuple[SpokenExample, ...]:
    """Utterances of sound files that stand in no index; ids are the names without ending, or the paths where two agree.

    Raises:
        DataError: a file is not there.
    """
    paths = [Path(path) for path in paths]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(Problem("there is no such sound file", path) for path in missing)
    stems = [path.stem for path in paths]
    return tuple(
        SpokenExample(stem if stems.count(stem) == 1 else str(path), path)
        for stem, path in zip(stems, paths, strict=True)
    )


def is_sound(path: Path) -> bool:
    """Whether the name of a file is that of sound."""
    return path.suffix.lower() in SUFFIXES


def _example(values: object, folder: Path, line: int, log: ProblemLog, text: str) -> SpokenExample | None:
    if not isinstance(values, dict):
        log.add("expected an object", line=line)
        return None
    before = len(log)
    for key, needed in (("id", False), ("audio", True), (text, False), ("speaker", False)):
        value = values.get(key)
        if value is None and not needed:
            continue
        if not isinstance(value, str):
            log.add("expected a text" if key in values else "is missing", line=line, field=key)
        elif (needed or key == "id") and not value.strip():
            log.add("is empty", line=line, field=key)
    seconds = values.get("seconds", values.get("duration"))
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float)):
        log.add(f"expected a number of seconds, found {seconds!r}", line=line, field="seconds")
    if len(log) > before:
        return None
    audio = folder / values["audio"]
    if not audio.is_file():
        hint = "paths are relative to the folder of this file"
        log.add(f"there is no such sound file: {values['audio']}", line=line, field="audio", hint=hint)
        return None
    length = None if seconds is None else float(seconds)
    return SpokenExample(str(values.get("id", values["audio"])), audio, values.get(text), values.get("speaker"), length)
