"""``nni-plugins diagnose``: why a search went as it went, in numbers and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.markup import escape

from nni_plugins.evaluators.errors import ConfigError

from .console import SEARCH, AsJson, Commands, app, emit, grid
from .running import Output, Processes, run_file
from .study import report_line


class _FileOrCommand(Commands):
    """``diagnose x.yml`` is ``diagnose run x.yml``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["run", *args])


group = typer.Typer(no_args_is_help=False, add_completion=False, cls=_FileOrCommand)
app.add_typer(group, name="diagnose", rich_help_panel=SEARCH)


@group.callback(invoke_without_command=True)
def diagnose(context: typer.Context, as_json: AsJson = False) -> None:
    """Say why a search went as it went; alone: list what there is. Example: nni-plugins diagnose search runs/search"""
    if context.invoked_subcommand is not None:
        if as_json:
            raise ConfigError("--json stands before the command that it is meant for.", "Write it at the end.")
        return
    from ..studies.diagnose.experiment import QUESTIONS
    from ..studies.diagnose.searches import ABOUT

    value = {"search": ABOUT, **{study: question.about for study, question in QUESTIONS.items()}}
    table = grid("diagnosis", "about", "command")
    for study, about in value.items():
        command = "search RUN" if study == "search" else f"FILE  (init FILE --preset diagnose_{study})"
        table.add_row(study, escape(about), escape(f"nni-plugins diagnose {command}"))
    emit(value, as_json, table)


@group.command()
def run(
    config: Annotated[Path, typer.Argument(help="An experiment file of the tuner Diagnose.")],
    output: Output = Path("runs/diagnose"),
    processes: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Run the diagnosis of a file; the word `run` may be left out. Example: nni-plugins diagnose x.yml"""
    _show(run_file(config, "diagnose", output, processes, as_json), output, as_json)


@group.command()
def search(
    run: Annotated[Path, typer.Argument(help="A run's folder, or the folder of one of its searches.")],
    output: Annotated[Path | None, typer.Option(help="Where the report goes. \\[default: RUN/diagnosis]")] = None,
    as_json: AsJson = False,
) -> None:
    """Draw a search that has run, and say whether it collapsed. Example: nni-plugins diagnose search runs/search"""
    from ..studies.diagnose.searches import diagnose_search

    folder = output or run / "diagnosis"
    _show(diagnose_search(run, folder), folder, as_json)


def _show(value: dict[str, Any], folder: Path, as_json: bool) -> None:
    lines = [*map(escape, value["reading"]), report_line(folder, "diagnosis.json", "parts.csv")]
    if value["failed"]:
        lines.insert(0, f"failed: {escape(', '.join(value['failed']))}")
    emit(value, as_json, Group(*lines))
