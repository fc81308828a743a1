"""``nni-plugins rank-study``: how well one-shot evaluation ranks architectures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.markup import escape

from .console import AsJson, app, emit, grid

FOLDER = Path("runs/rank-study")


@app.command("rank-study")
def rank_study(
    config: Annotated[Path, typer.Argument(help="A YAML file of the study; examples/rank_study_digits.yml is one.")],
    run_folder: Annotated[Path, typer.Option(help="Folder of the study; an interrupted one in it continues.")] = FOLDER,
    as_json: AsJson = False,
) -> None:
    """Show how well a supernet's shared weights rank architectures. Example: nni-plugins rank-study
    examples/rank_study_digits.yml
    """
    from ..studies.rank.settings import from_yaml

    settings = from_yaml(config)
    from ..studies.rank.run import rank_study as run_study
    from .progress import followed

    value = followed(run_study, settings, run_folder, as_json)
    emit(value, as_json, Group(*_shown(value, run_folder)))


def _shown(value: dict[str, Any], folder: Path) -> list[RenderableType]:
    from ..studies.rank.report import PRINTED, explanation, heads_and_cells

    parts: list[RenderableType] = [f"[bold]{escape(value['title'])}[/]"]
    for table in value["tables"]:
        names, rows = heads_and_cells(table)
        shown = grid(*names)
        for row in rows:
            shown.add_row(*map(escape, row))
        parts += [f"\nTable {table['number']}, {escape(table['title'])}", shown]
    parts += ["", escape(explanation(len(value["settings"]["seeds"]))), escape(value["noise"]["sentence"]), PRINTED]
    written = ("rank_study.json", "rows.csv", "scores.csv", "report.md", *value["pictures"])
    return [*parts, f"written: {escape(', '.join(str(folder / name) for name in written))}"]
