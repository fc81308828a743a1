"""``nni-plugins show``: the size and the picture of one architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from nni_plugins.evaluators.errors import ConfigError

from .console import AsJson, app, emit, grid, key_value


@app.command()
def show(
    architecture: Annotated[
        str, typer.Argument(help="The name of a published architecture, a native string, or JSON.")
    ],
    space: Annotated[
        str | None, typer.Option(help="The space's registered name; nasbench201 unless a name brings its own.")
    ] = None,
    argument: Annotated[
        list[str] | None, typer.Option("--set", help="An argument of the space, such as nodes=3; may be repeated.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Pixels a side, for the multiply-adds; by default as published, or 32.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the cell into this PNG, SVG or PDF.")] = None,
    as_json: AsJson = False,
) -> None:
    """Parameters, multiply-adds and a picture of an architecture. Example: nni-plugins show darts_v2 --set channels=40
    --picture darts.png
    """
    from nni_plugins.spaces.drawing import draw_cell
    from nni_plugins.spaces.published import names, published

    from ..experiment.settings import build_space

    arguments = dict(key_value(text) for text in argument or [])
    about: dict[str, Any] = {}
    if architecture in names() or (space is None and architecture.isidentifier()):  # no native string is a single word
        entry = published(architecture)
        if space not in (None, entry.space_name):
            raise ConfigError(
                f"{architecture} is an architecture of {entry.space_name!r}, but got --space {space}.",
                "Leave --space out.",
            )
        built, text, size = entry.space_with(**arguments), entry.text, image_size or entry.image_size
        about = {
            "name": entry.name,
            "title": entry.title,
            "source": f"{entry.source.paper} {entry.source.year}; {entry.source.where}",
        }
        about |= {"notes": entry.notes} if entry.notes else {}
        about["input"] = f"{size}x{size}" if image_size else entry.input
    else:
        built, text, size = build_space({"name": space or "nasbench201", **arguments}), architecture, image_size or 32
    parsed = built.parse(text)
    indices = built.encode([parsed])
    costs = built.cost_table(size)(indices)
    value = {
        **about,
        "space": repr(built),
        "architecture": built.to_string(parsed),
        "canonical": built.canonical(parsed),
        "parameters": int(costs.parameters[0]),
        "macs": int(costs.macs[0]),
        "paths": int(built.complete_paths(indices)[0]),
        "picture": None if picture is None else str(draw_cell(built, parsed, picture, about.get("title", ""))),
    }
    table = grid("", "")
    for key, given in value.items():
        table.add_row(key, f"{given:,}" if isinstance(given, int) else escape(str(given)))
    emit(value, as_json, table)
