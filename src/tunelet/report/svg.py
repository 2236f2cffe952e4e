"""From a matplotlib figure to inline SVG in the page's colours, light or dark. Not here: any plot (`plots.py`).

Matplotlib draws with marker colours; each is then replaced by a CSS variable, so one drawing serves both colour
schemes. Text stays text and takes the page's font. Backgrounds are transparent.

Example:
    >>> with drawing("example", 3, 2) as (figure, axes):
    ...     _ = axes.plot([0, 1], [0, 1], color=SERIES[0])
    ...     svg = to_svg(figure, "example", "A line", "It rises.")
    >>> "var(--c1)" in svg and SERIES[0] not in svg
    True
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Marker colours: they never reach the page. The name after "--" is the CSS variable that takes their place.
INK, MUTED, GRID, ACCENT, ON_ACCENT, SURFACE = "#010101", "#010102", "#010103", "#010104", "#010105", "#010106"
SERIES = tuple(f"#0102{number:02x}" for number in range(1, 8))
_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", ACCENT: "accent", ON_ACCENT: "on-accent", SURFACE: "surface"}
_VARIABLES |= {colour: f"c{number}" for number, colour in enumerate(SERIES, start=1)}

#: Shapes repeat what colours say, for those who do not see the colours.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)), (0, (3, 1, 1, 1, 1, 1)), "--", ":")

_STYLE: Any = {
    "svg.fonttype": "none", "text.parse_math": False, "font.size": 9,
    "axes.edgecolor": MUTED, "axes.labelcolor": INK, "text.color": INK,
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK, "axes.linewidth": 0.7,
    "grid.color": GRID, "grid.linewidth": 0.7, "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.axisbelow": True,
    "figure.facecolor": "none", "axes.facecolor": "none", "axes.titlepad": 10,
    "xtick.major.width": 0.7, "ytick.major.width": 0.7, "legend.frameon": False,
}  # fmt: skip


@dataclass(frozen=True)
class LegendItem:
    """A row of a legend; `colour` is a CSS variable's name, `shape` is "line", "bar", or a marker's name."""

    label: str
    colour: str
    shape: str = "line"


@dataclass(frozen=True)
class Plot:
    """An SVG element and the legend that belongs to it."""

    svg: str
    legend: tuple[LegendItem, ...] = ()


@contextmanager
def drawing(name: str, width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """An empty figure (inches) in the page's style; `name` makes its ids, so two drawings of one name are equal."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


def to_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """The figure as an <svg> element: own ids, CSS variables for colours, a title and a description.

    Args:
        name: prefix of every id, unique on the page.
        title, description: what a screen reader says.
    """
    buffer = io.StringIO()
    canvas: Any = FigureCanvasSVG(figure)
    figure.dpi = 72  # points, as SVG has them
    # `savefig` would draw everything once more, only to lay it out
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")
    canvas.print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.S)  # it would style the whole page
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text).replace("url(#", f"url(#{name}-")
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    text = re.sub(r"(?m)^(L .*|z|[MQC] .*) ?\n", r"\1 ", text)  # paths on one line
    # names beside dots need a halo to be read on lines; numbers on coloured cells must not have one
    kind = "halo" if name == "pareto" else "flat"
    if figure.get_figwidth() > 6:  # on a phone it keeps a readable size and scrolls in its own box
        kind += " wide"
    view = re.search(r'viewBox="[^"]+"', text)
    head = f'<svg class="{kind}" role="img" aria-labelledby="{name}-title {name}-desc" {view.group(0) if view else ""}>'
    told = f'<title id="{name}-title">{html.escape(title)}</title>'
    told += f'<desc id="{name}-desc">{html.escape(description)}</desc>'
    return head + told + text[text.index(">") + 1 :].strip()
