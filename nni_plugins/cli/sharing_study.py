"""``nni-plugins sharing-study``: what weight sharing does to the ranking of recurrent cells."""

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


@app.command("sharing-study", rich_help_panel=COMPARE)
def sharing_study(
    config: Annotated[Path, typer.Argument(help="An experiment file of the tuner SharingStudy.")],
    output: Output = Path("runs/sharing-study"),
    processes: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Show how sharing weights changes rankings of cells. Example: nni-plugins sharing-study x.yml --output runs/x"""
    value = run_file(config, "sharing-study", output, processes, as_json)
    emit(value, as_json, Group(*_shown(value, output)))


def _shown(value: Mapping[str, Any], folder: Path) -> list[RenderableType]:
    from nni_plugins.evaluators.reports.sharing_study.report import key_table, sentences

    parts: list[RenderableType] = [f"[bold]{escape(value['title'])}[/]", document_table(key_table(value))]
    parts += map(escape, sentences(value))
    for one in value["amounts"] or []:
        changes = ", ".join(f"{g['matrices']}: {g['change']:+.2f}" for g in one["groups"])
        parts.append(
            f"{one['key']}: change of position by number of shared matrices: {changes} (positive: ranked too low)"
        )
    if value["failed"]:
        parts.append(f"failed: {escape(', '.join(value['failed']))}")
    return [*parts, report_line(folder, "study.json", "cells.csv", "runs.csv")]
