"""The folder of a trained small encoder: its weights, its head over word pieces, and what is known of it.

    encoder.json           sizes, the tokenizer of the pieces, weights of the search for words, facts of the training
    model.safetensors      weights of both, and the pieces' token ids
    language.safetensors   the n-gram language model of the search, if there is one
    manifest.json          sha256 of each file

Not here: training, vectors for a language model (`soft_words`), the search (`word_search`).

Example:
    >>> loaded = load_encoder(Path("out/runs/small-seed1-0123456789/encoder"))      # doctest: +SKIP
    >>> loaded.transcribe(examples)                                                 # doctest: +SKIP
    ['turn the light off']
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tunelet.base.errors import BaseModelError, DamagedFileError, DataError, Problem
from tunelet.base.files import publish_folder, read_json, verify_folder, write_json
from tunelet.data.audio import RATE, read_audio
from tunelet.data.noise import Samples
from tunelet.data.understanding.task import UnderstandingExample
from tunelet.models.evaluating import evaluating
from tunelet.models.ngram.model import NGram
from tunelet.models.speech.fbank import FRAME
from tunelet.models.speech.protocol import SpeechFeatures, weights_digest
from tunelet.models.speech.small import SmallSettings, SmallSpeechEncoder
from tunelet.models.speech.soft_pieces import SoftPieces
from tunelet.models.speech.word_search import SearchWeights, WordSearch

NAME, WEIGHTS, LANGUAGE = "encoder.json", "model.safetensors", "language.safetensors"
_FORMAT = 1
#: seconds of a batch that is heard together, padding included
_BATCH = 60.0


@dataclass(frozen=True, eq=False)
class LoadedEncoder:
    """A trained encoder.

    Attributes:
        encoder: with its head over characters.
        pieces: its head over word pieces, or None.
        tokenizer: sha256 of the tokenizer that the pieces are of; "" without them.
        facts: of its training.
        folder: where it was read from, or None.
        search: for words with a language model, or None.
    """

    encoder: SmallSpeechEncoder
    pieces: SoftPieces | None = None
    tokenizer: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    search: WordSearch | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 of what it computes."""
        said = {"encoder": self.encoder.fingerprint(), "tokenizer": self.tokenizer}
        if self.search is not None:
            said["search"] = self.search.fingerprint
        return weights_digest(self.pieces if self.pieces is not None else torch.nn.Module(), said)

    def transcribe(self, examples: Sequence[UnderstandingExample]) -> list[str]:
        """What is heard in each example's sound, perhaps nothing: the words of the search, if it has one.

        Raises:
            DataError: an example has no sound, or it cannot be read.
            MissingExtraError: the library of the search is not installed.
        """
        texts = [""] * len(examples)
        for rows, heard in self.heard(examples):
            for row, text in zip(rows, self.written(heard), strict=True):
                texts[row] = text
        return texts

    def written(self, heard: SpeechFeatures) -> list[str]:
        """The same for frames of the encoder."""
        with evaluating(self.encoder):
            if self.search is not None:
                return self.search.texts(self.encoder.character_scores(heard))
            return [" ".join(text.split()) for text in self.encoder.transcribe(heard)]

    def heard(self, examples: Sequence[UnderstandingExample]) -> Iterator[tuple[list[int], SpeechFeatures]]:
        """Places of some examples and the encoder's frames of them, until all are done; in evaluation mode."""
        device = next(self.encoder.parameters()).device
        clips = clips_of(examples)
        for rows in _batches([len(clip) for clip in clips]):
            lengths = torch.tensor([len(clips[row]) for row in rows])
            waveforms = torch.zeros(len(rows), int(lengths.max()))
            for place, row in enumerate(rows):
                waveforms[place, : len(clips[row])] = torch.from_numpy(clips[row])
            with evaluating(self.encoder):
                found = self.encoder(waveforms.to(device), lengths.to(device))
            yield rows, found


def save_encoder(folder: Path, loaded: LoadedEncoder) -> None:
    """Write an encoder, atomically."""
    tensors = {f"encoder.{name}": tensor for name, tensor in loaded.encoder.state_dict().items()}
    stated: dict[str, Any] = {
        "format": _FORMAT,
        "settings": dataclasses.asdict(loaded.encoder.settings),
        "pieces": None,
        "search": None if loaded.search is None else dataclasses.asdict(loaded.search.weights),
        "facts": dict(loaded.facts),
    }
    if loaded.pieces is not None:
        tensors |= {f"pieces.{name}": tensor for name, tensor in loaded.pieces.state_dict().items()}
        stated["pieces"] = {"layers": len(loaded.pieces.layers), "tokenizer": loaded.tokenizer}
    with publish_folder(folder) as part:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, part / WEIGHTS)
        if loaded.search is not None:
            loaded.search.language.save(part / LANGUAGE)
        write_json(part / NAME, stated)


def load_encoder(folder: Path) -> LoadedEncoder:
    """The encoder in a folder, in evaluation mode.

    Raises:
        BaseModelError: there is none, or its parts do not fit together.
        DamagedFileError: a file is not what the manifest says.
    """
    folder = Path(folder)
    if not (folder / NAME).is_file():
        hint = "the system `speech-encoder` leaves one as `encoder` in the folder of a run"
        raise BaseModelError(Problem(f"holds no speech encoder: there is no {NAME}", folder, hint=hint))
    verify_folder(folder)
    try:
        stated = read_json(folder / NAME)
        if stated["format"] != _FORMAT:
            raise BaseModelError(Problem(f"format {stated['format']!r}, expected {_FORMAT}", folder / NAME))
        tensors = load_file(folder / WEIGHTS)
        settings = SmallSettings(**stated["settings"])
        encoder, pieces = SmallSpeechEncoder(settings), None
        if stated["pieces"] is not None:
            ids = tensors["pieces.ids"].tolist()
            pieces = SoftPieces(settings, ids, layers=int(stated["pieces"]["layers"]))
            pieces.load_state_dict(_below(tensors, "pieces."))
            pieces.eval()
        encoder.load_state_dict(_below(tensors, "encoder."))
        tokenizer = stated["pieces"]["tokenizer"] if stated["pieces"] else ""
        search = None
        if stated.get("search") is not None:  # folders of before there was a search have no such key
            search = WordSearch(NGram.load(folder / LANGUAGE), SearchWeights(**stated["search"]))
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise BaseModelError(Problem(f"is not a speech encoder of ours: {error}", folder / NAME)) from None
    return LoadedEncoder(encoder.eval(), pieces, tokenizer, stated["facts"], folder, search)


def clips_of(examples: Sequence[UnderstandingExample]) -> list[Samples]:
    """The samples of each example at 16 kHz, cut to its `seconds`; a file is read once for neighbours that share it.

    Raises:
        DataError: all that have no sound or one that cannot be read.
    """
    clips: list[Samples] = []
    problems: list[Problem] = []
    last: tuple[Path, Samples] | None = None
    for example in examples:
        if example.audio is None:
            problems.append(Problem("has no sound", f"example {example.id!r}", hint="speak it: `speak_examples`"))
            continue
        try:
            if last is None or last[0] != example.audio:
                last = example.audio, read_audio(example.audio).samples
            samples = last[1]
            if example.seconds is not None:
                start, end = (round(second * RATE) for second in example.seconds)
                samples = samples[start:end]
        except (DataError, DamagedFileError) as error:
            problems += getattr(error, "problems", (Problem(str(error)),))
            continue
        if not len(samples):
            what = f"the sound ends before second {example.seconds[0]:g}" if example.seconds else "holds no sound"
            problems.append(Problem(what, example.audio, field=f"example {example.id!r}"))
        # a sound that is shorter than a frame is followed by silence
        clips.append(np.pad(samples, (0, max(0, FRAME - len(samples)))))
    if problems:
        raise DataError(problems)
    return clips


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places in batches of like length, the longest first."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > _BATCH * RATE:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
