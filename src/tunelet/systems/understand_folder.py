"""Asks the adapter folder of an `understand` run about one's own task, from texts or sound files. Not here: the CLI.

Example:
    >>> loaded = load(Path("my-run/adapter"))                                           # doctest: +SKIP
    >>> told = ToldTask(find_task("reviews.yaml"), loaded, k=3)                         # doctest: +SKIP
    >>> next(told.rows(["The soup was cold."]))["label"]                              # doctest: +SKIP
    'annoyed'
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunelet.base.errors import AdapterError, InputError, Problem
from tunelet.base.files import read_json
from tunelet.data.audio import SUFFIXES, read_audio
from tunelet.data.recognisers.protocol import Recogniser, build
from tunelet.data.recognisers.settings import SphinxSettings
from tunelet.data.understanding.demonstrations import DemonstrationPool
from tunelet.data.understanding.load import load_split
from tunelet.data.understanding.task import UnderstandingExample, UnderstandingTask
from tunelet.models.bases import load_base
from tunelet.models.in_context.causal import CausalModel
from tunelet.models.prompt_model import Answer, PromptModel
from tunelet.models.sentence_embedder import SentenceEmbedder
from tunelet.models.settings import EMBEDDED, ModelSettings
from tunelet.systems.understand_questions import Places, Question, make_question
from tunelet.tuning import manifest
from tunelet.tuning.language_folder import load_language_model
from tunelet.tuning.prefix_folder import load_prefix

#: queries that are answered together
CHUNK = 32


@dataclass(frozen=True)
class LoadedUnderstander:
    """A model of a folder.

    Attributes:
        model: reads prompts.
        limit: tokens of a prompt.
        warnings: what `force` ignored.
        places: of a prompt that the sound of a query takes, where that is known.
    """

    model: PromptModel
    limit: int
    warnings: tuple[str, ...] = ()
    places: Places | None = None


def load(folder: Path, *, base: str | None = None, force: bool = False) -> LoadedUnderstander:
    """The model of an adapter folder, whatever its kind.

    Args:
        base: where the base (or the folder of SALMONN's files) is, if not where the folder says.

    Raises:
        AdapterError: the folder is none of this system, or does not verify.
    """
    if not folder.is_dir():
        raise AdapterError(Problem("no such folder", folder, hint="give the adapter/ folder that a run left"))
    if (folder / "salmonn.json").is_file():
        from tunelet.systems.understand_salmonn import load_tuned

        return LoadedUnderstander(load_tuned(folder, pieces=base), 2048)
    about = folder / manifest.NAME
    told: Any = read_json(about) if about.is_file() else {}
    if isinstance(told, dict) and "prefix" in told:
        prefix = load_prefix(folder, base=base, force=force)
        return LoadedUnderstander(prefix.model, prefix.manifest.max_length, prefix.overridden)
    if isinstance(told, dict) and "processor" in told:
        from tunelet.tuning.processor_folder import load_processor_model

        heard = load_processor_model(folder, base=base, force=force)
        return LoadedUnderstander(heard.model, heard.max_length, heard.overridden, heard.model.places)
    if isinstance(told, dict) and told.get("language", {}).get("kind") == "causal":
        language = load_language_model(folder, base=base, force=force)
        model = CausalModel(language.model, language.tokenizer)
        return LoadedUnderstander(model, language.max_length, language.overridden)
    raise AdapterError(
        Problem("holds no model that answers prompts", folder, hint="give the adapter/ folder of a run of `understand`")
    )


@dataclass
class ToldTask:
    """A task, a model, and what may be shown.

    Attributes:
        task: one's own, or one of the package.
        loaded: the model.
        k: demonstrations.
        data_dir: folder of the task's data, where `k` is above 0.
        encoder: base of the sentence vectors by which demonstrations are chosen.

    Raises:
        DataError: there are no demonstrations, and some are wanted.
    """

    task: UnderstandingTask
    loaded: LoadedUnderstander
    k: int = 0
    data_dir: Path | None = None
    encoder: str = EMBEDDED
    _recogniser: Recogniser | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._pool: DemonstrationPool | None = None
        if self.k:
            self._embedder = SentenceEmbedder(load_base(ModelSettings(base=self.encoder)))
            splits = [split for split in ("train", "validation") if split in self.task.data.splits]
            shown = [one for split in splits for one in load_split(self.task, split, data_dir=self.data_dir)]
            self._pool = DemonstrationPool(shown, self._embedder.embed([one.text for one in shown]))

    def rows(self, given: Iterable[str]) -> Iterator[dict[str, Any]]:
        """One JSON object for each text or sound file, as they come.

        Raises:
            InputError: a sound file cannot be read, or recognised where the model hears nothing.
        """
        numbered = enumerate(given)
        while chunk := list(itertools.islice(numbered, CHUNK)):
            queries = [self._query(number, one) for number, one in chunk]
            questions = [self._question(query) for query in queries]
            answers = self.loaded.model.answer([question.asked for question in questions])
            for query, question, answer in zip(queries, questions, answers, strict=True):
                yield self._row(query, question, answer)

    def _query(self, number: int, given: str) -> UnderstandingExample:
        path = Path(given)
        if path.suffix.lower() not in SUFFIXES:
            return UnderstandingExample(str(number), given, ())
        if not path.is_file():
            raise InputError(Problem("there is no such sound file", path))
        query = UnderstandingExample(str(number), "", (), audio=path)
        if self.loaded.model.hears:
            return query
        self._recogniser = self._recogniser or build(SphinxSettings(n=1))
        return replace(query, heard=self._recogniser.nbest(read_audio(path))[0].text)

    def _question(self, query: UnderstandingExample) -> Question:
        speech = query.audio is not None and query.heard is None
        shown: tuple[UnderstandingExample, ...] = ()
        if self._pool is not None:
            text = query.text if query.heard is None else query.heard
            if speech:  # nobody knows what was said: any will do
                shown = self._pool.random(query, self.k, 0)
            else:
                asked = replace(query, text=text)
                shown = self._pool.rank([asked], self._embedder.embed([text]), near=self.k).nearest(asked, self.k)
        return make_question(
            self.loaded.model,
            self.task,
            query,
            shown,
            limit=self.loaded.limit,
            speech=speech,
            text=query.heard,
            places=self.loaded.places,
        )

    def _row(self, query: UnderstandingExample, question: Question, answer: Answer) -> dict[str, Any]:
        row: dict[str, Any] = {"id": query.id}
        if query.audio is None:
            row["text"] = query.text
        else:
            row["audio"] = str(query.audio)
            if query.heard is not None:
                row["heard"] = query.heard
        if self.task.multi_label:
            row["labels"] = None if answer.labels is None else list(answer.labels)
        else:
            row["label"] = None if answer.labels is None else answer.labels[0]
        if answer.scores is not None:
            row["scores"] = {
                name: float(score) for name, score in zip(self.task.label_names, answer.scores, strict=True)
            }
        keys = question.asked.prompt.demonstrations
        row["demonstrations"] = [] if self._pool is None else [self._told(key) for key in keys]
        return row

    def _told(self, key: tuple[str, str]) -> dict[str, Any]:
        if self._pool is None:
            return {}
        (shown,) = [one for one in self._pool.examples if one.key == key]
        return {"split": shown.split, "id": shown.id, "text": shown.text, "labels": list(shown.labels)}
