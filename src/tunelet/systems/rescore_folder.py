"""The folder that rescores anything: scorer, n-gram model, weights, normalisation; what a run leaves as its `adapter`.

    rescorer.json          what takes part, with which weights
    ngram.safetensors      where an n-gram model takes part
    scorer/                where a network does: an adapter folder of its own, which PEFT loads, too

Not here: training, files of lists (`systems.rescore_files`).

Example:
    >>> rescorer = load(Path("out/runs/lora-seed1-0123456789/adapter"))         # doctest: +SKIP
    >>> rescorer.rescore([heard])[0]["text"]                                    # doctest: +SKIP
    'the sea is calm'
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from tunelet.base.errors import AdapterError, DamagedFileError, Problem
from tunelet.base.files import publish_folder, read_json, verify_folder, write_json
from tunelet.base.settings import Field, Settings
from tunelet.data.nbest import NBest
from tunelet.data.normalise import Normaliser, normaliser
from tunelet.data.recognisers.settings import SphinxSettings
from tunelet.models.ngram.model import NGram
from tunelet.models.scoring.cls_scorer import ClsScorer
from tunelet.models.scoring.scorer import Overlong
from tunelet.systems.rescore_results import ranked
from tunelet.tuning.rescorer_folder import LoadedRescorer, load_rescorer

NAME, NGRAM, SCORER = "rescorer.json", "ngram.safetensors", "scorer"


class Recipe(Settings):
    """The content of `rescorer.json`."""

    format: Literal[1] = Field(1, description="version of this layout")
    normalise: str = Field(description="normalisation of what is scored, and of references")
    weights: dict[str, float] = Field(description="of each feature beside the first pass, as dev chose them")
    overlong: Overlong = Field("error", description="what happens to texts that are longer than the scorer takes")
    first_pass: SphinxSettings = Field(default_factory=SphinxSettings, description="recogniser of sound")


@dataclass(frozen=True, eq=False)
class Rescorer:
    """What rescores.

    Attributes:
        recipe: weights and normalisation.
        ngram: the n-gram model, or None.
        scorer: the network, or None.
    """

    recipe: Recipe
    ngram: NGram | None
    scorer: LoadedRescorer | None

    @property
    def normalise(self) -> Normaliser:
        """The normalisation."""
        return normaliser(self.recipe.normalise)

    def rescore(self, lists: Sequence[NBest]) -> list[dict[str, Any]]:
        """Each list, best hypothesis first, as `systems.rescore_results.ranked` writes it.

        Raises:
            InputError: a hypothesis is longer than the scorer takes, and that is to be an error.
        """
        normalise, weights = self.normalise, self.recipe.weights
        texts = [[normalise(text) for text in one.texts] for one in lists]
        second = [np.zeros(len(row)) for row in texts]
        for name, weight in weights.items():
            for total, values in zip(second, self._feature(name, texts), strict=True):
                total += weight * np.asarray(values, dtype=np.float64)
        return [ranked(one, added.tolist()) for one, added in zip(lists, second, strict=True)]

    def _feature(self, name: str, texts: list[list[str]]) -> Sequence[Any]:
        if name == "words":
            return [[len(text.split()) for text in row] for row in texts]
        if name in ("ngram", "unknown") and self.ngram is not None:
            return self.ngram.score(texts) if name == "ngram" else self.ngram.unknown(texts)
        if name == "scorer" and self.scorer is not None:
            return ClsScorer(
                self.scorer.model,
                self.scorer.tokenizer,
                max_length=self.scorer.manifest.max_length,
                overlong=self.recipe.overlong,
            ).score(texts)
        raise AdapterError(Problem(f"has a weight for {name!r}, but nothing that gives it", NAME, field="weights"))


def save(folder: Path, recipe: Recipe, *, ngram: Path | None, scorer: Path | None) -> None:
    """Publish a folder whole.

    Args:
        ngram: file of the n-gram model; it is linked where that is possible, for it may be large.
        scorer: folder of the network.
    """
    with publish_folder(folder) as part:
        write_json(part / NAME, recipe.model_dump(mode="json"))
        if ngram is not None:
            try:
                os.link(ngram, part / NGRAM)
            except OSError:  # another file system, or one without links
                shutil.copyfile(ngram, part / NGRAM)
        if scorer is not None:
            shutil.copytree(scorer, part / SCORER)


def load(folder: Path, *, base: str | None = None, force: bool = False) -> Rescorer:
    """Load what `save` wrote, checking its files.

    Args:
        base: where the scorer's base is, if not where the folder says.
        force: go on in spite of a failed check.

    Raises:
        AdapterError: it is no such folder, or a file is missing or not what was saved.
    """
    folder = Path(folder)
    if not folder.is_dir() or not (folder / NAME).is_file():
        what = "no such folder" if not folder.is_dir() else f"not a rescorer: {NAME} is not there"
        raise AdapterError(Problem(what, folder, hint="give the adapter folder of a run of the system rescore"))
    try:
        if not force:
            verify_folder(folder)
        recipe = Recipe.model_validate(read_json(folder / NAME))
    except ValidationError as error:
        raise AdapterError(
            Problem(
                f"{item['msg']}, found {item['input']!r}"[:300], folder / NAME, field=".".join(map(str, item["loc"]))
            )
            for item in error.errors()
        ) from None
    except DamagedFileError as error:
        raise AdapterError(Problem(str(error), hint="copy or download the folder again")) from None
    needed = recipe.weights.keys()
    ngram = NGram.load(folder / NGRAM) if needed & {"ngram", "unknown"} else None
    scorer = load_rescorer(folder / SCORER, base=base, force=force) if "scorer" in needed else None
    return Rescorer(recipe, ngram, scorer)
