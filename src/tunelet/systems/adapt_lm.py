"""System `adapt-lm`: a base becomes a masked or causal language model of plain text, by full or low-rank tuning.

It only chooses parts: text -> sentences -> tokens -> base -> what trains -> the loop -> the adapter folder -> scores.
The folder gives a scorer for `rescore` (`tuning.language_folder`). Not here: the sweep over runs and the report
(`systems.sweep`), the recipe's schema (`systems.adapt_lm_recipe`).

The numbers of a run come from its adapter folder, loaded again in fp32; the test books are read once, after the best
checkpoint was chosen on the validation books.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunelet.base.files import write_json
from tunelet.data.language_text import TokenisedText, tokenise_sentences
from tunelet.data.plain_text import HeldOut, hold_out
from tunelet.data.records import SPLITS
from tunelet.models.bases import Base, load_base
from tunelet.models.scoring.scorer import encode
from tunelet.models.settings import ModelSettings
from tunelet.models.vocabulary import used_ids
from tunelet.systems.adapt_lm_recipe import AdaptLmData, sections
from tunelet.systems.adapt_lm_training import build_loop, forecast, split_metrics
from tunelet.systems.alone import Alone, now
from tunelet.systems.recipes import PlannedRun
from tunelet.systems.training_run import cost_of, longest_batch, memory_of, opening, train_to_end
from tunelet.training.estimate import Estimate
from tunelet.training.events import Note, Observer
from tunelet.training.language_objective import LanguageObjective
from tunelet.training.tracking import open_trackers
from tunelet.tuning.language_folder import load_language_model, save_language_model
from tunelet.tuning.trainable import trainable_table


@dataclass
class Context(Alone):
    """Text of a recipe, parted; bases and tokens, made once.

    Attributes:
        data: what the recipe reads.
        held_out: its splits.
        cache: folder for sentences and tokens.
    """

    data: AdaptLmData
    held_out: HeldOut
    cache: Path
    _bases: dict[ModelSettings, Base] = field(default_factory=dict)
    _tokens: dict[ModelSettings, dict[str, TokenisedText]] = field(default_factory=dict)
    _held: list[Any] = field(default_factory=list)

    def run_hash(self, run: PlannedRun) -> str:
        """See `systems.sweep.Context`."""
        lists = self.data.sha256(sections(run)[1])
        base = self.base(run).fingerprint
        return run.hash(system="adapt-lm", data=self.held_out.sha256, base=base, lists=lists)

    def data_facts(self) -> dict[str, Any]:
        """See `systems.sweep.Context`."""
        parts = self.held_out.parts
        return {
            "source": {"kind": self.data.text.kind, "location": self.data.text.location},
            "sha256": self.held_out.sha256,
            "task": "plain text",
            "unit": self.held_out.unit,
            "units": {split: part.units for split, part in parts.items()},
            "splits": {split: part.sentences for split, part in parts.items()},
            "words": {split: part.words for split, part in parts.items()},
        }

    def audit(self) -> dict[str, Any]:
        """See `systems.sweep.Context`."""
        findings = []
        for split, count in self.held_out.repeated.items():
            all_of_it = self.held_out.parts[split].sentences
            if count:
                share = f"{count:,} of {all_of_it:,} sentences ({count / all_of_it:.1%})"
                findings.append({"severity": "note", "message": f"{share} of {split} stand in train, too"})
        if self.held_out.unit == "passage":
            few = f"too few files for whole books ({len(self.data.text.files)}): passages are held out of them"
            findings.append({"severity": "warning", "message": few})
        return {"findings": findings}

    def base(self, run: PlannedRun) -> Base:
        """The base of a run."""
        settings = sections(run)[0]
        if settings not in self._bases:
            self._bases[settings] = load_base(settings)
        return self._bases[settings]

    def objective(self, run: PlannedRun) -> LanguageObjective:
        """Loss and evaluation of a run, with its tokens."""
        model, language, _, training = sections(run)
        base = self.base(run)
        if model not in self._tokens:
            self._tokens[model] = {
                split: tokenise_sentences(part.file, base.tokenizer, model.max_length, self.cache)
                for split, part in self.held_out.parts.items()
            }
        splits = self._tokens[model]
        kept = self._kept(run, splits["train"]) if language.vocabulary == "cut" else None
        size = training.batch.evaluation_size
        return LanguageObjective(
            language.kind, splits, base.tokenizer, run.seed, kept, share=language.mask_share, evaluation_size=size
        )

    def forecast(self, run: PlannedRun) -> Estimate:
        """What a run will cost; see `systems.checking`."""
        return forecast(run, self.objective(run), self.base(run))

    def execute(
        self,
        run: PlannedRun,
        folder: Path,
        run_hash: str,
        observer: Observer,
        interrupted: Callable[[], bool],
        place: tuple[int, int],
    ) -> dict[str, Any]:
        """Train, save the adapter, evaluate it as loaded from disk; returns what run.json holds."""
        started = now()
        objective, base = self.objective(run), self.base(run)
        settings = {key: section.model_dump(mode="json") for key, section in run.settings.items()}
        with ExitStack() as closing:
            trackers = open_trackers(sections(run)[3].trackers, run.name, settings, folder)
            closing.callback(trackers.finish)
            loop = build_loop(
                run, objective, base, folder, identity=run_hash, trackers=[trackers], interrupted=interrupted
            )
            table = trainable_table(loop.tuned.model)
            write_json(folder / "trainable.json", table.to_json())
            for event in opening(run, loop, table, place, loop.restore()):
                observer(event)
            train_to_end(loop, run, observer)
        best_step = loop.load_best()
        memory = memory_of(loop, longest_batch(objective.splits["train"].lengths, loop.settings.batch))
        save_language_model(folder / "adapter", loop.tuned, base, objective.kind, objective.kept)
        resources = cost_of(loop, table, memory, folder / "adapter")
        return {
            "name": run.name,
            "group": run.group,
            "method": sections(run)[2].method,
            "seed": run.seed,
            "hash": run_hash,
            "base": {"name": base.name, "fingerprint": base.fingerprint},
            "settings": settings,
            "kept": None if objective.kept is None else len(objective.kept),
            "best_step": best_step,
            "stopped": loop.stopped,
            "metrics": self._evaluate(objective, folder, loop.accelerator.device),
            "resources": resources,
            "started": started,
            "finished": now(),
        }

    def summary(self, result: dict[str, Any]) -> str:
        """See `systems.sweep.Context`."""
        metrics, resources = result["metrics"], result["resources"]
        return (
            f"validation loss {metrics['validation']['loss']:.4f} at step {result['best_step']}, test loss "
            f"{metrics['test']['loss']:.4f} (perplexity {metrics['test']['perplexity']:.2f}), "
            f"{resources['train_seconds']:.0f} s, {resources['tokens_per_second']:,.0f} tokens/s"
        )

    def _kept(self, run: PlannedRun, train: TokenisedText) -> NDArray[np.int64]:
        """Token ids to which the vocabulary of a run is cut."""
        language, tokenizer = sections(run)[1], self.base(run).tokenizer
        found = encode(self.data.texts(language), tokenizer, sys.maxsize, "error", special=False)
        always = np.unique(np.concatenate([np.array(tokenizer.all_special_ids, dtype=np.int64), *found.ids]))
        return used_ids([train.ids], len(tokenizer), minimum=language.minimum_count, always=always.tolist())

    def _evaluate(self, objective: LanguageObjective, folder: Path, device: Any) -> dict[str, Any]:
        """Scores of the adapter as it is loaded from disk."""
        model = load_language_model(folder / "adapter").model.to(device)
        parts = self.held_out.parts
        return {split: split_metrics(objective, model, split, parts[split]) for split in SPLITS[1:]}


def prepare(data: AdaptLmData, cache: Path | None, observer: Observer) -> Context:
    """Take in the text of a recipe and tell what is odd in it."""
    temporary = tempfile.TemporaryDirectory() if cache is None else None
    place = Path(temporary.name) if temporary is not None else cache or Path()
    held_out = hold_out(data.text, data.settings, place)
    told = ", ".join(
        f"{part.words:,} words in {part.sentences:,} sentences of {part.units:,} {held_out.unit}(s) to {split}"
        for split, part in held_out.parts.items()
    )
    observer(Note(f"data: {data.text.location} ({data.text.kind}): {told}"))
    context = Context(data, held_out, place, _held=[temporary])
    for finding in context.audit()["findings"]:
        observer(Note(f"audit, {finding['severity']}: {finding['message']}"))
    return context
