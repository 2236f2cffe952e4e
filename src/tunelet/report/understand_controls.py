"""What else was asked: the same question otherwise, invalid answers, label maps, classes. Not here: the main table.

A variation differs from the main table in one thing; a difference is taken between cells that are alike in all else.

Example:
    >>> [table.caption for table in variation_tables(numbers)]          # doctest: +SKIP
    ['Demonstrations: retrieved minus random, points']
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from math import comb, factorial
from statistics import fmean

from tunelet.report.csvs import Record
from tunelet.report.formats import NONE, count, decimal, percent
from tunelet.report.tables import Column, Row, Table
from tunelet.report.understand_differences import told
from tunelet.report.understand_numbers import Numbers
from tunelet.report.understand_schema import RunCell, UnderstandRun
from tunelet.report.understand_view import Asked, View

#: place in a cell's key, name, and whether a table says what the variation brings (else what it costs)
_DEMONSTRATIONS, _ORDER, _ANSWERS, _SCALE = 6, 7, 8, 9
_NAMES = {_DEMONSTRATIONS: "Demonstrations", _ORDER: "Order of the demonstrations", _ANSWERS: "Answers",
          _SCALE: "Factor on the adapter while asking"}  # fmt: skip


def heard_table(numbers: Numbers, first: str, second: str, caption: str) -> Table | None:
    """One way to be asked minus another, by block and k; None where no cell has both."""
    view = numbers.view
    return _difference_table(
        numbers, caption, [one for one in view.main if one.cell.heard == first],
        [one for one in view.main if one.cell.heard == second], lambda one: (*one.key[:4], *one.key[5:]),
    )  # fmt: skip


def variation_tables(numbers: Numbers, places: Sequence[int] = (_DEMONSTRATIONS, _ORDER, _SCALE)) -> tuple[Table, ...]:
    """Each variation against the main table, by block and k.

    Args:
        places: what varies, as a place in a cell's key.
    """
    tables = []
    for place in places:
        others = _varied(numbers.view, place)
        for value in sorted({str(one.key[place]) for one in others}):
            seconds = [one for one in others if str(one.key[place]) == value]
            alike = _without(place)
            keys = {alike(one) for one in seconds}
            firsts = [one for one in numbers.view.main if alike(one) in keys]
            own = ", ".join(sorted({str(one.key[place]) for one in firsts}))
            if place in (_DEMONSTRATIONS, _ORDER):
                table = _difference_table(
                    numbers, f"{_NAMES[place]}: {own} minus {value}, points", firsts, seconds, alike
                )
            else:
                table = _difference_table(
                    numbers, f"{_NAMES[place]}: {value} minus {own}, points", seconds, firsts, alike
                )
            tables += [table] if table is not None else []
    return tuple(tables)


def answer_tables(numbers: Numbers) -> tuple[Table, ...]:
    """Other ways to find the answer, calibration among them, against that of the main table."""
    return variation_tables(numbers, (_ANSWERS,))


def order_table(view: View) -> Table | None:
    """How far scores lie apart over the orders of the same demonstrations; None where there is one order."""
    varied = _varied(view, _ORDER)
    alike, found = _without(_ORDER), defaultdict[object, list[Asked]](list)
    keys = {alike(one) for one in varied}
    for one in (*(one for one in view.main if alike(one) in keys), *varied):
        found[alike(one)].append(one)
    spreads = defaultdict[tuple[str, int], list[float]](list)
    for several in found.values():
        if len(several) > 1:
            scores = [one.cell.score for one in several]
            spreads[several[0].cell.way, several[0].cell.k].append(max(scores) - min(scores))
    if not spreads:
        return None
    ks = sorted({k for _, k in spreads})
    rows = []
    for way in view.ways:
        own = [value for (name, _), values in spreads.items() if name == way for value in values]
        if own:
            shown = (percent(fmean(spreads[way, k]), 1) if (way, k) in spreads else NONE for k in ks)
            rows.append(Row((way, *shown, percent(max(own), 1), str(len(own)))))
    columns = (Column("labels", text=True), *(Column(f"k {k}") for k in ks), Column("largest"), Column("cells"))
    note = "Best minus worst order of the same demonstrations, points: a mean over cells, and the largest of them."
    return Table("Order of the demonstrations: how far scores lie apart", columns, tuple(rows), (note,))


def invalid_table(view: View) -> Table | None:
    """Share of answers that mean nothing; None where every answer was held to the classes."""
    rates = defaultdict[tuple[str, str], dict[int, list[float]]](lambda: defaultdict(list))
    for one in view.asked:
        rates[one.cell.way, str(one.key[_ANSWERS])][one.cell.k].append(one.cell.invalid_rate)
    shown = {key: own for key, own in rates.items() if key[1].startswith("free") or any(map(any, own.values()))}
    if not shown:
        return None
    rows = []
    for (way, answers), own in shown.items():
        told_ = (percent(fmean(own[k]), 1) if k in own else NONE for k in view.ks)
        rows.append(Row((way, answers, *told_, percent(max(map(max, own.values())), 1))))
    columns = (Column("labels", text=True), Column("answers", text=True), *(Column(f"k {k}") for k in view.ks),
               Column("worst cell"))  # fmt: skip
    note = "In %, mean over sources, tasks, seeds and kinds of query. An invalid answer counts as wrong."
    return Table("Answers that mean nothing", columns, tuple(rows), (note,))


def fit_sentence(view: View) -> str:
    """How many demonstrations did not fit; "" where none was shown or left out."""
    shown, dropped = (sum(getattr(one.cell, name) for one in view.asked) for name in ("shown", "dropped"))
    if shown + dropped == 0:
        return ""
    if dropped == 0:
        return f"All {shown:,} demonstrations fitted into their prompts."
    return f"{dropped:,} of {shown + dropped:,} demonstrations were left out because their prompt was full."


def map_table(runs: Sequence[UnderstandRun]) -> Table | None:
    """Under how many names the classes of each run were shown."""
    columns = (Column("run", text=True), Column("batches"), Column("different maps"),
               Column("classes", help="of the source"), Column("kept their name, mean",
               help="classes a batch; of a uniform permutation 1"))  # fmt: skip
    rows = []
    for run in runs:
        if run.maps is not None:
            kept = sum(row.classes * row.batches for row in run.maps.fixed)
            classes = str(len(run.maps.maps[0].shown)) if run.maps.maps else NONE
            mean = decimal(kept / run.maps.batches, 2) if run.maps.fixed and run.maps.batches else NONE
            rows.append(Row((run.name, count(run.maps.batches), count(run.maps.different), classes, mean)))
    return Table("Names of the classes while tuning", columns, tuple(rows)) if rows else None


def kept_shares(runs: Sequence[UnderstandRun]) -> tuple[list[tuple[int, float]], list[float]] | None:
    """Share of batches by classes that kept their name, runs together, and that of uniform permutations of as many.

    None where the runs tell nothing, or differ in the number of classes.
    """
    maps = [run.maps for run in runs if run.maps is not None and run.maps.batches and run.maps.maps]
    sizes = {len(one.maps[0].shown) for one in maps}
    if len(sizes) != 1:
        return None
    counts: dict[int, int] = defaultdict(int)
    for one in maps:
        for row in one.fixed:
            counts[row.classes] += row.batches
    total, size = sum(counts.values()), sizes.pop()
    if not total:
        return None
    most = min(size, max(*counts, 4))
    return [(classes, counts[classes] / total) for classes in sorted(counts)], uniform_kept(size)[: most + 1]


def uniform_kept(size: int) -> list[float]:
    """Chance that a uniform permutation of `size` things leaves 0, 1, ..., `size` of them in their place."""
    moved = [1, 0]  # derangements of 0, 1, ... things
    while len(moved) <= size:
        moved.append((len(moved) - 1) * (moved[-1] + moved[-2]))
    return [comb(size, kept) * moved[size - kept] / factorial(size) for kept in range(size + 1)]


def class_scores(cells: Sequence[Asked]) -> dict[str, float]:
    """F1 of each class from the counts of all cells together."""
    sums = defaultdict[str, list[int]](lambda: [0, 0])
    for one in cells:
        for row in one.cell.per_class if isinstance(one.cell, RunCell) else ():
            sums[row.label][0] += 2 * row.correct
            sums[row.label][1] += row.predicted + row.support
    return {label: twice / both if both else 0.0 for label, (twice, both) in sums.items()}


def class_records(view: View) -> list[Record]:
    """Counts of each class in every main cell."""
    return [
        {"run": one.run.name if one.run else None, "task": one.cell.task, "heard": one.cell.heard, "k": one.cell.k,
         "class": row.label, "support": row.support, "predicted": row.predicted, "correct": row.correct,
         "f1": 2 * row.correct / (row.predicted + row.support) if row.predicted + row.support else 0.0}
        for one in view.main
        if isinstance(one.cell, RunCell)
        for row in one.cell.per_class
    ]  # fmt: skip


def map_records(runs: Sequence[UnderstandRun]) -> list[Record]:
    """Batches by the classes that kept their own name."""
    return [
        {"run": run.name, "source": run.source, "group": run.way, "classes_kept": row.classes, "batches": row.batches,
         "different_maps": run.maps.different}
        for run in runs
        if run.maps is not None
        for row in run.maps.fixed
    ]  # fmt: skip


def _difference_table(
    numbers: Numbers, caption: str, firsts: Sequence[Asked], seconds: Sequence[Asked], alike: Callable[[Asked], object]
) -> Table | None:
    view = numbers.view
    ks = sorted({one.cell.k for one in firsts} & {one.cell.k for one in seconds})
    rows = []
    for way in view.ways:
        ours, theirs = ([one for one in cells if one.cell.way == way] for cells in (firsts, seconds))
        shown = [
            numbers.difference([one for one in ours if k in (None, one.cell.k)], theirs, alike, samples=2000)
            for k in (None, *ks)
        ]
        if any(found is not None for found in shown):
            rows.append(Row((way, *map(told, shown))))
    if not rows:
        return None
    columns = (Column("labels", text=True), Column("all k"), *(Column(f"k\u00a0{k}") for k in ks))
    note = "Points with 95 % intervals; seen and unseen tasks together, paired cell by cell."
    return Table(caption, columns, tuple(rows), (note,))


def _varied(view: View, place: int) -> list[Asked]:
    """Cells beside the main table that differ from it in this one thing."""
    alike = _without(place)
    main = {alike(one): one.key[place] for one in view.main}
    return [
        one for one in view.asked
        if not one.cell.main and alike(one) in main and one.key[place] != main[alike(one)]
    ]  # fmt: skip


def _without(place: int) -> Callable[[Asked], object]:
    return lambda one: one.key[:place] + one.key[place + 1 :]
