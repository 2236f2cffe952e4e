"""One self-contained page, Markdown and CSV from the files of a sweep; the paper's own numbers stand beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunelet.report.page import ReportFiles


def build_report(folder: Path) -> ReportFiles:
    """See `tunelet.report.page.build_report`; imported on call, for matplotlib takes most of a second."""
    from tunelet.report import page

    return page.build_report(folder)
