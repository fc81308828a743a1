"""What the commands of the studies print alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from .console import grid

if TYPE_CHECKING:
    from nni_plugins.evaluators.reports.document import Table as ReportTable


def document_table(table: ReportTable) -> Table:
    """A table of a report, for the terminal."""
    shown = grid(*table.header)
    for row in table.rows:
        shown.add_row(*map(escape, row))
    return shown


def report_line(folder: Path, *files: str) -> str:
    """What was written into ``folder``: the report, and ``files``."""
    names = ("report/report.html", *files)
    return f"written: {escape(', '.join(str(folder / name) for name in names))}"
