"""What every command stands on: the application that it registers on, and how it prints."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.table import Table
from typer.core import TyperGroup

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.files import parse_yaml
from nni_plugins.spaces.errors import shown

START, SEARCH, COMPARE = "Start", "Search", "Compare and study"
NETWORKS, TRAIN = "Architectures", "Train and transfer"
PANELS = (START, SEARCH, COMPARE, TRAIN, NETWORKS)
"""Headings under which ``--help`` lists the commands, in this order; a command says its own by ``rich_help_panel``."""
VALUES = {"<bool>": "", "<path>": "PATH", "<int>": "NUMBER", "<int range>": "NUMBER", "<float range>": "NUMBER"}
"""What ``--help`` shows of an option's value, by the type that typer shows; flags have none, all others are ``TEXT``."""


class Commands(TyperGroup):
    """A group whose commands stand under headings in a fixed order, and whose options show no Python types."""

    def list_commands(self, ctx: Any) -> list[str]:
        panel = {name: command.rich_help_panel for name, command in self.commands.items()}  # type: ignore[attr-defined]
        return sorted(self.commands, key=lambda name: PANELS.index(panel[name]) if panel[name] in PANELS else 0)

    def get_params(self, ctx: Any) -> list[Any]:
        return _readable(super().get_params(ctx), ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is not None and not isinstance(command, Commands):
            _readable(command.get_params(ctx), ctx)
        return command


def _readable(parameters: list[Any], context: Any) -> list[Any]:
    """The same objects, each option with the word that ``--help`` shows for its value."""
    for one in parameters:
        if one.param_type_name == "option" and one.metavar is None:
            one.metavar = VALUES.get(one.display_type(context), "TEXT")
    return parameters


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Label-free architecture search for NNI.",
)
console = Console()


def _version(wanted: bool) -> None:
    if wanted:
        from nni_plugins.evaluators.versions import versions

        print(f"nni-plugins {versions('nni-plugins')['nni-plugins']}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Label-free architecture search for NNI."""


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def emit(value: Any, as_json: bool, table: RenderableType) -> None:
    """``value`` as JSON, or ``table``."""
    if as_json:
        print(json.dumps(value, indent=2))
    else:
        console.print(table)


def grid(*columns: str) -> Table:
    """An empty table with these columns."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def key_value(text: str, option: str = "--set") -> tuple[str, Any]:
    """``key=value`` of an option, the value read as YAML.

    Raises:
        ConfigError: it is no such pair, or its value is not YAML.
    """
    key, sign, value = text.partition("=")
    if not sign:
        raise ConfigError(f"{option} {text}: must be key=value, such as nodes=3.")
    try:
        return key, parse_yaml(value)
    except ValueError as error:
        raise ConfigError(
            f"{option} {text}: {shown(value)} is not YAML: {' '.join(str(error).split())[:120]}."
        ) from None
