"""The plots of `fuse`: accuracy over training sizes, and which expert each task looks at. Not here: numbers.

Example:
    >>> heat_maps("heat", {"self": {"mood": {"mood": 0.75, "topic": 0.25}}}, ["mood", "topic"]).svg.startswith("<svg")
    True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from tunelet.report.plots import cell_shade
from tunelet.report.svg import ACCENT, DASHES, INK, MARKERS, ON_ACCENT, SERIES, LegendItem, Plot, drawing, to_svg

#: task -> expert -> weight
Weights = Mapping[str, Mapping[str, float]]


def heat_maps(name: str, methods: Mapping[str, Weights], experts: Sequence[str]) -> Plot:
    """Attention weights, a panel for each method: a row for each task, a column for each expert; empty: it has none."""
    tasks = list(dict.fromkeys(task for weights in methods.values() for task in weights))
    across = min(2, len(methods))
    down = -(-len(methods) // across)
    width, height = 0.62 * len(experts), 0.42 * len(tasks) + 0.5
    with drawing(name, max(4.2, across * width + 1.8), max(2.4, down * height + 0.9)) as (figure, axes):
        axes.remove()
        panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flatten().tolist()
        for panel, (label, weights) in zip(panels, methods.items(), strict=False):
            _heat(panel, label, [[weights.get(task, {}).get(expert) for expert in experts] for task in tasks])
        for panel in panels[len(methods) :]:
            panel.set_axis_off()
        for panel in panels[max(0, len(methods) - across) : len(methods)]:
            panel.set_xticks(range(len(experts)), list(experts), rotation=35, ha="right")
            panel.tick_params(labelbottom=True)
        panels[0].set_yticks(range(len(tasks)), tasks)
        title = "Attention: task (row) over experts (column)"
        told = "; ".join(
            f"{label}, {task}: {max(found, key=lambda expert: found[expert])}"
            for label, weights in methods.items()
            for task, found in weights.items()
        )
        return Plot(to_svg(figure, name, title, f"The expert with most weight. {told}."))


def _heat(axes: Axes, title: str, values: Sequence[Sequence[float | None]]) -> None:
    for row, line in enumerate(values):
        for column, share in enumerate(line):
            if share is None:
                continue
            corner = (column - 0.47, row - 0.47)
            axes.add_patch(Rectangle(corner, 0.94, 0.94, facecolor=ACCENT, alpha=cell_shade(share), linewidth=0))
            colour = ON_ACCENT if share >= 0.5 else INK
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=9)
    axes.set_xlim(-0.5, len(values[0]) - 0.5)
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_title(title)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def size_curves(name: str, title: str, lines: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> Plot:
    """Accuracy over the number of training examples (log axis), a line for each method."""
    with drawing(name, 5.6, 3.4) as (figure, axes):
        for number, (_, points) in enumerate(lines):
            sizes, values = zip(*points, strict=True) if points else ((), ())
            style = number % 7
            axes.plot(sizes, values, color=SERIES[style], linestyle=DASHES[style], marker=MARKERS[style], markersize=5,
                      linewidth=1.6)  # fmt: skip
        ticks = sorted({size for _, points in lines for size, _ in points})
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{size:,.0f}" for size in ticks])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))
        axes.set_xlabel("training examples of the target (log scale; mean over targets)")
        axes.set_title(title)
        axes.grid(axis="y")
        legend = tuple(LegendItem(label, f"c{i % 7 + 1}", f"dash{i % 7}") for i, (label, _) in enumerate(lines))
        told = "; ".join(f"{label}: {points[-1][1]:.1%} at most examples" for label, points in lines if points)
        return Plot(to_svg(figure, name, title, f"One line a method. {told}."), legend)
