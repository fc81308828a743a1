"""``nni-plugins sharing-study``: what weight sharing does to the ranking of recurrent cells."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.markup import escape

from .console import AsJson, app, emit, grid

FOLDER = Path("runs/sharing-study")


@app.command("sharing-study")
def sharing_study(
    config: Annotated[
        Path, typer.Argument(help="A YAML file of the study; examples/sharing_study_wikitext2.yml is one.")
    ],
    run_folder: Annotated[Path, typer.Option(help="Folder of the study; an interrupted one in it continues.")] = FOLDER,
    as_json: AsJson = False,
) -> None:
    """Show how weight sharing changes the ranking of recurrent cells. Example: nni-plugins sharing-study
    examples/sharing_study_wikitext2.yml
    """
    from ..studies.sharing.settings import from_yaml

    settings = from_yaml(config)
    from ..studies.sharing.run import sharing_study as run_study
    from .progress import followed

    value = followed(run_study, settings, run_folder, as_json)
    emit(value, as_json, Group(*_shown(value, run_folder)))


def _shown(value: dict[str, Any], folder: Path) -> list[RenderableType]:
    from nni_plugins.evaluators.reports.sharing_study.report import shown

    table = grid("sharing", "runs", "mean tau-b", "95 % interval", "p", "best", "average", "worst")
    for key in value["keys"]:
        runs = value["runs"][key["key"]]
        taus = (shown(runs[key[which]]["kendall"]["value"]) for which in ("best", "average", "worst"))
        interval = f"[{shown(key['low'])}, {shown(key['high'])}]"
        table.add_row(key["key"], str(key["runs"]), shown(key["mean"]), escape(interval), shown(key["p"], 4), *taus)
    parts: list[RenderableType] = [f"[bold]{escape(value['title'])}[/]", table]
    parts.append(
        f"{len(value['cells'])} cells; by chance one run's tau has a standard deviation of {value['chance']['kendall']:.3f}"
    )
    for one in value["amounts"] or []:
        changes = ", ".join(f"{g['matrices']}: {g['change']:+.2f}" for g in one["groups"])
        parts.append(
            f"{one['key']}: change of position by number of shared matrices: {changes} (positive: ranked too low)"
        )
    written = ("study.json", "cells.csv", "runs.csv", "report.md", *value["pictures"])
    return [*parts, f"written: {escape(', '.join(str(folder / name) for name in written))}"]
