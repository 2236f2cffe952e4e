"""The tables that ``tunelet check`` prints. Not here: the checking."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tunelet.base.files import write_json

if TYPE_CHECKING:
    from tunelet.systems.checking import Checked


#: columns where the output is no terminal; narrower, numbers would be cut
WIDTH = 130


def show_checked(checked: Checked, json_file: Path | None) -> None:
    """Print data, findings and forecasts; write them as JSON if asked to."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    source = checked.data["source"]
    sizes = ", ".join(f"{count:,} {split}" for split, count in checked.data["splits"].items())
    console.print(
        escape(f"data: {checked.data['task']} from {source['location']} ({source['kind']}): {sizes}"), soft_wrap=True
    )
    for severity, message in checked.findings:
        console.print(escape(f"  {severity}: {message}"), soft_wrap=True)
    if any(group.estimate is not None for group in checked.groups):
        console.print(_table(checked))
        # of many groups, one for each degree of trust says enough
        told = [group.estimate.trust for group in checked.groups if group.estimate is not None]
        for trust in {sentence.partition("(")[0]: sentence for sentence in told}.values():
            console.print(escape(trust), soft_wrap=True)
    if checked.stages:
        console.print(_stages(checked))
    if checked.seconds is not None:
        console.print(f"all runs one after the other: about {duration(checked.seconds)}")
    console.print("[green]nothing is wrong with this recipe[/]")
    if json_file is not None:
        write_json(json_file, checked.to_json())


def _table(checked: Checked) -> Table:
    table = Table(title="forecast of one run", title_justify="left")
    for column in (
        "group",
        "runs",
        "trainable",
        "share",
        "parameters",
        "gradients",
        "optimiser",
        "activations",
        "time",
        "between",
    ):
        table.add_column(column, justify="left" if column == "group" else "right")
    for group in checked.groups:
        if group.estimate is None:
            continue
        e, m = group.estimate, group.estimate.memory
        parts = [size(value) for value in (m.parameters, m.gradients, m.optimizer, m.saved_activations)]
        bounds = f"{duration(e.seconds_low)} - {duration(e.seconds_high)}"
        counts = [f"{e.trainable:,}", f"{e.trainable / e.parameters:.2%}"]
        table.add_row(escape(group.name), str(group.seeds), *counts, *parts, duration(e.seconds), bounds)
    return table


def _stages(checked: Checked) -> Table:
    table = Table(title="forecast by stage; what runs share is done once", title_justify="left")
    for column in ("stage", "what", "steps", "memory", "time"):
        table.add_column(column, justify="left" if column in ("stage", "what") else "right")
    for stage in checked.stages:
        steps = "" if stage.steps is None else f"{stage.steps:,}"
        table.add_row(escape(stage.name), escape(stage.what), steps, size(stage.memory), duration(stage.seconds))
    return table


def size(count: float) -> str:
    """Bytes as MB or GB (powers of ten)."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    """Seconds as s, min or h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
