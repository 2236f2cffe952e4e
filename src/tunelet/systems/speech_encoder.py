"""System `speech-encoder`: a small encoder of speech learns to write down spoken text, by CTC, on a few cores.

It only chooses parts: texts -> voices -> sound -> the small encoder and its heads -> the loop -> the encoder's folder
-> word errors on voices that were never heard. The folder gives `understand` its ears (`models.speech.soft_words`). Not
here: the sweep over runs and the report (`systems.sweep`), the recipe's schema (`systems.speech_encoder_recipe`).

The numbers of a run come from its folder, loaded again; the test voices are heard once, after the best checkpoint was
chosen on the validation voices.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunelet.base.errors import BaseModelError, DataError, Problem
from tunelet.base.files import digest, read_json, write_json
from tunelet.data.places import ENVIRONMENT
from tunelet.data.records import SPLITS
from tunelet.data.spoken_clips import Clips
from tunelet.data.token_cache import tokenizer_sha256
from tunelet.evaluation.transcripts import WordErrors
from tunelet.models.bases import Base, load_base
from tunelet.models.settings import ModelSettings
from tunelet.models.speech.encoder_folder import LoadedEncoder, load_encoder, save_encoder
from tunelet.systems import load_recipe, sweep
from tunelet.systems.alone import Alone, now
from tunelet.systems.recipes import LoadedRecipe, PlannedRun
from tunelet.systems.settling import settled
from tunelet.systems.speech_encoder_alignment import Sentences, align, nearness
from tunelet.systems.speech_encoder_clips import sample, spoken
from tunelet.systems.speech_encoder_data import SpeechData, facts
from tunelet.systems.speech_encoder_objective import HearingObjective, Learner, frames_of
from tunelet.systems.speech_encoder_recipe import load_data, search_settings, sections
from tunelet.systems.speech_encoder_recordings import RECORDED
from tunelet.systems.speech_encoder_search import make_search, searched
from tunelet.systems.speech_encoder_training import build_loop, fitting, forecast, objective_of, split_metrics
from tunelet.systems.training_run import cost_of, longest_batch, memory_of, opening, train_to_end
from tunelet.training.estimate import Estimate
from tunelet.training.events import Note, Observer, ignore
from tunelet.training.tracking import open_trackers
from tunelet.tuning.trainable import trainable_table


@dataclass
class Context(Alone):
    """What the runs of a recipe hear; spoken when a run first needs it.

    Attributes:
        data: texts, voices, recordings.
        cache: folder of the clips.
        observer: told how far the speaking is.
    """

    STATES = ("state", "alignment/state")

    data: SpeechData
    cache: Path
    observer: Observer = ignore
    _bases: dict[str, Base] = field(default_factory=dict)
    _clips: dict[str, Clips] = field(default_factory=dict)
    _held: list[Any] = field(default_factory=list)

    def run_hash(self, run: PlannedRun) -> str:
        """See `systems.sweep.Context`."""
        base = self._base(run)
        return run.hash(
            system="speech-encoder",
            data=self.data.sha256,
            base="" if base is None else tokenizer_sha256(base.tokenizer),
        )

    def data_facts(self) -> dict[str, Any]:
        """See `systems.sweep.Context`."""
        return {**facts(self.data), "sha256": self.data.sha256}

    def audit(self) -> dict[str, Any]:
        """See `systems.sweep.Context`."""
        messages = ["all speech but recordings is by one synthesiser: its voices differ less than people do"]
        messages += [
            f"no recordings of {path}: they are below the folder in {ENVIRONMENT}" for path in self.data.absent
        ]
        return {"findings": [{"severity": "note", "message": message} for message in messages]}

    def objective(self, run: PlannedRun, interrupted: Callable[[], bool] = lambda: False) -> HearingObjective:
        """Loss and evaluation of a run, with its clips."""
        encoder = sections(run)[0]
        if not self._clips:
            splits = (*SPLITS, *((RECORDED,) if self.data.recorded else ()))
            self._clips = {split: spoken(self.data, split, self.cache, self.observer, interrupted) for split in splits}
        clips = {}
        for split, part in self._clips.items():
            rows = fitting(part, encoder)
            if not rows:
                raise DataError(Problem(f"no clip of {split} is long enough for its text", field="data.manner.rate"))
            clips[split] = part.only(rows)
        return objective_of(run, clips, self._base(run))

    def forecast(self, run: PlannedRun) -> Estimate:
        """What a run will cost; see `systems.checking`. A few texts of each split are spoken."""
        encoder = sections(run)[0]
        clips = {split: sample(self.data, split, self.cache) for split in SPLITS}
        clips = {split: part.only(fitting(part, encoder)) for split, part in clips.items()}
        recorded = sum(part.times * len(part.examples) for part in self.data.recordings)
        return forecast(run, objective_of(run, clips, self._base(run)), len(self.data.utterances["train"]) + recorded)

    def execute(
        self,
        run: PlannedRun,
        folder: Path,
        run_hash: str,
        observer: Observer,
        interrupted: Callable[[], bool],
        place: tuple[int, int],
    ) -> dict[str, Any]:
        """Speak what is missing, train, save the encoder, score it as loaded from disk."""
        started = now()
        objective = self.objective(run, interrupted)
        settings = {key: section.model_dump(mode="json") for key, section in run.settings.items()}
        with ExitStack() as closing:
            trackers = open_trackers(sections(run)[3].trackers, run.name, settings, folder)
            closing.callback(trackers.finish)
            loop = build_loop(run, objective, folder, identity=run_hash, trackers=[trackers], interrupted=interrupted)
            table = trainable_table(loop.tuned.model)
            write_json(folder / "trainable.json", table.to_json())
            for event in opening(run, loop, table, place, loop.restore()):
                observer(event)
            train_to_end(loop, run, observer)
        best_step = loop.load_best()
        learner: Any = loop.tuned.model
        base, train = self._base(run), objective.clips["train"]
        sentences = None if base is None else Sentences(base)
        if sentences is not None and sections(run)[1].align_steps:
            asked: dict[str, Any] = {"identity": run_hash, "observer": observer, "interrupted": interrupted}
            align(run, objective, learner, sentences, folder / "alignment", **asked)
        memory = memory_of(loop, longest_batch(frames_of(train), loop.settings.batch))
        told = {
            "run": run.name,
            "hash": run_hash,
            "clips": len(train),
            "seconds": round(train.seconds, 1),
            "base": None if base is None else {"name": base.name, "fingerprint": base.fingerprint},
        }
        tokenizer = "" if base is None else tokenizer_sha256(base.tokenizer)
        search = make_search(search_settings(run), self.data, objective, learner, self.cache, observer)
        made = LoadedEncoder(learner.encoder, learner.pieces, tokenizer, told, search=search)
        save_encoder(folder / "encoder", made)
        resources = cost_of(loop, table, memory, folder / "encoder")
        loaded = load_encoder(folder / "encoder")
        model = Learner(loaded.encoder, loaded.pieces).to(loop.accelerator.device)
        return {
            "name": run.name,
            "group": run.group,
            "method": "full",
            "seed": run.seed,
            "hash": run_hash,
            "base": {"name": "small speech encoder", "fingerprint": loaded.fingerprint},
            "settings": settings,
            "pieces": None if loaded.pieces is None else len(loaded.pieces.ids),
            "heard_seconds": round(train.seconds, 1),
            "best_step": best_step,
            "stopped": loop.stopped,
            "search": None if loaded.search is None else dataclasses.asdict(loaded.search.weights),
            "metrics": {
                split: {
                    **split_metrics(objective, model, split),
                    "searched": searched(objective, model, loaded.search, split),
                }
                for split in objective.clips
                if split != "train"
            },
            "nearness": None if sentences is None else nearness(objective, model, sentences, "test"),
            "resources": resources,
            "started": started,
            "finished": now(),
        }

    def summary(self, result: dict[str, Any]) -> str:
        """See `systems.sweep.Context`."""
        metrics, resources = result["metrics"], result["resources"]
        real = f" real recordings {metrics[RECORDED]['wer']:.1%}," if RECORDED in metrics else ""
        found = metrics["test"]["searched"]
        words = "" if found is None else f" with a language model {WordErrors(**found).rate:.1%},"
        return (
            f"word error rate on unseen voices: validation {metrics['validation']['wer']:.1%} at step "
            f"{result['best_step']}, test {metrics['test']['wer']:.1%} (characters {metrics['test']['cer']:.1%}),"
            f"{words}{real} {resources['train_seconds']:.0f} s, {resources['tokens_per_second']:,.0f} frames/s"
        )

    def _base(self, run: PlannedRun) -> Base | None:
        """The base whose word pieces the head is of."""
        pieces = sections(run)[1]
        if not pieces.weight:
            return None
        if pieces.base not in self._bases:
            self._bases[pieces.base] = load_base(ModelSettings(base=pieces.base))
        return self._bases[pieces.base]


def prepare(data: SpeechData, cache: Path | None, observer: Observer) -> Context:
    """Take in the texts of a recipe and tell what they are."""
    temporary = tempfile.TemporaryDirectory() if cache is None else None
    place = Path(temporary.name) if temporary is not None else cache or Path()
    said = facts(data)
    told = ", ".join(f"{count:,} texts to {split}" for split, count in said["splits"].items())
    observer(Note(f"data: {said['source']['location']} ({data.kind}): {told}"))
    return Context(data, place / "speech", observer, _held=[temporary])


def encoder_stage(
    recipe: LoadedRecipe | str,
    cache: Path,
    observer: Observer = ignore,
    interrupted: Callable[[], bool] = lambda: False,
    *,
    data_dir: Path | None = None,
) -> Path:
    """The encoder's folder of the first run of a recipe: trained if it has not been, resumed if it was begun.

    Args:
        recipe: of `speech-encoder`, or its name.
        cache: folder for the runs of encoders; one below it for each content of texts and recipe.
        data_dir: in the place of ``TUNELET_DATA``.

    Raises:
        BaseModelError: the recipe is of another system.
    """
    loaded = load_recipe(recipe) if isinstance(recipe, str) else recipe
    if loaded.system != "speech-encoder":
        raise BaseModelError(Problem(f"is a recipe of {loaded.system!r}, expected 'speech-encoder'", loaded.name))
    data = load_data(loaded, data_dir)
    key = digest([loaded.tree, data.sha256])[:10]
    out = cache / "speech-encoder" / f"{loaded.name}-{key}"
    this: Any = sys.modules[__name__]
    told: dict[str, Any] = {"out": out, "data_dir": data_dir, "observer": observer, "interrupted": interrupted}
    folder = sweep.run(this, settled(loaded), data, **told)
    first = read_json(folder / "result.json")["runs"][0]
    return folder / str(first["folder"]) / "encoder"
