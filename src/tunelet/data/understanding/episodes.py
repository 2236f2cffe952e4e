"""Questions for meta-training: a few classes of some task under some names, some of them shown, one example asked.

An episode draws a task, a few of its classes, under which names they are shown, how many demonstrations of which kind,
an order of the definitions, and a query. It is a function of (seed, number) alone. Four regimes:

    natural   each class under its own name
    permuted  the names of the chosen classes, permuted among them
    words     plain words that mean nothing
    symbol    Greek letters, in any order

Names, demonstrations and target share one map, so a model that solves permuted names reads definitions and
demonstrations. A query is never among its demonstrations, neither by id nor by text. Not here: embeddings, tokens.

Example:
    >>> from tunelet.data.records import Label
    >>> from tunelet.data.understanding.task import TaskData
    >>> task = UnderstandingTask("t", "T", "What is it?", (Label("a", "an a"), Label("b", "a b")), TaskData("t"))
    >>> pool = EpisodePool(task, [UnderstandingExample(str(i), f"text {i}", ("ab"[i % 2],), "train") for i in range(9)])
    >>> episode = EpisodeSampler([pool], EpisodeSettings(retrieved=0), seed=1).question(3)
    >>> len(episode.asked.prompt.demonstrations) == episode.k, episode.asked.classes
    (True, 2)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tunelet.base.errors import DataError, Problem
from tunelet.base.settings import Field, Settings
from tunelet.base.streams import numpy_stream
from tunelet.data.records import Label
from tunelet.data.understanding.asked import Asked
from tunelet.data.understanding.episode_pool import EpisodePool
from tunelet.data.understanding.fitting import fit_prompt
from tunelet.data.understanding.plain_words import PLAIN_WORDS
from tunelet.data.understanding.regimes import LabelMap, symbols
from tunelet.data.understanding.rules import folded
from tunelet.data.understanding.task import UnderstandingExample, UnderstandingTask

EpisodeRegime = Literal["natural", "permuted", "words", "symbol"]
EPISODE_REGIMES: tuple[EpisodeRegime, ...] = get_args(EpisodeRegime)

_CLAUSE = re.compile(r"\s*(?:[,;:]|\bor\b|\band\b)")
Stream = np.random.Generator
#: The word for no class where a task has none of its own.
NONE = "none"
#: An episode that does not fit is drawn again, so often.
ATTEMPTS = 20


class RegimeShares(Settings):
    """How often classes are shown under which names; the shares count relative to one another."""

    natural: float = Field(0.4, ge=0, description="their own")
    permuted: float = Field(0.3, ge=0, description="their own, permuted among the classes of the prompt")
    words: float = Field(0.2, ge=0, description="plain words that mean nothing")
    symbol: float = Field(0.1, ge=0, description="Greek letters")

    def chances(self) -> NDArray[np.float64]:
        """In the order of `EPISODE_REGIMES`, with the sum one."""
        shares = np.array([getattr(self, name) for name in EPISODE_REGIMES])
        if not shares.sum() > 0:
            raise DataError(Problem("all shares are 0, expected one above", field="episodes.regimes"))
        found: NDArray[np.float64] = shares / shares.sum()
        return found


class EpisodeSettings(Settings):
    """What an episode is drawn from."""

    least_classes: int = Field(2, ge=2, description="fewest classes of a prompt")
    most_classes: int = Field(6, ge=2, description="most classes of a prompt")
    whole: float = Field(0.5, ge=0, le=1, description="how often a task with no more classes is shown whole")
    regimes: RegimeShares = Field(default_factory=RegimeShares, description="under which names classes are shown")
    most_shown: int = Field(5, ge=0, description="k is drawn from 0 to this number of demonstrations")
    retrieved: float = Field(0.6, ge=0, le=1, description="how often demonstrations are the nearest; else any")
    shuffle: bool = Field(True, description="draw an order of the definitions for each prompt; false: canonical order")
    short: float = Field(0.1, ge=0, le=1, description="how often definitions are cut to their first clause")
    none: float = Field(0.25, ge=0, le=1, description="how often a query of a multi-label task has no class")
    open: float = Field(
        0.15,
        ge=0,
        le=1,
        description="how often a single-label task is asked as one whose inputs may have no class: queries and "
        "demonstrations of classes that are not in the prompt have none",
    )
    balance: float = Field(
        0.5, ge=0, le=1, description="a task is drawn by its number of classes to this power; 0: all alike"
    )


@dataclass(frozen=True)
class Episode:
    """A question, and how it came about.

    Attributes:
        asked: the question; its task has the chosen classes alone.
        regime: under which names classes are shown.
        k: demonstrations that were asked for; fewer are shown where no more fit or exist.
        retrieved: whether they are the nearest.
        shown: the demonstrations, the nearest first.
    """

    asked: Asked
    regime: EpisodeRegime
    k: int
    retrieved: bool
    shown: tuple[UnderstandingExample, ...]


class EpisodeSampler:
    """Draws episodes; it holds no state.

    Args:
        pools: the tasks with their examples. Queries and demonstrations of an episode come from one of them.
        settings: what is drawn.
        seed: of the run; episode n has the stream (seed, "episodes", n).
        count: tokens of a text, if prompts are to fit.
        limit: tokens that a prompt may take, its target included; demonstrations are dropped until it fits.

    Raises:
        DataError: there is no pool, or one has too few classes with examples, or no embeddings where they are needed.
    """

    def __init__(
        self,
        pools: Sequence[EpisodePool],
        settings: EpisodeSettings,
        seed: int,
        *,
        count: Callable[[str], int] | None = None,
        limit: int | None = None,
    ) -> None:
        if not pools:
            raise DataError(Problem("no task to draw episodes from", field="data.tasks"))
        if settings.least_classes > settings.most_classes:
            message = f"least_classes {settings.least_classes} is above most_classes {settings.most_classes}"
            raise DataError(Problem(message, field="episodes"))
        poor = [pool.task.name for pool in pools if len(pool.labels) < 2]
        poor += [pool.task.name for pool in pools if settings.retrieved and settings.most_shown and not pool.embedded]
        if poor:
            message = f"task {poor[0]!r} has fewer than two classes with examples, or no embeddings"
            raise DataError(Problem(message, field="data.tasks"))
        self.pools, self.settings, self.seed = tuple(pools), settings, seed
        self._count, self._limit = count, limit
        self._open = [_opened(pool) if settings.open else None for pool in pools]
        weights = np.array([len(pool.labels) for pool in pools]) ** settings.balance
        self._chances = weights / weights.sum()
        self._regimes = settings.regimes.chances()

    def batch(self, number: int, size: int) -> list[Episode]:
        """Episodes number x size and on."""
        return [self.question(number * size + i) for i in range(size)]

    def question(
        self, number: int, *, regime: EpisodeRegime | None = None, k: int | None = None, task: int | None = None
    ) -> Episode:
        """One episode.

        Args:
            regime, k, task: in place of what would be drawn, for evaluation; `task` counts the pools.

        Raises:
            DataError: what was drawn does not fit even without demonstrations, some times over.
        """
        for attempt in range(ATTEMPTS):
            stream = numpy_stream(self.seed, "episodes", number, attempt)
            try:
                return self._drawn(stream, regime, k, task)
            except DataError:
                if attempt + 1 == ATTEMPTS:
                    raise
        raise AssertionError  # there is at least one attempt

    def _drawn(self, stream: Stream, regime: EpisodeRegime | None, k: int | None, task: int | None) -> Episode:
        chosen = self.settings
        drawn_task = int(stream.choice(len(self.pools), p=self._chances))
        drawn_regime = EPISODE_REGIMES[int(stream.choice(len(EPISODE_REGIMES), p=self._regimes))]
        drawn_k = int(stream.integers(chosen.most_shown + 1))
        number = drawn_task if task is None else task
        asked_open = bool(stream.random() < chosen.open)
        pool = (self._open[number] if asked_open else None) or self.pools[number]
        regime, k = regime or drawn_regime, drawn_k if k is None else k
        labels = self._classes(pool, stream)
        own = pool.task.restricted(labels)
        own = _shortened(own) if stream.random() < chosen.short else own
        names = _names(own, regime, stream)
        position = pool.draw(labels, stream, chosen.none)
        query = pool.example(position, labels)
        retrieved = bool(stream.random() < chosen.retrieved)
        empty = bool(stream.random() < 0.5)  # whether demonstrations may have no class, in a multi-label task
        shown = (
            pool.nearest(position, labels, k, empty=empty)
            if retrieved
            else pool.random(position, labels, k, stream, chosen.none if empty else 0.0)
        )
        examples = [pool.example(one, labels) for one in shown]
        order = stream.permutation(len(own.labels)).tolist() if chosen.shuffle else None
        limit, count = self._limit or 2**31, self._count or len
        fitted = fit_prompt(own, query, examples, limit=limit, count=count, names=names, order=order)
        kept = tuple(examples[: len(examples) - len(fitted.dropped)])
        return Episode(Asked(own, fitted.prompt, query), regime, k, retrieved, kept)

    def _classes(self, pool: EpisodePool, stream: Stream) -> tuple[str, ...]:
        """Some of the classes that have examples."""
        chosen, there = self.settings, len(pool.labels)
        most = min(chosen.most_classes, there)
        least = min(chosen.least_classes, most)
        count = int(stream.integers(least, most + 1))
        picked = stream.permutation(there)
        if stream.random() < chosen.whole and there <= chosen.most_classes:
            count = there
        return tuple(pool.labels[i] for i in sorted(picked[:count].tolist()))


def _names(task: UnderstandingTask, regime: EpisodeRegime, stream: Stream) -> LabelMap:
    names, count = task.label_names, len(task.labels)
    if regime == "natural":
        return LabelMap.regular(names)
    if regime == "permuted":
        return LabelMap(names, tuple(names[i] for i in stream.permutation(count)))
    if regime == "symbol":
        letters = symbols(max(24, count))
        return LabelMap(names, tuple(letters[i] for i in stream.permutation(len(letters))[:count]))
    taken = {folded(name) for name in (*names, task.none or "")}
    words = [word for word in PLAIN_WORDS if word not in taken]
    return LabelMap(names, tuple(words[i] for i in stream.permutation(len(words))[:count]))


def _opened(pool: EpisodePool) -> EpisodePool | None:
    """The examples of a single-label task whose prompts may leave out the class of a query."""
    task = pool.task
    if task.multi_label or NONE in map(folded, task.label_names):
        return None
    return pool.of(replace(task, multi_label=True, none=NONE))


def _shortened(task: UnderstandingTask) -> UnderstandingTask:
    """The task with the first clause of each definition."""
    return replace(task, labels=tuple(Label(label.name, first_clause(label.definition)) for label in task.labels))


def first_clause(definition: str) -> str:
    """What stands before the first comma, "or" or "and", if that is two words or more."""
    head = _CLAUSE.split(definition, maxsplit=1)[0]
    return head if len(head.split()) > 1 and head.count("{") == head.count("}") else definition
