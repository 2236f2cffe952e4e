"""The sound of a recipe's texts: all of a split, spoken once and kept, or a few for a forecast. Not here: the texts.

Example:
    >>> clips = spoken(data, "validation", Path("cache"), observer)         # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tunelet.data.spoken_clips import Clips, ClipsMade, joined, read_clips, speak_clips
from tunelet.systems.speech_encoder_data import SpeechData
from tunelet.systems.speech_encoder_recordings import RECORDED
from tunelet.training.events import Note, Observer

#: clips of each split that a forecast speaks
_SAMPLE = 64


def spoken(
    data: SpeechData, split: str, cache: Path, observer: Observer, interrupted: Callable[[], bool] = lambda: False
) -> Clips:
    """All clips of a split, recordings among them in train; what is missing in `cache` is spoken and told of.

    The split `RECORDED` has recordings alone.
    """
    parts = {"train": data.recordings, RECORDED: data.recorded}.get(split, ())
    read = [read_clips(part.examples, part.texts, cache, interrupted=interrupted) for part in parts]
    if split == RECORDED:
        return joined(read)
    read = [clips.only([*range(len(clips))] * part.times) for clips, part in zip(read, parts, strict=True)]
    told = [0]

    def tell(event: ClipsMade) -> None:
        share = 10 * event.done // event.total
        if event.made and share > told[0]:
            told[0] = share
            observer(Note(f"speaking {split}: {event.done:,} of {event.total:,} clips"))

    workers = data.settings.workers
    clips = speak_clips(data.utterances[split], cache, workers=workers, observer=tell, interrupted=interrupted)
    return joined([clips, *read]) if read else clips


def sample(data: SpeechData, split: str, cache: Path) -> Clips:
    """A few clips, evenly from all texts of a split."""
    whole = data.utterances[split]
    few = whole[:: max(1, len(whole) // _SAMPLE)][:_SAMPLE]
    return speak_clips(few, cache, workers=data.settings.workers)
