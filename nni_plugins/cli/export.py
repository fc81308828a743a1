"""``nni-plugins export``: an architecture's network as a file for other programs."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from nni_plugins.evaluators.errors import ConfigError, ExportError

from .console import AsJson, app, emit, grid

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nni_plugins.spaces.architecture import Architecture
    from nni_plugins.spaces.base import SearchSpace


def resolve(text: str, space: str | None, arguments: dict[str, Any]) -> tuple[SearchSpace, Architecture]:
    """The space and the architecture that ``text`` means: a published name, our JSON, or the native string of
    ``space``.

    A native string without ``space`` is one of nasbench201, as for ``nni-plugins show``.

    Raises:
        ConfigError: a foreign argument, or a published architecture of another space.
        SpaceError: no such architecture.
    """
    from nni_plugins.spaces import registered
    from nni_plugins.spaces.architecture import Architecture
    from nni_plugins.spaces.published import names, published

    from ..experiment.settings import build_space

    classes = {"classes": arguments.pop("classes")} if "classes" in arguments else {}
    if text in names() or (space is None and text.isidentifier()):  # no native string is a single word
        item = published(text)
        if space not in (None, item.space_name):
            raise ConfigError(
                f"{text} is an architecture of {item.space_name}, but --space is {space}.", "Leave --space out."
            )
        built = item.space_with(**arguments, **classes)
        return built, built.check(item.architecture)
    if space is None and '"choices"' in text:
        space = Architecture.from_json(text).space
    name = space or "nasbench201"
    built = registered.build(name, arguments) if name in registered.SPACES else build_space({"name": name, **arguments})
    built = built.with_classes(**classes) if classes else built
    return built, built.parse(text)


def _network(
    text: str, space: str | None, arguments: dict[str, Any], image_size: int | None, weights: Path | None
) -> tuple[nn.Module, torch.Tensor, dict[str, Any]]:
    """The network that an architecture means, an example of its images, and what is reported of it."""
    from nni_plugins.spaces.images import ImageSpace

    built, parsed = resolve(text, space, arguments)
    if not isinstance(built, ImageSpace):
        raise ExportError(f"only networks of images are exported, but {built.name} has none.")
    import torch

    from nni_plugins.evaluators.interchange.export import usual_image_size
    from nni_plugins.evaluators.interchange.weights import load_into, settle
    from nni_plugins.evaluators.randomness import torch_fork

    with torch_fork(0, "initialisation"):
        network = built.network(parsed)
    if weights is not None:
        load_into(network, weights)
    side = image_size or usual_image_size(built)
    tiles = (built.head.tiles,) if built.head.kind == "jigsaw" else ()
    example = torch.zeros(2, *tiles, built.input_channels, side, side)
    if weights is None:
        settle(network, example)
    drawn = "random" if weights is None else str(weights)
    return (
        network,
        example,
        {"space": repr(built), "architecture": built.to_string(parsed), "weights": drawn, "image_size": side},
    )


def _checkpoint(file: str, image_size: int | None, given: list[str]) -> tuple[nn.Module, torch.Tensor, dict[str, Any]]:
    """The same of a checkpoint of ``nni-plugins retrain``; ``given``: options that say what it says itself."""
    if given:
        raise ConfigError(
            f"{', '.join(given)}: a checkpoint says that itself.", f"Leave {'it' if len(given) == 1 else 'them'} out."
        )
    import torch

    from nni_plugins.evaluators.retraining.checkpoints import load

    loaded = load(file)
    side = image_size or loaded.image_size
    example = torch.zeros(2, 3, side, side, dtype=next(loaded.network.parameters()).dtype)
    known = loaded.description
    space = (
        None
        if known["space"] is None
        else "{}({})".format(known["space"][0], ", ".join(f"{k}={v!r}" for k, v in known["space"][1].items()))
    )
    return (
        loaded.network,
        example,
        {"space": space, "architecture": known["text"] or known["name"], "weights": file, "image_size": side},
    )


@app.command()
def export(
    architecture: Annotated[
        str, typer.Argument(help="A published name, a native string, JSON, or a checkpoint of nni-plugins retrain.")
    ],
    onnx: Annotated[Path | None, typer.Option(help="Write this ONNX file.")] = None,
    torch_export: Annotated[Path | None, typer.Option(help="Write this torch.export archive (.pt2).")] = None,
    space: Annotated[
        str | None, typer.Option(help="The space's registered name, for a native string. [default: nasbench201]")
    ] = None,
    argument: Annotated[
        list[str] | None, typer.Option("--set", help="An argument of the space, such as channels=16; may be repeated.")
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(min=1, help="Pixels a side; by default a checkpoint's, 224, or 32 behind a CIFAR stem."),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="A file of trained weights; random ones otherwise.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a network as ONNX or torch.export file, checked against PyTorch. Example: nni-plugins export darts_v2
    --onnx darts_v2.onnx
    """
    from .console import key_value

    files = {name: file for name, file in (("onnx", onnx), ("torch", torch_export)) if file is not None}
    if not files:
        raise ConfigError("nothing to write.", "Pass --onnx FILE, --torch-export FILE, or both.")
    for file in files.values():
        if file.exists() and not force:
            raise ConfigError(f"{file} exists.", "Choose another name, or pass --force to overwrite it.")
    from nni_plugins.spaces.published import names

    if architecture not in names() and os.path.isfile(architecture):
        options = {"--space": space, "--set": argument, "--weights": weights}
        network, example, value = _checkpoint(
            architecture, image_size, [name for name, option in options.items() if option]
        )
    else:
        network, example, value = _network(
            architecture, space, dict(key_value(text) for text in argument or []), image_size, weights
        )
    from nni_plugins.evaluators.interchange.export import export_onnx, export_torch

    written = [
        {"onnx": export_onnx, "torch": export_torch}[name](network, example, file) for name, file in files.items()
    ]
    value["files"] = [{**asdict(one), "file": str(one.file)} for one in written]
    table = grid("", "")
    for key, entry in value.items():
        if key != "files" and entry is not None:
            table.add_row(key, escape(str(entry)))
    for one in written:
        table.add_row("file", f"{escape(str(one.file))} ({one.format}, {one.bytes / 1e6:,.1f} MB)")
        table.add_row("inputs", f"{', '.join(one.inputs)}: (B, {', '.join(map(str, example.shape[1:]))})")
        table.add_row("outputs", ", ".join(one.outputs))
        table.add_row("difference", f"{one.difference:.2g} (outputs vary by {one.spread:.2g} between images)")
    emit(value, as_json, table)
