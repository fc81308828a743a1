"""``nni-plugins show`` and ``width``: the size and the picture of one architecture, and its size at other widths."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from nni_plugins.evaluators.files import read_json
from nni_plugins.spaces.architecture import Architecture as SpaceArchitecture
from nni_plugins.spaces.base import ImageSize, SearchSpace

from .console import NETWORKS, AsJson, app, emit, grid
from .options import Architecture, Job, Rank, Space, SpaceArgument, key_values, origin_line, origin_of

USUAL_SIZE = 32
"""Pixels a side for which multiply-adds are counted where nothing says another size."""


@app.command(rich_help_panel=NETWORKS)
def show(
    architecture: Architecture,
    space: Space = None,
    space_argument: SpaceArgument = None,
    rank: Rank = 1,
    job: Job = None,
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Pixels a side, for the multiply-adds; by default as published, or 32.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the cell into this PNG, SVG or PDF.")] = None,
    features: Annotated[
        bool,
        typer.Option("--features", help="Its feature maps, and the lines for a configuration file of OpenMMLab's."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Parameters, multiply-adds and a picture of an architecture; of a search, or an NNI experiment's ID, the table of
    its results, too. Example: nni-plugins show darts_v2 --space-argument channels=40 --picture darts.png
    """
    from nni_plugins.spaces.drawing import draw_cell
    from nni_plugins.spaces.published import names, published

    found = origin_of(architecture, space, space_argument, rank, job)
    built, chosen = found.subject.in_space("only networks of our spaces are shown")
    about: dict[str, Any] = {}
    size: ImageSize = image_size or USUAL_SIZE
    if found.subject.name in names():
        entry = published(found.subject.name)
        size = image_size or entry.image_size
        about = {"name": entry.name, "title": entry.title, "source": found.about["source"]}
        about |= {"notes": entry.notes} if entry.notes else {}
        about["input"] = f"{size}x{size}" if image_size else entry.input
    indices = built.encode([chosen])
    costs = built.cost_table(size)(indices)
    value = {
        **about,
        "space": repr(built),
        "architecture": built.to_string(chosen),
        "canonical": built.canonical(chosen),
        "parameters": int(costs.parameters[0]),
        "macs": int(costs.macs[0]),
        "paths": int(built.complete_paths(indices)[0]),
        "picture": None if picture is None else str(draw_cell(built, chosen, picture, about.get("title", ""))),
        "origin": found.about,
    }
    lines: list[RenderableType] = []
    if features:
        name = found.subject.name if found.subject.name in names() else None
        value["features"], text = _features(built, chosen, name, key_values(space_argument, "--space-argument"))
        value["configuration"] = text
        stages = grid("map", "channels", "stride", "returned by default")
        for stage in value["features"]:
            stages.add_row(
                *(str(stage[key]) for key in ("index", "channels", "stride")), "yes" if stage["returned"] else ""
            )
        lines = [stages, Text(text, no_wrap=True, overflow="ignore")]
    table = grid("", "")
    for key, given in {**value, "origin": origin_line(found.about)}.items():
        if key not in ("features", "configuration") and (key != "origin" or given is not None):
            table.add_row(key, f"{given:,}" if isinstance(given, int) else escape(str(given)))
    emit(value, as_json, Group(*_results(found.about), table, *lines))


def _features(
    space: SearchSpace, architecture: SpaceArchitecture, name: str | None, arguments: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], str]:
    """All feature maps of a network, and what a configuration file of OpenMMLab's says for those that are returned.

    Raises:
        ConfigError: its networks have none.
    """
    from nni_plugins.evaluators.mmlab.backbone import feature_channels

    named: dict[str, Any]
    if name is None:
        named = {"architecture": space.to_string(architecture), "space": space.name, "arguments": _changed(space)}
    else:
        named = {"architecture": name, "arguments": dict(arguments)}
    every, returned = (feature_channels(**named, every=choice) for choice in (True, False))
    first = next(i for i in range(len(every)) if every[i : i + len(returned)] == returned)
    rows = [
        {"index": i, "channels": one.channels, "stride": one.stride, "returned": first <= i < first + len(returned)}
        for i, one in enumerate(every)
    ]
    given = "".join(f"        {key}={entry!r},\n" for key, entry in named.items() if entry != {})
    channels, strides = [one.channels for one in returned], [one.stride for one in returned]
    text = (
        'custom_imports = dict(\n    imports=["nni_plugins.evaluators.mmlab.backbones"], allow_failed_imports=False\n)\n'
        f'model = dict(\n    backbone=dict(\n        _delete_=True,\n        type="NASBackbone",\n{given}    ),\n'
        f"    neck=dict(in_channels={channels}),  # of strides {strides}\n)"
    )
    return rows, text


def _changed(space: SearchSpace) -> dict[str, Any]:
    """The arguments of ``space`` that are not its defaults, without those that head and images decide."""
    defaults = inspect.signature(type(space)).parameters
    return {
        key: value
        for key, value in space.config().items()
        if key not in ("classes", "head", "input_channels") and value != defaults[key].default
    }


def _results(about: Mapping[str, Any]) -> list[RenderableType]:
    """The table of a search's results."""
    if about["kind"] != "search":
        return []
    from .report import result_table

    return [result_table(read_json(Path(about["file"]), "Run the search again."))]


@app.command(rich_help_panel=NETWORKS)
def width(
    architecture: Architecture,
    macs: Annotated[
        tuple[float, float] | None, typer.Option(help="Least and most multiply-adds of an image, such as 500e6 600e6.")
    ] = None,
    parameters: Annotated[tuple[float, float] | None, typer.Option(help="Least and most parameters.")] = None,
    image_size: Annotated[int, typer.Option(min=4, help="Pixels a side.")] = 224,
    multiple: Annotated[int, typer.Option(min=1, help="Only widths that it divides.")] = 2,
    space: Space = None,
    space_argument: SpaceArgument = None,
    rank: Rank = 1,
    job: Job = None,
    as_json: AsJson = False,
) -> None:
    """The widths at which a network's size lies in a range. Example: nni-plugins width darts_v2 --macs 500e6 600e6"""
    from nni_plugins.evaluators.retraining.settings import WidthSettings
    from nni_plugins.evaluators.retraining.widths import width as chosen_width
    from nni_plugins.evaluators.retraining.widths import widths
    from nni_plugins.evaluators.settings import read
    from nni_plugins.evaluators.subjects.subject import of_images

    limits = read(WidthSettings, {"macs": macs, "parameters": parameters, "multiple": multiple}, "")
    one = of_images(origin_of(architecture, space, space_argument, rank, job).subject)
    built, chosen = one.in_space("a width is chosen for networks of our spaces only")
    chosen_width(built, chosen, limits, image_size)  # which says what is nearest, where none fits
    rows = widths(built, chosen, limits, image_size)
    table = grid("channels", "parameters", "multiply-adds")
    for row in rows:
        table.add_row(str(row.channels), f"{row.parameters:,}", f"{row.macs:,}")
    value = {
        "space": repr(built),
        "architecture": one.text,
        "image_size": image_size,
        "widths": [row._asdict() for row in rows],
    }
    emit(value, as_json, table)
