"""Plots: valid SVG, honest geometry, limits for many groups."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report.sweeps import FakeGroup, write_sweep
from tunelet.report import figures, plots
from tunelet.report.groups import Group, group_runs, ranked
from tunelet.report.plots import Dot, Line
from tunelet.report.results import read_sweep
from tunelet.report.svg import Plot

XLINK = 'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg"'


def _parse(plot: Plot) -> ET.Element:
    return ET.fromstring(plot.svg.replace("<svg ", f"<svg {XLINK} ", 1))


def _texts(plot: Plot) -> list[str]:
    return ["".join(element.itertext()) for element in _parse(plot).iter() if element.tag.endswith("}text")]


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Group, ...]:
    """Twenty groups of four families."""
    members = [
        FakeGroup(f"lora-{targets}-r{r}-lr{rate:g}", "lora", targets, r, 0.8 + r / 500, 1_000 * r, rate)
        for targets in ("qv", "qkv", "qkv+dense")
        for r in (2, 8, 32)
        for rate in (3e-4, 1e-3)
    ]
    members += [FakeGroup(f"full-lr{rate:g}", "full", "", 8, 0.85, 90_000, rate) for rate in (2e-5, 5e-5)]
    sweep = read_sweep(write_sweep(tmp_path_factory.mktemp("grid"), members, seeds=(1,), n=60))
    return ranked(group_runs(sweep), sweep)


def test_many_groups_share_colours_by_family(grid: tuple[Group, ...]) -> None:
    named = figures.highlighted(grid)
    assert len(grid) == 20 and len(named) == 4
    assert len(set(figures.styles(grid).values())) == 4
    accuracy = figures.curve_plots(grid)[0]
    assert [item.label for item in accuracy.legend] == [*(group.name for group in named), "other settings"]


def test_memory_bars_show_equal_settings_once(grid: tuple[Group, ...]) -> None:
    plot, merged = figures.memory_plot(grid)
    assert plot is not None and merged
    bars = [text for text in _texts(plot) if text.startswith(("lora", "full"))]
    assert len(bars) == 10  # three target sets by three ranks, and full


def test_bars_write_their_totals() -> None:
    plot = plots.memory_bars([("full", (10, 20, 30, 40)), ("lora", (10, 1, 2, 30))], ("a", "b", "c", "d"), 100)
    assert {"100", "43"} <= set(_texts(plot))
    assert [item.label for item in plot.legend] == ["a", "b", "c", "d"]


def test_confusion_cells_are_row_shares() -> None:
    texts = _texts(plots.confusion_matrix([[3, 1], [0, 0]], ["joy", "fear"]))
    assert texts.count("75%") == 1 and texts.count("25%") == 1 and texts.count("·") == 2


def test_labels_are_text_not_formulas_or_markup() -> None:
    dots = [Dot("$x_1$ <b>", 10.0, 0.5, 0.4, 0.6, 0, named=True), Dot("y", 100.0, 0.7, 0.6, 0.8, 1, named=True)]
    assert {"$x_1$ <b>", "y"} <= set(_texts(plots.pareto(dots, ["a", "b"])))


def test_curves_of_one_point_and_of_none_are_drawn() -> None:
    lines = [Line("a", [(1.0, 0.5)], 0), Line("b", [], None)]
    plot = plots.curves("curve", "Loss", lines, percent=True)
    _parse(plot)
    assert [item.label for item in plot.legend] == ["a", "other settings"]


def test_ids_carry_the_name_of_the_plot() -> None:
    plot = plots.calibration_plot([(0.9, 0.8, 10)], name="mine")
    ids = [element.get("id", "") for element in _parse(plot).iter() if element.get("id")]
    assert ids and all(name.startswith("mine-") for name in ids)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=12))
def test_pareto_front_holds_exactly_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    front = {points[index] for index in plots.pareto_front([(float(x), float(y)) for x, y in points])}
    unbeaten = {(x, y) for x, y in points if not any((a <= x and b >= y) and (a, b) != (x, y) for a, b in points)}
    assert front == unbeaten


def test_plot_of_a_large_grid_stays_small(grid: tuple[Group, ...]) -> None:
    plot = figures.pareto_plot(grid, with_published=True)
    assert plot is not None
    assert len(plot.svg) < 100_000
    assert [item.label for item in plot.legend][-1].startswith("published")
