"""``nni-plugins list``, ``register``, ``init`` and ``doctor``: what is installed, and what an experiment starts from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces.errors import closest

from .console import AsJson, app, console, emit, grid

PRESET_HELP = (
    "A preset, such as rlnas_digits or rfdarts_digits for a try on a CPU; nni-plugins list --presets shows all."
)


@app.command("list")
def list_plugins(
    architectures: Annotated[
        bool, typer.Option("--architectures", help="Show published architectures instead.")
    ] = False,
    space: Annotated[str | None, typer.Option(help="Only architectures of this space.")] = None,
    presets: Annotated[
        bool, typer.Option("--presets", help="Show the experiment files that init writes instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show all plugins, all published architectures or all presets. Example: nni-plugins list --architectures --space
    darts
    """
    if architectures and presets:
        raise ConfigError("--architectures and --presets are two lists.", "Give one of them.")
    if architectures:
        list_architectures(space, as_json)
        return
    if space is not None:
        raise ConfigError("--space goes with --architectures.", f"nni-plugins list --architectures --space {space}")
    if presets:
        list_presets(as_json)
        return
    from .. import registry

    value = {
        kind: {name: entry.value for name, entry in sorted(registry.found(kind).items())} for kind in registry.KINDS
    }
    table = grid("kind", "name", "class")
    for kind, plugins in value.items():
        for name, origin in plugins.items():
            table.add_row(kind, name, origin)
    emit(value, as_json, table)


def list_presets(as_json: bool) -> None:
    """What ``init`` can write, with the beginning of each file's comment."""
    from ..presets import PRESETS

    value = {name: {"tuner": preset.tuner, "comment": preset.comment} for name, preset in PRESETS.items()}
    table = grid("preset", "tuner", "what")
    table.columns[0].no_wrap = True
    for name, preset in PRESETS.items():
        table.add_row(
            name,
            preset.tuner,
            re.split(r"\s\(|(?<=[.:;])\s", preset.comment, maxsplit=1)[0].rstrip(":;").replace("\n", " "),
        )
    emit(value, as_json, table)


def list_architectures(space: str | None, as_json: bool) -> None:
    """Published architectures with the size of the network that each file describes."""
    from dataclasses import asdict

    from nni_plugins.spaces.published import names, published

    wide = not console.is_terminal or console.width >= 135
    table = grid(
        *(
            "name space title input parameters multiply-adds source" if wide else "name title parameters multiply-adds"
        ).split()
    )
    table.columns[0].no_wrap = True
    rows: list[dict[str, Any]] = []
    for entry in map(published, names(space)):
        costs = entry.space.cost_table(entry.image_size)(entry.space.encode([entry.architecture]))
        parameters, macs = int(costs.parameters[0]), int(costs.macs[0])
        about = {"name": entry.name, "space": dict(entry.arguments), "title": entry.title, "input": entry.input}
        source = {"source": asdict(entry.source), "architecture": entry.text, "notes": entry.notes}
        rows.append({**about, "parameters": parameters, "macs": macs, **source})
        size = f"{parameters / 1e6:,.2f} M", f"{macs / 1e6:,.1f} M"
        cited = f"{entry.source.paper} {entry.source.year}"
        cells = (
            (entry.name, entry.space_name, entry.title, entry.input, *size, cited)
            if wide
            else (entry.name, entry.title, *size)
        )
        table.add_row(*cells)
    if not as_json and not rows:
        console.print(f"no architecture of {space} is published here")
    elif as_json or console.is_terminal:
        emit(rows, as_json, table)
    else:
        Console(width=1000).print(table)  # whole lines for grep


@app.command()
def register(as_json: AsJson = False) -> None:
    """Make our tuners known to nnictl in this Python environment; again does no harm. Example: nni-plugins register"""
    from ..portal import registration

    names = registration.register()
    emit({"tuners": names, "meta": str(registration.meta_path())}, as_json, f"registered tuners: {', '.join(names)}")


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="The experiment file to write.")],
    preset: Annotated[str, typer.Option(help=PRESET_HELP)] = "rlnas_digits",
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write an experiment file for nnictl create. Example: nni-plugins init search.yml --preset rlnas_nasbench201"""
    from nni_plugins.evaluators.files import atomic_write

    from ..presets import PRESETS, render

    if preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset!r}; {closest(preset, PRESETS)}")
    if file.exists() and not force:
        raise ConfigError(f"{file} exists.", "Choose another name, or pass --force to overwrite it.")
    atomic_write(file.resolve(), render(preset).encode())
    emit(
        {"file": str(file), "preset": preset},
        as_json,
        f"{file} written; start it with: nnictl create --config {file} --port 8080",
    )


@app.command()
def doctor(
    config: Annotated[Path | None, typer.Argument(help="An experiment file to check too.")] = None,
    port: Annotated[int | None, typer.Option(help="A port that must be free.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check this installation, and an experiment file. Example: nni-plugins doctor examples/rlnas_digits.yml --port
    8080
    """
    from dataclasses import asdict

    from ..doctor import examine

    findings = examine(config, port)
    table = grid("", "state", "detail", "remedy")
    for finding in findings:
        colour = {"ok": "green", "missing": "yellow", "broken": "red"}[finding.state]
        table.add_row(finding.subject, f"[{colour}]{finding.state}[/]", escape(finding.detail), escape(finding.remedy))
    emit([asdict(finding) for finding in findings], as_json, table)
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(2)
