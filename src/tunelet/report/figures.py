"""Which numbers go into which plot, and how many of them a plot can bear. Not here: drawing (`plots.py`).

A sweep may hold thirty settings. Curves then name the best of each family (method and targets) and leave the others
grey; memory bars show settings that differ only in learning rate or weight decay once.

Example:
    >>> highlighted(ranked_groups)                          # doctest: +SKIP
    [Group(name='lora-qkv-r8'), Group(name='full')]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tunelet.report import plots, published
from tunelet.report.classes import mean_confusion, pooled_calibration
from tunelet.report.csvs import MEMORY
from tunelet.report.groups import Group, family
from tunelet.report.plots import Dot, Line
from tunelet.report.results import Curve, Predictions
from tunelet.report.svg import Plot

MOST_STYLES = 7
MOST_BARS = 14

_Points = list[tuple[float, float]]


def styles(ranked: Sequence[Group]) -> dict[str, int]:
    """A colour, dash and marker for each group name, the same in all plots.

    Up to seven groups have one each, in rank order; of more, the groups of a family (method and targets) share one.
    """
    if len(ranked) <= MOST_STYLES:
        return {group.name: number for number, group in enumerate(ranked)}
    families = list(dict.fromkeys(map(family, ranked)))
    return {group.name: families.index(family(group)) for group in ranked}


def highlighted(ranked: Sequence[Group]) -> list[Group]:
    """The groups that a curve plot names: the first of each style."""
    first: dict[int, Group] = {}
    for group in ranked:
        first.setdefault(styles(ranked)[group.name], group)
    return list(first.values())[:MOST_STYLES]


def curve_plots(ranked: Sequence[Group]) -> tuple[Plot, ...]:
    """Validation accuracy, validation loss and training loss over steps; those without a point are left out."""
    kinds: list[tuple[str, str, bool, Callable[[Curve], _Points]]] = [
        ("curve-accuracy", "Validation accuracy", True, lambda c: [(row.step, row.accuracy) for row in c.validation]),
        ("curve-loss", "Validation loss", False, lambda c: [(row.step, row.loss) for row in c.validation]),
        ("curve-train", "Training loss", False, lambda c: [(step, loss) for step, loss in c.train]),
    ]
    drawn = []
    for name, title, percent, read in kinds:
        lines = _lines(ranked, read)
        if lines:
            drawn.append(plots.curves(name, title, lines, percent=percent))
    return tuple(drawn)


def memory_plot(groups: Sequence[Group]) -> tuple[Plot | None, bool]:
    """Bars of the memory breakdown, and whether equal settings were put together; None if nothing was measured."""
    measured = [group for group in groups if group.memory("parameters") is not None]
    if not measured:
        return None, False
    merged = len(measured) > MOST_BARS
    if merged:
        once = {(family(group), group.setting("tuning", "r") if group.method != "full" else None): group
                for group in reversed(measured)}  # fmt: skip
        measured = [group for group in measured if group in once.values()]
    rows = [(group.name, [(group.memory(part) or 0.0) / 2**20 for part in MEMORY]) for group in measured]
    rows.sort(key=lambda row: sum(row[1]))
    parts = ("parameters", "gradients", "optimiser state", "saved activations")
    return plots.memory_bars(rows, parts, max(sum(values) for _, values in rows)), merged


def pareto_plot(groups: Sequence[Group], *, with_published: bool) -> Plot | None:
    """Test accuracy against trained parameters; the paper's three test scores as hollow marks where they belong."""
    style = styles(groups)
    named_by = family if len(groups) > MOST_STYLES else lambda group: group.name
    kinds = list(dict.fromkeys(named_by(group) for group in groups))
    dots: list[Dot] = []
    for group in groups:
        estimate, trained = group.test("accuracy"), group.cost("trainable_parameters")
        if estimate is None or not trained:
            continue
        ends = estimate.interval
        low, high = (ends.low, ends.high) if ends else (estimate.mean, estimate.mean)
        # a t interval of two or three seeds can be wider than the plot is worth; no score lies outside 0 ... 1
        low, high = max(0.0, low), min(1.0, high)
        dots.append(Dot(group.name, trained, estimate.mean, low, high, style[group.name]))
    if not dots:
        return None
    front = plots.pareto_front([(dot.x, dot.y) for dot in dots])
    named = set(range(len(dots))) if len(dots) <= 6 else {*front[-5:], 0}
    dots = [Dot(**{**vars(dot), "named": number in named}) for number, dot in enumerate(dots)]
    if with_published:
        sizes = {2: 109_486_854, 3: published.TRAINABLE[3, 8], 4: published.TRAINABLE[4, 8]}
        for test in published.TESTS:
            label = {2: "paper: full", 3: "paper: attention", 4: "paper: att. + linear"}[test.table]
            low, high = test.interval.low, test.interval.high
            dots.append(Dot(label, sizes[test.table], test.accuracy / 100, low, high, 0, True, True))
    return plots.pareto(dots, kinds)


def confusion_plot(several: Sequence[Predictions], labels: Sequence[str]) -> Plot | None:
    """Mean confusion matrix of a group; None for multi label."""
    if not several or several[0].gold.ndim == 2:
        return None
    return plots.confusion_matrix(mean_confusion(several, len(labels)).tolist(), labels)


def calibration_plot(several: Sequence[Predictions]) -> Plot | None:
    """Reliability diagram of a group, its seeds pooled."""
    if not several:
        return None
    bins = [row for row in pooled_calibration(several) if row.count]
    return plots.calibration_plot([(b.confidence_sum / b.count, b.correct / b.count, b.count) for b in bins])


def _lines(ranked: Sequence[Group], read: Callable[[Curve], _Points]) -> list[Line]:
    """Each named group: its seeds faint, their mean bold over the steps that all seeds reached. Others: grey means."""
    named, numbers = highlighted(ranked), styles(ranked)
    lines = []
    for group in ranked:
        seeds = [points for run in group.runs if (points := read(run.curve))]
        if not seeds:
            continue
        style = numbers[group.name] if group in named else None
        if style is not None and len(seeds) > 1:
            lines += [Line(group.name, points, style, faint=True) for points in seeds]
        lines.append(Line(group.name, _mean_line(seeds), style))
    return lines


def _mean_line(seeds: Sequence[_Points]) -> _Points:
    tables = [dict(points) for points in seeds]
    shared = [step for step, _ in seeds[0] if all(step in table for table in tables)]
    return [(step, sum(table[step] for table in tables) / len(tables)) for step in shared]
