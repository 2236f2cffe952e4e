"""Plots of the `understand` report: scores over demonstrations, differences, classes, label maps. Not here: numbers.

Example:
    >>> line = KLine("random", [(0, 0.5, 0.4, 0.6), (1, 0.6, None, None)], 1)
    >>> over_k("k-0", "meld", [line]).svg.startswith("<svg")
    True
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tunelet.report.plots import cell_shade
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


@dataclass(frozen=True)
class KLine:
    """A line over demonstrations: (k, value, low, high) by k; `style` is an index into colours, dashes and markers."""

    label: str
    points: Sequence[tuple[int, float, float | None, float | None]]
    style: int


@dataclass(frozen=True)
class Difference:
    """A row of a dot plot, 1.0 being 100 points; `clear`: whether it is clear of zero."""

    label: str
    value: float
    low: float | None
    high: float | None
    clear: bool


def over_k(name: str, title: str, lines: Sequence[KLine], *, points: bool = False, width: float = 3.9) -> Plot:
    """Scores over the number of demonstrations with intervals; lines stand a little apart so that bars do not hide.

    Args:
        points: values are differences: a line at 0, and points on the axis.
        width: inches.
    """
    with drawing(name, width, 3.0) as (figure, axes):
        apart = 0.6 / max(len(lines), 4)
        for number, line in enumerate(lines):
            shift = (number - (len(lines) - 1) / 2) * apart
            colour, style = SERIES[line.style % 7], line.style % 7
            ks = [k + shift for k, *_ in line.points]
            for place, (_, _, low, high) in zip(ks, line.points, strict=True):
                if low is not None and high is not None:
                    axes.plot([place, place], [100 * low, 100 * high], color=colour, linewidth=1.3, alpha=0.45)
            values = [100 * value for _, value, *_ in line.points]
            axes.plot(ks, values, color=colour, linestyle=DASHES[style], linewidth=1.5,
                      marker=MARKERS[style], markersize=5, markeredgecolor=SURFACE, markeredgewidth=0.7)  # fmt: skip
        if points:
            axes.axhline(0, color=INK, linewidth=0.8, zorder=1)
        axes.set_xticks(sorted({point[0] for line in lines for point in line.points}))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:+g}" if points and value else f"{value:g}{'' if points else ' %'}")
        )
        axes.set_xlabel("demonstrations")
        axes.set_title(title)
        axes.grid(axis="y")
        unit = "points" if points else "%"
        ends = "; ".join(
            f"{line.label}: {', '.join(f'{100 * value:.1f}' for _, value, *_ in line.points)}" for line in lines
        )
        legend = tuple(LegendItem(line.label, f"c{line.style % 7 + 1}", f"dash{line.style % 7}") for line in lines)
        return Plot(
            to_svg(figure, name, title, f"One line a row of the table, in {unit} by demonstrations. {ends}."), legend
        )


def differences(name: str, title: str, rows: Sequence[Difference]) -> Plot:
    """Differences with intervals, one below the other; hollow where zero is inside."""
    with drawing(name, 4.8, 0.9 + 0.25 * len(rows)) as (figure, axes):
        for place, row in enumerate(rows):
            colour = SERIES[0] if row.clear else MUTED
            if row.low is not None and row.high is not None:
                axes.plot([100 * row.low, 100 * row.high], [place, place], color=colour, linewidth=1.8, alpha=0.6)
            axes.plot([100 * row.value], [place], marker="o", markersize=6, color=colour, markeredgecolor=colour,
                      markeredgewidth=1.4, markerfacecolor=colour if row.clear else SURFACE, zorder=3)  # fmt: skip
            axes.annotate(f"{100 * row.value:+z.1f}", (1.0, place), xycoords=("axes fraction", "data"), xytext=(6, 0),
                          textcoords="offset points", va="center", fontsize=8.5)  # fmt: skip
        axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
        axes.set_yticks(range(len(rows)), [row.label for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0, pad=6)
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}" if value else "0"))
        axes.margins(x=0.06)
        axes.set_xlabel("points")
        axes.set_title(title)
        axes.grid(axis="x")
        told = "; ".join(f"{row.label}: {100 * row.value:+z.1f}{_between(row)}" for row in rows)
        return Plot(to_svg(figure, name, title, f"One dot a row. {told}."))


def class_map(
    name: str, title: str, classes: Sequence[str], rows: Sequence[str], values: Sequence[Sequence[float | None]]
) -> Plot:
    """F1 of each class (row) under each line of the table (column); None: it was not asked."""
    with drawing(name, max(3.6, 0.5 * len(rows) + 1.3), max(1.9, 0.3 * len(classes) + 1.2)) as (figure, axes):
        for row, line in enumerate(values):
            for column, share in enumerate(line):
                if share is None:
                    continue
                corner, shade = (column - 0.47, row - 0.46), cell_shade(share)
                axes.add_patch(Rectangle(corner, 0.94, 0.92, facecolor=ACCENT, alpha=shade, linewidth=0))
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8.5,
                          color=ON_ACCENT if share >= 0.5 else INK)  # fmt: skip
        axes.set_xlim(-0.5, len(rows) - 0.5)
        axes.set_ylim(len(classes) - 0.5, -0.5)
        axes.set_xticks(range(len(rows)), [_short(label, 18) for label in rows], rotation=35, ha="right")
        axes.set_yticks(range(len(classes)), [_short(label, 22) for label in classes])
        axes.set_title(title)
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        told = "; ".join(
            f"{label}: " + ", ".join("–" if value is None else f"{100 * value:.0f}" for value in line)
            for label, line in zip(classes, values, strict=True)
        )
        return Plot(to_svg(figure, name, title, f"F1 in % of each class under {', '.join(rows)}. {told}."))


def kept_names(name: str, title: str, bars: Sequence[tuple[int, float]], expected: Sequence[float]) -> Plot:
    """Share of batches by the number of classes that kept their own name, and what a uniform permutation would give.

    Args:
        bars: (classes, share of batches).
        expected: share for 0, 1, 2, ... classes.
    """
    with drawing(name, 3.9, 2.7) as (figure, axes):
        axes.bar([classes for classes, _ in bars], [100 * share for _, share in bars], width=0.62, color=SERIES[0])
        axes.plot(range(len(expected)), [100 * share for share in expected], linestyle="none", marker="D", markersize=6,
                  markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.2)  # fmt: skip
        axes.set_xticks(range(len(expected)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
        axes.set_xlabel("classes that kept their own name")
        axes.set_title(title)
        axes.grid(axis="y")
        told = "; ".join(f"{classes}: {100 * share:.0f} %" for classes, share in bars)
        legend = (LegendItem("batches", "c1", "bar"), LegendItem("uniform permutations", "ink", "hollow"))
        return Plot(to_svg(figure, name, title, f"Share of batches by classes that kept their name. {told}."), legend)


def _between(row: Difference) -> str:
    return "" if row.low is None or row.high is None else f", {100 * row.low:+z.1f} to {100 * row.high:+z.1f}"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
