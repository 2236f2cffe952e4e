"""SALMONN as a model of `understand`: opened from a folder of its published files, tuned in part, stored, read again.

The folder holds `whisper` and `vicuna` (folders of transformers), `beats.pt` and `salmonn.pth` or
`salmonn.safetensors`; any may be a link, and the last two may be missing: SALMONN that hears speech only, and new parts
between. What a run leaves is one file of all parts that are not frozen pieces, under their published names, and says
which pieces it was tuned over. Not here: the model (`models.speech.salmonn`), prompts (`models.in_context`).

Example:
    >>> opened = open_salmonn(settings, TuningSettings(r=8, alpha=32), 1, Path("cache"))        # doctest: +SKIP
    >>> opened.model.answer(questions)[0].labels                                                # doctest: +SKIP
    ('joy',)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tunelet.base.errors import AdapterError, BaseModelError, Problem
from tunelet.base.files import digest, publish_folder, read_json, sha256_bytes, verify_folder, write_json
from tunelet.data.understanding.task import UnderstandingExample
from tunelet.models.evaluating import evaluating
from tunelet.models.in_context.hearing import HearingModel
from tunelet.models.in_context.tokens import SALMONN
from tunelet.models.speech.features_cache import FeaturesCache
from tunelet.models.speech.prompts import SpeechTextBatch
from tunelet.models.speech.protocol import RATE
from tunelet.models.speech.salmonn import SHORTEST, SalmonnFiles, load_salmonn, salmonn_audio, save_parts
from tunelet.models.speech.trained import train_parts
from tunelet.systems.understand_settings import UnderstandModelSettings
from tunelet.tuning import full
from tunelet.tuning.method import Attached
from tunelet.tuning.settings import TuningSettings
from tunelet.tuning.tuned import Tuned

PARTS, ABOUT = "parts.safetensors", "salmonn.json"
#: of a large file, so much of its beginning and of its end is read to know it again
_ENDS = 1 << 20


@dataclass(frozen=True)
class OpenedSalmonn:
    """SALMONN, ready.

    Attributes:
        model: reads and hears.
        prepare: lets its parts train.
        save: stores them.
        places: of the prompt that the sound of a query takes.
    """

    model: HearingModel
    prepare: Callable[[TuningSettings, int], Tuned]
    save: Callable[[Path, Tuned], None]
    places: Callable[[UnderstandingExample], int]


def salmonn_files(folder: Path) -> SalmonnFiles:
    """The published files in a folder.

    Raises:
        BaseModelError: Whisper or Vicuna is not there.
    """
    folder = folder.expanduser()
    missing = [name for name in ("whisper", "vicuna") if not (folder / name).is_dir()]
    if missing:
        hint = "it needs the folders `whisper` and `vicuna`, and may hold `beats.pt` and `salmonn.pth`; links will do"
        raise BaseModelError([Problem(f"no folder {name!r} here", folder, field="model.folder", hint=hint)
                              for name in missing])  # fmt: skip
    checkpoints = [folder / name for name in ("salmonn.safetensors", "salmonn.pth") if (folder / name).is_file()]
    beats = folder / "beats.pt"
    return SalmonnFiles(
        folder / "whisper", beats if beats.is_file() else None, folder / "vicuna", next(iter(checkpoints), None)
    )


def salmonn_fingerprint(settings: UnderstandModelSettings) -> str:
    """Hash of names, sizes, and both ends of all files: reading some thirty gigabytes whole takes minutes."""
    folder = Path(str(settings.folder)).expanduser()
    files = salmonn_files(folder)
    found = [path for path in (files.beats, files.checkpoint) if path is not None]
    for inner in (files.whisper, files.vicuna):
        found += sorted(path for path in inner.rglob("*") if path.is_file())
    return digest({path.relative_to(folder).as_posix(): _known_by(path) for path in found})


def open_salmonn(
    settings: UnderstandModelSettings,
    tuning: TuningSettings,
    seed: int,
    cache: Path | None,
    *,
    checkpoint: Path | None = None,
) -> OpenedSalmonn:
    """Read the files and put them together.

    Args:
        tuning: alpha and dropout of LoRA; its rank and targets are the checkpoint's, where there is one.
        cache: folder for what frozen encoders give.
        checkpoint: in place of the folder's: what a run left.

    Raises:
        BaseModelError: a file is missing or cannot be read.
    """
    files = salmonn_files(Path(str(settings.folder)))
    if checkpoint is not None:
        files = replace(files, checkpoint=checkpoint)
    loaded = load_salmonn(files, lora_alpha=tuning.alpha, lora_dropout=tuning.dropout, seed=seed)
    # encoders that train give something else after every step
    frozen = settings.parts != "paper"
    features = FeaturesCache(cache / "features", loaded.model.encoders) if cache is not None and frozen else None
    model = HearingModel(loaded.model, loaded.tokenizer, frame=SALMONN, cache=features, shortest=SHORTEST)

    def prepare(wanted: TuningSettings, steps: int) -> Tuned:
        train_parts(loaded.model, settings.parts)
        if wanted.gradient_checkpointing:
            loaded.model.checkpointing()
        # what trains is chosen above; the method adds nothing
        return Tuned(wanted.model_copy(update={"method": "full"}), full.METHOD, Attached(model))

    def save(folder: Path, tuned: Tuned) -> None:
        about = {
            "format": 1,
            "system": "understand",
            "folder": os.path.abspath(Path(str(settings.folder)).expanduser()),
            "fingerprint": salmonn_fingerprint(settings),
            "settings": settings.model_dump(mode="json"),
            "tuning": wanted_lora(tuning),
        }
        with publish_folder(folder) as part:
            save_parts(loaded.model, part / PARTS)
            write_json(part / ABOUT, about)

    known: list[int] = []

    def places(query: UnderstandingExample) -> int:
        # Whisper's whole window counts, so every sound becomes as many vectors
        if not known:
            with evaluating(loaded.model), loaded.model.precision():
                silence = SpeechTextBatch((), *salmonn_audio([np.zeros(RATE, np.float32)]))
                known.append(len(loaded.model.speech(silence)[0]))
        return known[0]

    return OpenedSalmonn(model, prepare, save, places)


def load_tuned(folder: Path, *, pieces: str | None = None, cache: Path | None = None) -> HearingModel:
    """The model of a folder that a run left.

    Args:
        pieces: the folder of published files, if it is not where it was.
        cache: as for `open_salmonn`.

    Raises:
        AdapterError: the folder is none of ours, or belongs to other files.
        DamagedFileError: a file of it was changed.
    """
    if not (folder / ABOUT).is_file():
        raise AdapterError(Problem(f"no {ABOUT} in this folder", folder, hint="give the adapter/ folder of a run"))
    verify_folder(folder)
    about = read_json(folder / ABOUT)
    settings = UnderstandModelSettings.model_validate(about["settings"])
    settings = settings.model_copy(update={"folder": pieces or about["folder"]})
    found = salmonn_fingerprint(settings)
    if found != about["fingerprint"]:
        what = f"was tuned over files with the hash {about['fingerprint'][:16]}, {settings.folder} has {found[:16]}"
        raise AdapterError(Problem(what, folder / ABOUT, field="fingerprint", hint="say where they are"))
    tuning = TuningSettings.model_validate(about["tuning"])
    opened = open_salmonn(settings, tuning, 0, cache, checkpoint=folder / PARTS)
    return opened.model


def wanted_lora(tuning: TuningSettings) -> dict[str, Any]:
    """What of the tuning settings the model needs to be read again."""
    return {"r": tuning.r, "alpha": tuning.alpha, "dropout": tuning.dropout}


def _known_by(path: Path) -> list[Any]:
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(_ENDS)
        file.seek(max(0, size - _ENDS))
        tail = file.read(_ENDS)
    return [size, sha256_bytes(head), sha256_bytes(tail)]
