"""Who speaks in an utterance: by a rule that a recipe names. Not here: recognising voices.

    field        what the file says: the field ``speaker``, or the table ``utt2spk``; unknown where it says nothing
    librispeech  the first part of an id of LibriSpeech: ``1272-128104-0000`` is by ``1272``
    none         nobody is known

Example:
    >>> librispeech_speaker("1272-128104-0000"), librispeech_speaker("my-recording")
    ('1272', None)
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal

from tunelet.data.nbest import NBest
from tunelet.data.problems import Report

SpeakerRule = Literal["field", "librispeech", "none"]

_LIBRISPEECH = re.compile(r"([0-9]+)-[0-9]+-[0-9]+")


def librispeech_speaker(identity: str) -> str | None:
    """The speaker of an utterance of LibriSpeech, or None where the id is not like theirs."""
    match = _LIBRISPEECH.fullmatch(identity)
    return match[1] if match else None


def with_speaker(one: NBest, rule: SpeakerRule, report: Report, line: int | None = None) -> NBest:
    """The list with the speaker that the rule gives; an id that the rule does not fit is reported."""
    if rule == "field":
        return one
    if rule == "none":
        return replace(one, speaker=None)
    speaker = librispeech_speaker(one.id)
    if speaker is None:
        report.add(
            f"{one.id[:60]!r} is not like an id of LibriSpeech, such as 1272-128104-0000",
            line=line,
            field="id",
            hint="speaker: field takes the speaker from the file, speaker: none does without",
        )
    return replace(one, speaker=speaker)
