"""The cells of an `understand` sweep, ordered, and picked by what they are. Not here: averages and intervals.

The order is that of the recipe's tasks and of the regimes, whatever the order of the runs.

Example:
    >>> view = View.of(result)                                          # doctest: +SKIP
    >>> view.ways, view.ks                                              # doctest: +SKIP
    (('none', 'regular', 'random', 'knn'), (0, 1, 2, 3, 4, 5))
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from tunelet.base.errors import InputError, Problem
from tunelet.report.understand_schema import REGIMES, Cell, Regime, RunCell, UnderstandResult, UnderstandRun

#: ways to be asked, in order
HEARD = ("text", "speech", "cascade")
#: source of what was not tuned
UNTUNED = "none"
_ORDERS = ("nearest-last", "nearest-first", "shuffled")

#: what a cell is, beside its scores
Key = tuple[str, str, str, int, str, int, str, str, str, float]


@dataclass(frozen=True, eq=False)
class Asked:
    """A cell and the run that it belongs to; None where result.json holds the cell alone."""

    cell: RunCell | Cell
    run: UnderstandRun | None

    @cached_property
    def key(self) -> Key:
        """What tells the cell from all others."""
        one = self.cell
        return (
            one.source, one.way, one.task, one.k, one.heard, one.seed, one.demonstrations or "retrieved",
            one.order or _ORDERS[0], one.answers or "constrained", 1.0 if one.lora_scale is None else one.lora_scale,
        )  # fmt: skip


@dataclass(frozen=True)
class View:
    """Everything that was asked."""

    result: UnderstandResult
    asked: tuple[Asked, ...]

    @staticmethod
    def of(result: UnderstandResult) -> View:
        """Cells of the runs, or those of the result where its runs hold none.

        Raises:
            InputError: two cells are the same but for their scores.
        """
        found = [Asked(cell, run) for run in result.runs for cell in run.cells]
        found = found or [Asked(cell, None) for cell in result.cells]
        seen: set[Key] = set()
        for one in found:
            if one.key in seen:
                told = f"two cells for {one.cell.task}, {one.cell.way} after {one.cell.source}, k {one.cell.k}, seed"
                raise InputError(Problem(f"{told} {one.cell.seed}, asked in the same way", field="runs.cells"))
            seen.add(one.key)
        return View(result, tuple(found))._sorted()

    def _sorted(self) -> View:
        tasks = {name: place for place, name in enumerate(self.tasks)}
        sources = {name: place for place, name in enumerate(self.sources)}
        ways = {name: place for place, name in enumerate(self.ways)}

        def place(one: Asked) -> tuple[object, ...]:
            cell = one.cell
            own = (sources[cell.source], ways[cell.way], tasks[cell.task], HEARD.index(cell.heard), cell.k, cell.seed)
            return (*own, not cell.main, *one.key[6:])

        return View(self.result, tuple(sorted(self.asked, key=place)))

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Tasks with a cell: in the recipe's order, then by name."""
        return _ordered((one.cell.task for one in self.asked), self.result.data.evaluated)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Sources with a cell; what was not tuned comes first."""
        return _ordered((one.cell.source for one in self.asked), [UNTUNED, *self.result.data.sources])

    @cached_property
    def ways(self) -> tuple[str, ...]:
        """Blocks with a cell: by regime, of several of one regime the one that is called as it is comes first."""
        regimes = {one.cell.way: one.cell.regime for one in self.asked}
        return tuple(sorted(regimes, key=lambda way: (REGIMES.index(regimes[way]), way != regimes[way], way)))

    @cached_property
    def regime_of(self) -> dict[str, Regime]:
        """The regime of each block."""
        return {one.cell.way: one.cell.regime for one in self.asked}

    @cached_property
    def ks(self) -> tuple[int, ...]:
        """Numbers of demonstrations that any cell has."""
        return tuple(sorted({one.cell.k for one in self.asked}))

    @cached_property
    def heard(self) -> tuple[str, ...]:
        """Of text, speech and cascade what main cells have."""
        found = {one.cell.heard for one in self.asked if one.cell.main}
        return tuple(name for name in HEARD if name in found)

    @cached_property
    def main(self) -> tuple[Asked, ...]:
        """The cells of the table; all others vary one thing."""
        return tuple(one for one in self.asked if one.cell.main)

    @cached_property
    def _main_by_way(self) -> dict[str, list[Asked]]:
        found: dict[str, list[Asked]] = {}
        for one in self.main:
            found.setdefault(one.cell.way, []).append(one)
        return found

    def way(self, regime: Regime) -> str | None:
        """The first block of a regime; None where there is none."""
        return next((way for way in self.ways if self.regime_of[way] == regime), None)

    def rows(self) -> list[tuple[str, str]]:
        """(source, block) of the table's rows, in order: the untuned model and the controls, then the sources."""
        return list(dict.fromkeys((one.cell.source, one.cell.way) for one in self.main))

    def pick(
        self,
        way: str,
        heard: str | Sequence[str],
        *,
        task: str | None = None,
        source: str | None = None,
        ks: Sequence[int] | None = None,
        matched: bool | None = None,
    ) -> list[Asked]:
        """Main cells of a block: of all tasks, sources, k, matched or not, unless they are named."""
        wanted = (heard,) if isinstance(heard, str) else heard
        return [
            one
            for one in self._main_by_way.get(way, ())
            if task in (None, one.cell.task)
            and one.cell.heard in wanted
            and source in (None, one.cell.source)
            and (ks is None or one.cell.k in ks)
            and matched in (None, one.cell.is_matched)
        ]

    def labels(self, task: str) -> tuple[str, ...]:
        """Classes of a task in canonical order; () where the result does not tell."""
        found = self.result.data.tasks.get(task)
        return tuple(found.labels) if found is not None else ()


def named(source: str, way: str) -> str:
    """A row of the table in words."""
    words = {"none": "untuned", "knn": "kNN on embeddings", "definition": "nearest definition"}
    return words.get(way, way) if source == UNTUNED else f"{source}, {way}"


def _ordered(names: Iterable[str], first: Sequence[str]) -> tuple[str, ...]:
    found = set(names)
    return (*(name for name in dict.fromkeys(first) if name in found), *sorted(found - set(first)))
