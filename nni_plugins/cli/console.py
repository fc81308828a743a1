"""What every command stands on: the application that it registers on, and how it prints."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.table import Table

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.files import parse_yaml
from nni_plugins.spaces.errors import shown

app = typer.Typer(
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
