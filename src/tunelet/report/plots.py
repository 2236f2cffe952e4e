"""The report's plots as inline SVG that follows the page's colours, light or dark. Not here: what is plotted (the
callers give numbers, see `figures.py`), legends (the page draws them in HTML, where they wrap), colours (`svg.py`).

Example:
    >>> figure = memory_bars([("full", (4.0, 4.0, 8.0, 1.0))], ("parameters", "gradients", "optimizer", "saved"), 17.0)
    >>> figure.svg.startswith("<svg")
    True
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tunelet.report.svg import (
    ACCENT,
    DASHES,
    INK,
    MARKERS,
    MUTED,
    ON_ACCENT,
    SERIES,
    SURFACE,
    LegendItem,
    Plot,
    drawing,
    to_svg,
)  # fmt: skip

_PERCENT = FuncFormatter(lambda value, _: f"{100 * value:.4g} %")


@dataclass(frozen=True)
class Line:
    """One line of a curve plot; `style` is an index into colours and dashes, None for the grey background lines."""

    label: str
    points: Sequence[tuple[float, float]]
    style: int | None
    faint: bool = False


@dataclass(frozen=True)
class Dot:
    """One setting of the Pareto plot; `low` and `high` bound its interval, `published` marks a paper's number."""

    label: str
    x: float
    y: float
    low: float
    high: float
    style: int
    named: bool = False
    published: bool = False


def curves(name: str, title: str, lines: Sequence[Line], *, percent: bool) -> Plot:
    """Lines over training steps. Faint lines are single seeds; grey ones are settings that the legend does not name."""
    with drawing(name, 3.9, 2.9) as (figure, axes):
        for line in sorted(lines, key=lambda line: (line.style is not None, not line.faint)):
            steps, values = zip(*line.points, strict=True) if line.points else ((), ())
            colour = MUTED if line.style is None else SERIES[line.style % 7]
            dash = "-" if line.style is None or line.faint else DASHES[line.style % 7]
            alpha = 0.35 if line.style is None else (0.3 if line.faint else 1.0)
            axes.plot(steps, values, color=colour, linestyle=dash, alpha=alpha,
                      linewidth=0.8 if line.faint or line.style is None else 1.8)  # fmt: skip
        shown = [value for line in lines for _, value in line.points]
        if percent and shown:
            # A single early step near chance would press all the rest into the top: cut the axis there.
            floor = sorted(shown)[len(shown) // 12]
            top = max(shown)
            axes.set_ylim(max(0.0, floor - 0.08 * (top - floor) - 0.002), min(1.0, top + 0.06 * (top - floor) + 0.004))
            axes.yaxis.set_major_formatter(_PERCENT)
        axes.set_title(title)
        axes.set_xlabel("training step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.grid(axis="y")
        named = [(line.label, line.style % 7) for line in lines if line.style is not None and not line.faint]
        legend = [LegendItem(label, f"c{style + 1}", f"dash{style}") for label, style in named]
        if any(line.style is None for line in lines):
            legend.append(LegendItem("other settings", "muted"))
        return Plot(
            to_svg(figure, name, title, f"{title} over training steps for {len(named)} settings."), tuple(legend)
        )


def memory_bars(
    rows: Sequence[tuple[str, Sequence[float]]], parts: Sequence[str], most: float, *, name: str = "memory"
) -> Plot:
    """Stacked horizontal bars, one a group, in MiB; `most` is the largest total, `parts` name the stacked values."""
    title = "Memory of one training step"
    with drawing(name, 7.6, 1.1 + 0.3 * len(rows)) as (figure, axes):
        places = range(len(rows))
        left = [0.0] * len(rows)
        for number, _part in enumerate(parts):
            values = [row[1][number] for row in rows]
            axes.barh(places, values, left=left, height=0.66, color=SERIES[number], edgecolor=SURFACE, linewidth=0.8)
            left = [start + value for start, value in zip(left, values, strict=True)]
        for place, total in zip(places, left, strict=True):
            axes.text(total + most * 0.012, place, f"{total:,.0f}", va="center", fontsize=8.5)
        axes.set_yticks(list(places), [_shorten(row[0]) for row in rows])
        axes.invert_yaxis()
        axes.set_xlim(0, most * 1.13 or 1)
        axes.set_title(title)
        axes.set_xlabel("MiB")
        axes.tick_params(axis="y", length=0, pad=6)
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.grid(axis="x")
        legend = tuple(LegendItem(part, f"c{number + 1}", "bar") for number, part in enumerate(parts))
        told = "; ".join(f"{label}: {sum(values):,.0f} MiB" for label, values in rows[:8])
        return Plot(to_svg(figure, name, title, f"Stacked bars by group. {told}."), legend)


def pareto(dots: Sequence[Dot], kinds: Sequence[str], *, name: str = "pareto") -> Plot:
    """Test accuracy against trainable parameters (log axis), intervals as thin lines; the front is joined."""
    title = "Test accuracy against trained parameters"
    with drawing(name, 7.6, 4.0) as (figure, axes):
        front = pareto_front([(dot.x, dot.y) for dot in dots if not dot.published])
        ours = [dot for dot in dots if not dot.published]
        axes.plot([ours[i].x for i in front], [ours[i].y for i in front], color=MUTED, linewidth=1, alpha=0.6, zorder=1)
        for dot in dots:
            colour = MUTED if dot.published else SERIES[dot.style % 7]
            axes.plot([dot.x, dot.x], [dot.low, dot.high], color=colour, linewidth=1.1, alpha=0.45, zorder=2)
            axes.plot([dot.x], [dot.y], marker="D" if dot.published else MARKERS[dot.style % 7], markersize=7,
                      markerfacecolor="none" if dot.published else colour, zorder=3,
                      markeredgecolor=colour if dot.published else SURFACE, markeredgewidth=1.2)  # fmt: skip
        _name_dots(axes, dots)
        axes.set_xscale("log")
        low, high = min(dot.x for dot in dots), max(dot.x for dot in dots)
        axes.set_xlim(low / 2.2, high * 3.5)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _compact(value)))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
        axes.yaxis.set_major_formatter(_PERCENT)
        axes.set_xlabel("trained parameters (log scale)")
        axes.set_title(title)
        axes.grid(axis="y")
        legend = [LegendItem(kind, f"c{i % 7 + 1}", f"marker{i % 7}") for i, kind in enumerate(kinds)]
        if any(dot.published for dot in dots):
            legend.append(LegendItem("published (BERT-base, one seed)", "muted", "hollow"))
        told = "; ".join(f"{dot.label}: {_compact(dot.x)} parameters, {dot.y:.1%}" for dot in dots if dot.named)
        return Plot(to_svg(figure, name, title, f"One point a group. {told}."), tuple(legend))


def confusion_matrix(counts: Sequence[Sequence[float]], labels: Sequence[str], *, name: str = "confusion") -> Plot:
    """A heat map of row shares (gold labels are rows), with the mean count and the share in each cell."""
    title = "Confusion matrix"
    size = len(labels)
    with drawing(name, max(3.6, 0.72 * size + 1.0), max(3.2, 0.6 * size + 0.8)) as (figure, axes):
        for row in range(size):
            total = sum(counts[row]) or 1.0
            for column in range(size):
                share = counts[row][column] / total
                corner, shade = (column - 0.47, row - 0.47), cell_shade(share)
                axes.add_patch(Rectangle(corner, 0.94, 0.94, facecolor=ACCENT, alpha=shade, linewidth=0))
                colour = ON_ACCENT if share >= 0.5 else INK
                if size <= 12:
                    axes.text(column, row - 0.1, f"{share:.0%}" if share >= 0.0005 else "·", ha="center", va="center",
                              color=colour, fontsize=9)  # fmt: skip
                    axes.text(column, row + 0.24, _count(counts[row][column]), ha="center", va="center", color=colour,
                              fontsize=6.8, alpha=0.85)  # fmt: skip
        axes.set_xlim(-0.5, size - 0.5)
        axes.set_ylim(size - 0.5, -0.5)
        axes.set_xticks(range(size), [_shorten(label, 12) for label in labels], rotation=35 if size > 4 else 0,
                        ha="right" if size > 4 else "center")  # fmt: skip
        axes.set_yticks(range(size), [_shorten(label, 14) for label in labels])
        axes.set_title(title)
        axes.set_xlabel("predicted")
        axes.set_ylabel("gold")
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        told = "; ".join(
            f"{label}: {counts[row][row] / (sum(counts[row]) or 1):.0%} right" for row, label in enumerate(labels)
        )
        return Plot(to_svg(figure, name, title, f"Rows are gold labels, columns predicted ones. {told}."))


def calibration_plot(bins: Sequence[tuple[float, float, int]], *, name: str = "calibration") -> Plot:
    """A reliability diagram: accuracy against confidence; a dot's area is the share of rows in its bin."""
    title = "Calibration"
    with drawing(name, 4.6, 3.8) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        total = sum(count for _, _, count in bins) or 1
        for confidence, accuracy, _ in bins:
            axes.plot([confidence, confidence], [confidence, accuracy], color=SERIES[1], linewidth=1.4, alpha=0.8)
        axes.plot([b[0] for b in bins], [b[1] for b in bins], color=ACCENT, linewidth=1, alpha=0.6)
        for confidence, accuracy, count in bins:
            axes.plot([confidence], [accuracy], marker="o", markersize=4 + 12 * (count / total) ** 0.5, color=ACCENT,
                      markeredgecolor=SURFACE, markeredgewidth=0.8)  # fmt: skip
        axes.set_xlim(0, 1.04)
        axes.set_ylim(0, 1.04)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(_PERCENT)
        axes.set_title(title)
        axes.set_xlabel("confidence")
        axes.set_ylabel("share right")
        axes.grid()
        legend = (LegendItem("bin (area: share of answers)", "accent", "marker0"), LegendItem("gap", "c2"),
                  LegendItem("perfect", "muted", "dash1"))  # fmt: skip
        told = f"{len(bins)} bins of confidence against the share that is right."
        return Plot(to_svg(figure, name, title, told), legend)


def cell_shade(share: float) -> float:
    """Opacity of a confusion cell. It jumps at one half, where the number on it changes colour, so that dark numbers
    never stand on middle shades, nor light ones, in either colour scheme."""
    return 0.05 + 0.8 * share if share < 0.5 else 0.85 + 0.3 * (share - 0.5)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other beats in both, by growing x (fewer is better) and y (more is better)."""
    front: list[int] = []
    best = float("-inf")
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[index][1] > best:
            front.append(index)
            best = points[index][1]
    return front


def _name_dots(axes: Axes, dots: Sequence[Dot]) -> None:
    """Labels beside the named dots, kept apart: of two that would overlap the later one goes under its dot."""
    taken: list[tuple[float, float]] = []
    spread = (max(d.high for d in dots) - min(d.low for d in dots)) or 1.0
    for dot in sorted((d for d in dots if d.named), key=lambda d: -d.y):
        crowded = any(abs(dot.y - y) < 0.05 * spread and 0.03 < dot.x / x < 30 for x, y in taken)
        axes.annotate(_shorten(dot.label, 26), (dot.x, dot.y), textcoords="offset points",
                      xytext=(7, -11 if crowded else 4), fontsize=8, color=MUTED if dot.published else INK)  # fmt: skip
        taken.append((dot.x, dot.y - (0.05 * spread if crowded else 0)))


def _shorten(text: str, most: int = 30) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _count(value: float) -> str:
    return f"{value:.0f}" if abs(value - round(value)) < 0.05 else f"{value:.1f}"


def _compact(value: float) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
