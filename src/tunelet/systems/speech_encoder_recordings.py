"""Real speech beside what is spoken for a speech encoder: indices of recordings, to train on and held out.

Not here: texts that are spoken (`speech_encoder_data`), the reading of an index (`data.spoken`).

Example:
    >>> read_recordings(settings, {"TUNELET_DATA": "data"}, set(), needed=True)[0][0].name      # doctest: +SKIP
    'speech/fsdd'
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tunelet.base.errors import DataError, Problem
from tunelet.data.places import ENVIRONMENT
from tunelet.data.spoken import SpokenExample, read_spoken
from tunelet.data.spoken_form import spoken_form
from tunelet.systems.speech_encoder_settings import RecordingsSettings

#: the split of real speech that is held out
RECORDED = "recorded"


@dataclass(frozen=True)
class Recordings:
    """Real speech of one index.

    Attributes:
        name: stands for the speakers.
        examples: the recordings.
        texts: their spoken forms.
        times: how often an epoch hears each.
    """

    name: str
    examples: tuple[SpokenExample, ...]
    texts: tuple[str, ...]
    times: int = 1


def read_recordings(
    wanted: Sequence[RecordingsSettings], environ: Mapping[str, str], heard: Collection[str], *, needed: bool
) -> tuple[tuple[Recordings, ...], tuple[Recordings, ...], tuple[str, ...]]:
    """Recordings to train on, those that are held out, and paths that are not there.

    Args:
        environ: where ``TUNELET_DATA`` may stand.
        heard: texts that are held out, and so not trained on.
        needed: whether a relative path that is not there is an error.

    Raises:
        DataError: an index is missing or wrong.
    """
    train_parts, held_out, absent = [], [], []
    for one in wanted:
        place = _place(one, environ)
        if place is not None:
            train, test = (place / "train.jsonl", place / "test.jsonl") if place.is_dir() else (place, None)
            train_parts.append(_recordings(one, train, heard))
            held_out += [] if test is None or not test.is_file() else [_recordings(one, test)]
        elif not needed and not Path(one.path).is_absolute():
            absent.append(one.path)
        else:
            hint = f"relative paths start at {Path.cwd()}, then at the folder in {ENVIRONMENT}"
            raise DataError(Problem("there are no such recordings", one.path, field="data.recordings", hint=hint))
    return tuple(train_parts), tuple(held_out), tuple(absent)


def _place(recordings: RecordingsSettings, environ: Mapping[str, str]) -> Path | None:
    """The file or folder, or None."""
    path = Path(recordings.path).expanduser()
    if not path.exists() and not path.is_absolute() and environ.get(ENVIRONMENT):
        path = Path(environ[ENVIRONMENT]) / path
    return path if path.exists() else None


def _recordings(settings: RecordingsSettings, index: Path, heard: Collection[str] = ()) -> Recordings:
    """What is in an index, but for texts that are heard in held-out splits."""
    if not index.is_file():
        raise DataError(Problem("there is no such file", index, field="data.recordings"))
    found = [(one, spoken_form(one.text or "")) for one in read_spoken(index, text=settings.text)]
    kept = [(replace(one, speaker=settings.path), text) for one, text in found if text and text not in heard]
    if not kept:
        hint = f"{settings.text!r} is the key that is read; `text` in the recipe names another"
        raise DataError(Problem("no recording in it has a text", index, field="data.recordings", hint=hint))
    examples, texts = (tuple(part) for part in zip(*kept, strict=True))
    return Recordings(settings.path, examples, texts, settings.times)
