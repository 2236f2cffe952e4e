"""The numbers of the `understand` report: means over cells, and paired differences, with intervals.

A difference is taken between cells that are alike in all but what is compared, then averaged over k and ways to be
asked, so that each task, source and seed has one number; `evaluation.crossed_cells` resamples these. Not here: words.

Example:
    >>> numbers = Numbers(view, Resampled(view, folder))                # doctest: +SKIP
    >>> numbers.compare("text")[0].found.value                          # doctest: +SKIP
    0.0213
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from tunelet.evaluation.crossed_cells import CrossedCell, CrossedValue, crossed_cells
from tunelet.evaluation.probabilities import Floats
from tunelet.evaluation.statistics import holm
from tunelet.report.understand_answers import Resampled
from tunelet.report.understand_view import UNTUNED, Asked, View

#: which cells of a tuned block
UNSEEN, SEEN = "other tasks", "its own task"


@dataclass(frozen=True)
class Compared:
    """Two blocks, or one with and without demonstrations.

    Attributes:
        first, second: names for tables.
        what: for sentences: "random-regular" by regime, "few-zero" and the like.
        where: which tasks of the tuned blocks; "" where none is tuned.
        heard: how they were asked.
        scope: which cells: "all k", "k = 3", a task, ...
        found: first minus second.
        p_holm: corrected for all of one `heard`; None where it was not.
    """

    first: str
    second: str
    what: str
    where: str
    heard: str
    scope: str
    found: CrossedValue
    p_holm: float | None = None

    @property
    def side(self) -> int:
        """1 or -1 where the difference is clear of zero, also after correction."""
        return self.found.side if self.p_holm is None or self.p_holm < 0.05 else 0


class Numbers:
    """Means and differences of a sweep."""

    def __init__(self, view: View, scores: Resampled) -> None:
        self.view, self.scores = view, scores

    @property
    def tuned(self) -> list[str]:
        """Tuned blocks: those of random labels first, as what is asked about."""
        view, order = self.view, ("random", "symbol", "regular")
        return sorted(
            (w for w in view.ways if view.regime_of[w] in order), key=lambda w: order.index(view.regime_of[w])
        )

    def mean(self, cells: Iterable[Asked], samples: int = 2000) -> CrossedValue | None:
        """Over tasks and sources of the mean over seeds; None without a cell."""
        return _crossed(((one, self.scores.of(one)) for one in cells), samples)

    def difference(
        self, firsts: Sequence[Asked], seconds: Sequence[Asked], alike: Callable[[Asked], object], samples: int = 4000
    ) -> CrossedValue | None:
        """First minus second over the cells that are alike; None where none are.

        Of several seconds that are alike the mean is taken; tasks, sources and seeds are those of the first.
        """
        others = defaultdict(list)
        for one in seconds:
            others[alike(one)].append(self.scores.of(one))
        pairs = [(one, _minus(self.scores.of(one), others[alike(one)])) for one in firsts if alike(one) in others]
        return _crossed(pairs, samples)

    def blocks(
        self,
        first: str,
        second: str,
        heard: str | Sequence[str],
        *,
        task: str | None = None,
        ks: Sequence[int] | None = None,
        matched: bool | None = None,
    ) -> CrossedValue | None:
        """One block minus another.

        Tuned blocks are paired by source and seed. What was not tuned is the same for all sources: it is paired by
        seed, and where it has not that seed, its mean over seeds is taken.
        """
        firsts, seconds = (self.view.pick(way, heard, task=task, ks=ks, matched=matched) for way in (first, second))
        if any(one.cell.source != UNTUNED for one in seconds):
            return self.difference(firsts, seconds, _same)
        seeds = {one.cell.seed for one in firsts} & {one.cell.seed for one in seconds}
        shared = [one for one in firsts if one.cell.seed in seeds]
        if seeds and len(shared) == len(firsts):
            return self.difference(firsts, seconds, lambda one: (*_asked(one), one.cell.seed))
        return self.difference(firsts, seconds, _asked)

    def compare(self, heard: str) -> list[Compared]:
        """Everything that the paper claims, and the controls; p corrected for being several."""
        view, rows = self.view, list[Compared]()
        base, regular, symbol, random = (view.way(name) for name in ("none", "regular", "symbol", "random"))
        tuned = self.tuned
        zero, few = [k for k in view.ks if k == 0], [k for k in view.ks if k > 0]

        def add(first: str | None, second: str | None, scope: str, ks: Sequence[int], matched: bool | None) -> None:
            if first is None or second is None or first == second:
                return
            found = self.blocks(first, second, heard, ks=ks, matched=matched)
            if found is not None:
                where = {None: "", False: UNSEEN, True: SEEN}[matched]
                what = f"{view.regime_of[first]}-{view.regime_of[second]}"
                rows.append(Compared(first, second, what, where, heard, scope, found))

        for block in tuned:
            add(block, regular, "all k", view.ks, False)
        add(random, symbol, "all k", view.ks, False)
        for block in tuned:
            add(block, base, "all k", view.ks, False)
        add(random, regular, "all k", view.ks, True)
        for way, matched in ((base, None), (random, False)):
            add(way, view.way("knn"), "k above 0", few, matched)
            add(way, view.way("definition"), "k = 0", zero, matched)
        for way, matched in ((base, None), (regular, False), (symbol, False), (random, False)):
            if way is not None and zero and few:
                firsts, seconds = (view.pick(way, heard, ks=ks, matched=matched) for ks in (few, zero))
                found = self.difference(firsts, seconds, _model)
                if found is not None:
                    where = "" if matched is None else UNSEEN
                    rows.append(
                        Compared(f"{way}, k above 0", f"{way}, k = 0", "few-zero", where, heard, "all k", found)
                    )
        return _corrected(rows)

    def split(self, heard: str) -> list[Compared]:
        """Each tuned block against regular labels on other tasks: by k and by task."""
        view, regular, rows = self.view, self.view.way("regular"), list[Compared]()
        for way in self.tuned:
            if regular is None or way == regular:
                continue
            cuts = [(f"k = {k}", self.blocks(way, regular, heard, ks=(k,), matched=False)) for k in view.ks]
            cuts += [(task, self.blocks(way, regular, heard, task=task, matched=False)) for task in view.tasks]
            what = f"{view.regime_of[way]}-regular"
            rows += [Compared(way, regular, what, UNSEEN, heard, scope, v) for scope, v in cuts if v is not None]
        return rows

    def together(self) -> list[Compared]:
        """Each tuned block against regular labels on other tasks, text and spoken queries in one; [] without both."""
        regular, heard = self.view.way("regular"), ("text", "speech")
        if regular is None or not set(heard) <= set(self.view.heard):
            return []
        rows = []
        for way in self.tuned:
            found = self.blocks(way, regular, heard, matched=False) if way != regular else None
            if found is not None:
                what = f"{self.view.regime_of[way]}-regular"
                rows.append(Compared(way, regular, what, UNSEEN, "text and speech", "all k", found))
        return _corrected(rows)

    def score(self, cells: Sequence[Asked]) -> float | None:
        """Plain mean over tasks and sources of the mean over seeds, without an interval."""
        units = defaultdict(list)
        for one in cells:
            units[one.cell.task, one.cell.source].append(one.cell.score)
        return fmean(fmean(values) for values in units.values()) if units else None


def lead(view: View) -> str | None:
    """What the headline speaks of: speech, as the paper does, where it was asked."""
    return next((name for name in ("speech", "text", "cascade") if name in view.heard), None)


def _same(one: Asked) -> object:
    return (*_asked(one), one.cell.source, one.cell.seed)


def _asked(one: Asked) -> tuple[object, ...]:
    return (one.cell.task, one.cell.k, one.cell.heard)


def _model(one: Asked) -> object:
    return (one.cell.task, one.cell.heard, one.cell.source, one.cell.seed)


def _minus(first: Floats, seconds: Sequence[Floats]) -> Floats:
    """Under each draw that all have; without draws the values alone."""
    depth = min(len(first), *(len(row) for row in seconds))
    depth = depth if all(len(row) == depth for row in (first, *seconds)) else 1
    found: Floats = first[:depth] - np.mean([row[:depth] for row in seconds], axis=0)
    return found


def _crossed(values: Iterable[tuple[Asked, Floats]], samples: int) -> CrossedValue | None:
    units: dict[tuple[str, str, int], list[Floats]] = defaultdict(list)
    for one, row in values:
        units[one.cell.task, one.cell.source, one.cell.seed].append(row)
    cells = []
    for key, rows in units.items():
        depth = len(rows[0]) if len({len(row) for row in rows}) == 1 else 1
        cells.append(CrossedCell(*key, np.mean([row[:depth] for row in rows], axis=0)))
    return crossed_cells(cells, seed=1, samples=samples) if cells else None


def _corrected(rows: Sequence[Compared]) -> list[Compared]:
    adjusted = holm([row.found.p for row in rows]) if rows else ()
    return [replace(row, p_holm=p) for row, p in zip(rows, adjusted, strict=True)]
