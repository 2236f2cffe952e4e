"""Which numbers of an `understand` sweep go into which plot. Not here: drawing (`understand_plots`).

Example:
    >>> curve_figures(numbers, "text")[0].plot.svg[:4]                  # doctest: +SKIP
    '<svg'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tunelet.report.content import Figure
from tunelet.report.svg import LegendItem
from tunelet.report.understand_controls import class_scores, kept_shares
from tunelet.report.understand_numbers import SEEN, Compared, Numbers
from tunelet.report.understand_plots import Difference, KLine, class_map, differences, kept_names, over_k
from tunelet.report.understand_schema import UnderstandRun
from tunelet.report.understand_view import View, named

_STYLES = {"none": 6, "regular": 0, "symbol": 4, "random": 1, "knn": 3, "definition": 2}
#: classes in a map; a larger one cannot be read
_CLASSES = 24


def style_of(view: View, way: str) -> int:
    """Colour and dash of a block: its regime's, or of a further block of that regime one that is free."""
    regime = view.regime_of[way]
    if view.way(regime) == way:
        return _STYLES[regime]
    free = [style for style in range(7) if style not in {_STYLES[r] for r in view.regime_of.values()}] or [5]
    further = [name for name in view.ways if view.way(view.regime_of[name]) != name]
    return free[further.index(way) % len(free)]


def lead_figure(numbers: Numbers, heard: str) -> Figure | None:
    """Every block over k, mean over the tasks that it was not tuned on."""
    lines = _lines(numbers, heard, None, 0)
    if not lines:
        return None
    return Figure(over_k("lead", "Tasks not tuned on", lines), "Mean over tasks; bars: 95 % intervals.")


def curve_figures(numbers: Numbers, heard: str) -> tuple[tuple[Figure, ...], tuple[LegendItem, ...]]:
    """A panel for each task, and the legend that they share."""
    panels, legend = [], dict[str, LegendItem]()
    for number, task in enumerate(numbers.view.tasks, start=1):
        lines = _lines(numbers, heard, task, number)
        if lines:
            plot = over_k(f"k-{heard}-{number}", task, lines)
            legend |= {item.label: item for item in plot.legend}
            panels.append(Figure(replace(plot, legend=()), ""))
    order = [named("none", way) if way in ("none", "knn", "definition") else way for way in numbers.view.ways]
    return tuple(panels), tuple(legend[label] for label in order if label in legend)


def difference_figure(rows: Sequence[Compared], heard: str) -> Figure | None:
    """All comparisons of one way to be asked."""
    shown = [
        Difference(_label(row), row.found.value, row.found.low, row.found.high, row.side != 0)
        for row in rows if row.heard == heard
    ]  # fmt: skip
    if not shown:
        return None
    caption = "First minus second, 95 % intervals. Hollow: undecided. Unless told otherwise on tasks not tuned on."
    return Figure(differences(f"differences-{heard}", f"Differences, {heard} queries", shown), caption)


def gap_figure(numbers: Numbers) -> Figure | None:
    """Text minus speech over k."""
    view = numbers.view
    lines = []
    for way in view.ways:
        points = []
        for k in view.ks:
            text, speech = (view.pick(way, heard, ks=(k,)) for heard in ("text", "speech"))
            found = numbers.difference(text, speech, lambda one: (*one.key[:4], *one.key[5:]), samples=2000)
            if found is not None:
                points.append((k, found.value, found.low, found.high))
        if points:
            lines.append(KLine(way if way != "none" else "untuned", points, style_of(view, way)))
    if not lines:
        return None
    return Figure(
        over_k("gap", "Text minus speech", lines, points=True, width=5.4), "Mean over sources, tasks and seeds."
    )


def class_figures(view: View, heard: str) -> tuple[tuple[Figure, ...], int | None]:
    """F1 of each class on tasks not tuned on, with most demonstrations; the number of these."""
    few = [k for k in view.ks if k > 0] or list(view.ks)
    if not few:
        return (), None
    figures = []
    for number, task in enumerate(view.tasks):
        labels = view.labels(task)
        columns = [(way, class_scores(view.pick(way, heard, task=task, ks=(few[-1],), matched=False)))
                   for way in view.ways]  # fmt: skip
        columns = [(way, scores) for way, scores in columns if scores]
        if columns and 0 < len(labels) <= _CLASSES:
            values = [[scores.get(label) for _, scores in columns] for label in labels]
            names = [named("none", way) if way == "none" else way for way, _ in columns]
            figures.append(Figure(class_map(f"classes-{number}", task, labels, names, values), ""))
    return tuple(figures), few[-1]


def map_figures(runs: Sequence[UnderstandRun]) -> tuple[tuple[Figure, ...], tuple[LegendItem, ...]]:
    """Of each source and block of random labels, how many classes kept their names in a batch; their legend."""
    groups: dict[tuple[str, str], list[UnderstandRun]] = {}
    for run in runs:
        if run.regime == "random":
            groups.setdefault((run.source, run.way), []).append(run)
    figures, legend = [], tuple[LegendItem, ...]()
    for number, ((source, way), own) in enumerate(groups.items()):
        found = kept_shares(own)
        if found is not None:
            plot = kept_names(f"maps-{number}", named(source, way), *found)
            legend = plot.legend
            figures.append(Figure(replace(plot, legend=()), ""))
    return tuple(figures), legend


def _lines(numbers: Numbers, heard: str, task: str | None, number: int) -> list[KLine]:
    view, lines = numbers.view, []
    for way in view.ways:
        points = []
        for k in view.ks:
            found = numbers.mean(view.pick(way, heard, task=task, ks=(k,), matched=False))
            if found is not None:
                points.append((k, found.value, found.low, found.high))
        if points:
            label = named("none", way) if view.regime_of[way] in ("none", "knn", "definition") else way
            lines.append(KLine(label, points, style_of(view, way)))
    return lines


def _label(row: Compared) -> str:
    if row.what == "few-zero":
        return f"{row.first.partition(',')[0]}, k above 0 − k = 0"
    where = ", own task" if row.where == SEEN else ""
    scope = f", {row.scope}" if row.scope != "all k" else ""
    return f"{row.first} − {row.second}{where}{scope}"
