"""``nni-plugins list``, ``register`` and ``doctor``: what is installed, what NNI knows of it, and what is broken."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from nni_plugins.evaluators.errors import ConfigError

from ..inventory import Installed, installed_plugins
from .console import START, AsJson, app, console, emit, grid


@app.command("list", rich_help_panel=START)
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
    list_installed(as_json)


def list_installed(as_json: bool) -> None:
    """Every plugin with what it says of itself, or why it cannot be used."""
    from nni_plugins.spaces.registry import KINDS

    value = {kind: installed_plugins(kind) for kind in KINDS}
    table = grid("kind", "name", "what", "class")
    for kind, plugins in value.items():
        for plugin in plugins:
            about = f"[red]broken[/]: {escape(plugin.problem)}" if plugin.problem else escape(plugin.about)
            table.add_row(kind, plugin.name, about, plugin.origin)
    listed = {kind: {plugin.name: _described(plugin) for plugin in plugins} for kind, plugins in value.items()}
    emit(listed, as_json, table)


def _described(plugin: Installed) -> dict[str, str]:
    return {"class": plugin.origin, "about": plugin.about, "problem": plugin.problem, "remedy": plugin.remedy}


def list_presets(as_json: bool) -> None:
    """What ``init`` can write, with the beginning of each file's comment."""
    from ..presets import preset, preset_names

    presets = {name: preset(name) for name in preset_names()}
    table = grid("preset", "tuner", "what")
    table.columns[0].no_wrap = True
    for name, one in presets.items():
        beginning = re.split(r"\s\(|(?<=[.:;])\s", one.comment, maxsplit=1)[0].rstrip(":;").replace("\n", " ")
        table.add_row(name, one.tuner, beginning)
    emit({name: {"tuner": one.tuner, "comment": one.comment} for name, one in presets.items()}, as_json, table)


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


@app.command(rich_help_panel=START)
def register(as_json: AsJson = False) -> None:
    """Make our tuners known to nnictl in this Python environment; again does no harm. Example: nni-plugins register"""
    from ..portal import registration

    names = registration.register_tuners()
    emit({"tuners": names}, as_json, f"registered tuners: {', '.join(names)}")


@app.command(rich_help_panel=START)
def doctor(
    config: Annotated[Path | None, typer.Argument(help="An experiment file to check too.")] = None,
    port: Annotated[int | None, typer.Option(help="A port that must be free.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check this installation, and an experiment file. Example: nni-plugins doctor search.yml --port 8080"""
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
