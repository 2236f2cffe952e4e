"""Writes the report of a sweep: `report.html`, `report.md` and `csv/*.csv`. Not here: what they say (`content.py`).

The page is one file: style and plots are inlined, there is no script, and nothing is fetched. Everything that comes
from data is escaped by the template engine; only the plots' SVG, which we made ourselves, is not.

Example:
    >>> files = build_report(Path("out/emotion"))           # doctest: +SKIP
    >>> files.html                                          # doctest: +SKIP
    PosixPath('out/emotion/report.html')
"""

from __future__ import annotations

import importlib
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import jinja2

from tunelet.base.errors import DamagedFileError
from tunelet.base.files import read_json, write_atomic
from tunelet.report.content import Report, make_report
from tunelet.report.results import read_sweep

#: system -> the module whose `make` gathers its report; of all others, `content` does
CONTENTS = {
    "adapt-lm": "tunelet.report.adapt_lm",
    "fuse": "tunelet.report.fuse",
    "rescore": "tunelet.report.rescore",
    "understand-base": "tunelet.report.understand_base",
    "speech-encoder": "tunelet.report.speech_encoder",
    "understand": "tunelet.report.understand",
}


@dataclass(frozen=True)
class ReportFiles:
    """Where the report was written."""

    html: Path
    md: Path
    csv: tuple[Path, ...]


def build_report(folder: Path) -> ReportFiles:
    """Write the report of a sweep, finished or half-way, beside its `result.json`.

    Reads only what stands on disk, so the same files give the same report, byte for byte. Each file is replaced
    atomically.

    Raises:
        InputError: `result.json` or a file of a run is missing or wrong; file, line and field are named.
    """
    folder = Path(folder)
    report = _gathered(folder)
    paths = []
    for name, text in report.csv.items():
        paths.append(folder / "csv" / f"{name}.csv")
        write_atomic(paths[-1], text)
    write_atomic(folder / "report.md", render_markdown(report))
    write_atomic(folder / "report.html", render_html(report))
    return ReportFiles(folder / "report.html", folder / "report.md", tuple(paths))


def _gathered(folder: Path) -> Report:
    """What the report of the folder's system says."""
    result = None
    with suppress(DamagedFileError):  # missing or damaged: `read_sweep` says so
        result = read_json(folder / "result.json")
    module = CONTENTS.get(str(result.get("system"))) if isinstance(result, dict) else None
    if module is not None:
        found: Report = importlib.import_module(module).make(folder)
        return found
    return make_report(read_sweep(folder))


def render_html(report: Report) -> str:
    """The page as one HTML document."""
    return _environment(autoescape=True).get_template("report.html.j2").render(report=report)


def render_markdown(report: Report) -> str:
    """The same content as Markdown; plots are left to the page and the CSV files."""
    environment = _environment(autoescape=False)
    environment.filters["md"] = escape_markdown
    text = environment.get_template("report.md.j2").render(report=report)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, also inside a table cell: no markup, no HTML, one line."""
    text = " ".join(str(text).split())
    text = re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _environment(*, autoescape: bool) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("tunelet.report", "templates"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
