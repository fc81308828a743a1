"""``nni-plugins diagnose``: why a search went as it went, in numbers and pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Group
from rich.markup import escape

from nni_plugins.evaluators.errors import ConfigError

from ..studies.diagnose.settings import STUDIES, from_yaml
from .console import AsJson, app, console, emit, grid

group = typer.Typer(no_args_is_help=False, add_completion=False)
app.add_typer(group, name="diagnose")

Config = Annotated[Path, typer.Argument(help="A YAML file, as `diagnose init` writes it.")]
Format = Annotated[Literal["png", "svg", "pdf"], typer.Option("--format", help="Of the pictures.")]
Output = Annotated[
    Path | None,
    typer.Option(help="Folder of the study; an interrupted one in it continues. [default: runs/diagnose-STUDY]"),
]


@group.callback(invoke_without_command=True)
def diagnose(context: typer.Context, as_json: AsJson = False) -> None:
    """Say why a search went as it went; alone: list what there is. Example: nni-plugins diagnose search runs/search"""
    if context.invoked_subcommand is not None:
        if as_json:
            raise ConfigError(
                "--json stands before the command that it is meant for.",
                f"Write: nni-plugins diagnose {context.invoked_subcommand} ... --json",
            )
        return
    value = {"search": "alphas, skip connections, entropies and eigenvalues of a search that has run"}
    value |= {name: study.about for name, study in STUDIES.items()}
    table = grid("command", "what it shows")
    for name, about in value.items():
        table.add_row(name, about)
    emit(value, as_json, Group(table, "\nnni-plugins diagnose COMMAND --help says more."))


def _show(value: dict[str, Any], output: Path, as_json: bool) -> None:
    written = [str(output / name) for name in ("diagnosis.json", *value["pictures"])]
    emit(
        value,
        as_json,
        Group(*(escape(line) for line in value["reading"]), *(f"written: {escape(name)}" for name in written)),
    )


@group.command()
def init(
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    study: Annotated[str, typer.Option(help=", ".join(STUDIES))] = "lambda",
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a study's file, small enough for digits on one core. Example: nni-plugins diagnose init lambda.yml --study
    lambda
    """
    from nni_plugins.evaluators.files import atomic_write
    from nni_plugins.spaces.errors import closest

    from ..studies.diagnose.presets import render

    if study not in STUDIES:
        raise ConfigError(f"unknown study {study!r}; {closest(study, STUDIES)}")
    if file.exists() and not force:
        raise ConfigError(f"{file} exists.", "Choose another name, or pass --force to overwrite it.")
    atomic_write(file.resolve(), render(study).encode())
    emit(
        {"file": str(file), "study": study},
        as_json,
        f"{file} written; run it with: nni-plugins diagnose {study} {file}",
    )


@group.command()
def search(
    run: Annotated[Path, typer.Argument(help="A run's folder, or the folder of one of its searches.")],
    output: Annotated[Path | None, typer.Option(help="Where pictures go. [default: RUN/diagnosis]")] = None,
    picture_format: Format = "png",
    as_json: AsJson = False,
) -> None:
    """Draw a search that has run, and say whether it collapsed to skips. Example: nni-plugins diagnose search
    runs/search
    """
    from ..studies.diagnose.diagnosis import diagnose_search

    folder = output or run / "diagnosis"
    _show(diagnose_search(run, folder, picture_format), folder, as_json)


def _study(name: str) -> Callable[..., None]:
    def command(config: Config, output: Output = None, picture_format: Format = "png", as_json: AsJson = False) -> None:
        settings = from_yaml(config, name)
        from ..experiment.plan import Job
        from ..studies.diagnose.diagnosis import diagnose as run_study
        from .progress import Bars

        folder = output or Path("runs") / f"diagnose-{name}"
        with Bars(console, quiet=as_json) as bars:
            value = run_study(
                settings, folder.resolve(), lambda part, row: bars(Job(part, "search", 0), row), picture_format
            )
        _show(value, folder, as_json)

    command.__doc__ = f"Show {STUDIES[name].about}. Example: nni-plugins diagnose {name} {name}.yml"
    return command


for _name in STUDIES:
    group.command(_name)(_study(_name))
