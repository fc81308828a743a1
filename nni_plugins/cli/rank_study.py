"""``nni-plugins rank-study``: how well one-shot evaluation ranks architectures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.markup import escape

from .console import COMPARE, AsJson, app, emit
from .running import Output, Processes, run_file
from .study import document_table, report_line


@app.command("rank-study", rich_help_panel=COMPARE)
def rank_study(
    config: Annotated[Path, typer.Argument(help="An experiment file of the tuner RankStudy.")],
    output: Output = Path("runs/rank-study"),
    processes: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Show how well shared weights rank architectures. Example: nni-plugins rank-study x.yml --output runs/x"""
    value = run_file(config, "rank-study", output, processes, as_json)
    emit(value, as_json, Group(*_shown(value, output)))


def _shown(value: Mapping[str, Any], folder: Path) -> list[RenderableType]:
    from nni_plugins.evaluators.reports.rank_study.report import PRINTED, explanation, shown_table

    parts: list[RenderableType] = [f"[bold]{escape(value['title'])}[/]"]
    for table in value["tables"]:
        parts += [f"\nTable {table['number']}, {escape(table['title'])}", document_table(shown_table(table))]
    parts += ["", escape(explanation(value)), escape(value["noise"]["sentence"]), escape(PRINTED)]
    if value["failed"]:
        parts.append(f"failed: {escape(', '.join(value['failed']))}")
    return [*parts, report_line(folder, "rank_study.json", "rows.csv", "scores.csv")]
