"""``nni-plugins init`` and ``search``: an experiment file to start from, and its run in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group

from nni_plugins.evaluators.errors import ConfigError

from .console import SEARCH, START, AsJson, app, emit
from .running import Output, Processes, run_file

PRESET_HELP = (
    "A preset, such as rlnas_digits or rfdarts_digits for a try on a CPU; nni-plugins list --presets shows all."
)


@app.command(rich_help_panel=START)
def init(
    file: Annotated[Path, typer.Argument(help="The experiment file to write.")],
    preset: Annotated[str, typer.Option(help=PRESET_HELP)] = "rlnas_digits",
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write an experiment file for nnictl create. Example: nni-plugins init search.yml --preset rlnas_nasbench201"""
    from nni_plugins.evaluators.files import atomic_write

    from ..presets import render_preset

    text = render_preset(preset)
    if file.exists() and not force:
        raise ConfigError(f"{file} exists.", "Choose another name, or pass --force to overwrite it.")
    atomic_write(file.resolve(), text.encode())
    emit(
        {"file": str(file), "preset": preset},
        as_json,
        f"{file} written; start it with: nnictl create --config {file} --port 8080",
    )


@app.command(rich_help_panel=START)
def complete(
    file: Annotated[Path, typer.Argument(help="An experiment file; what stands in it stays, comments too.")],
    as_json: AsJson = False,
) -> None:
    """Write into an experiment file what follows from the rest of it, and what else nnictl create needs.
    Example: nni-plugins complete search.yml
    """
    from nni_plugins.evaluators.files import atomic_write

    from ..experiment.file import FOLLOWING, completed, missing_for_nni

    missing = missing_for_nni(file)
    text = completed(file)
    atomic_write(file.resolve(), text.encode())
    written = list(dict.fromkeys([*missing, *FOLLOWING]))
    emit({"file": str(file), "written": written}, as_json, f"{file}: {', '.join(written)} written.")


@app.command(rich_help_panel=SEARCH)
def search(
    config: Annotated[Path, typer.Argument(help="An experiment file, as nnictl create takes it.")],
    output: Output = Path("runs/search"),
    processes: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Run an experiment of a strategy without NNI's manager. Example: nni-plugins search x.yml --output runs/x"""
    result = run_file(config, "search", output, processes, as_json)
    from .report import draw_best, result_table

    draw_best(result, output)
    emit(result, as_json, Group(result_table(result), f"report: {output / 'report' / 'report.html'}"))
