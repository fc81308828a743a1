"""``nni-plugins export``: an architecture's network as a file for other programs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from nni_plugins.evaluators.errors import ConfigError

from .console import NETWORKS, AsJson, app, emit, grid
from .options import Architecture, Job, Rank, Space, SpaceArgument, origin_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nni_plugins.evaluators.subjects.subject import Subject

Exported = tuple["nn.Module", "torch.Tensor", dict[str, Any], dict[str, Any]]
"""A network, an example of its images, what is reported of it, and what the files say of its images and classes."""


@app.command(rich_help_panel=NETWORKS)
def export(
    architecture: Architecture,
    onnx: Annotated[Path | None, typer.Option(help="Write this ONNX file.")] = None,
    torch_export: Annotated[Path | None, typer.Option(help="Write this torch.export archive (.pt2).")] = None,
    space: Space = None,
    space_argument: SpaceArgument = None,
    rank: Rank = 1,
    job: Job = None,
    image_size: Annotated[
        int | None,
        typer.Option(min=1, help="Pixels a side; by default a checkpoint's, 224, or 32 behind a CIFAR stem."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="A file of trained weights. \\[default: those of a checkpoint or retraining, or random ones]"
        ),
    ] = None,
    features: Annotated[
        bool, typer.Option("--features", help="Feature maps of all stages in place of the answer, for other heads.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a network as ONNX or torch.export file, checked against PyTorch. Example: nni-plugins export darts_v2
    --onnx darts_v2.onnx
    """
    files = {name: file for name, file in (("onnx", onnx), ("torch", torch_export)) if file is not None}
    if not files:
        raise ConfigError("nothing to write.", "Pass --onnx FILE, --torch-export FILE, or both.")
    for path in files.values():
        if path.exists() and not force:
            raise ConfigError(f"{path} exists.", "Choose another name, or pass --force to overwrite it.")
    one = origin_of(architecture, space, space_argument, rank, job).subject
    if one.weights is not None:
        given = {"--space-argument": space_argument, "--weights": weights}
        network, example, value, metadata = _trained(
            one, image_size, [name for name, option in given.items() if option]
        )
    else:
        network, example, value, metadata = _built(one, image_size, weights)
    from nni_plugins.evaluators.interchange.export import FeatureMaps, export_onnx, export_torch

    if features:
        network, example = FeatureMaps(network), example.flatten(0, -4)
        value["maps"] = ", ".join(f"{channels} channels at stride {stride}" for channels, stride in network.maps)
        metadata["maps"] = [{"channels": channels, "stride": stride} for channels, stride in network.maps]
        metadata.pop("classes", None)
    write = {"onnx": export_onnx, "torch": export_torch}
    written = [write[name](network, example, path, metadata) for name, path in files.items()]
    value["files"] = [{**asdict(file), "file": str(file.file)} for file in written]
    table = grid("", "")
    for key, entry in value.items():
        if key != "files" and entry is not None:
            table.add_row(key, escape(str(entry)))
    for file in written:
        table.add_row("file", f"{escape(str(file.file))} ({file.format}, {file.bytes / 1e6:,.1f} MB)")
        table.add_row("inputs", f"{', '.join(file.inputs)}: (B, {', '.join(map(str, example.shape[1:]))})")
        table.add_row("outputs", ", ".join(file.outputs))
        table.add_row("difference", f"{file.difference:.2g} (outputs vary by {file.spread:.2g} between images)")
    emit(value, as_json, table)


def _built(one: Subject, image_size: int | None, weights: Path | None) -> Exported:
    """The network of an architecture, with ``weights`` or random ones."""
    from nni_plugins.evaluators.subjects.subject import of_images

    space, architecture = of_images(one).in_space("only networks of our spaces, and trained ones, are exported")
    import torch

    from nni_plugins.evaluators.interchange.export import usual_image_size
    from nni_plugins.evaluators.interchange.weights import load_into, settle
    from nni_plugins.evaluators.randomness import torch_fork

    with torch_fork(0, "initialisation"):
        network = space.network(architecture)
    if weights is not None:
        load_into(network, weights)
    side = image_size or usual_image_size(space)
    tiles = (space.head.tiles,) if space.head.kind == "jigsaw" else ()
    example = torch.zeros(2, *tiles, space.input_channels, side, side)
    if weights is None:
        settle(network, example)
    drawn = "random" if weights is None else str(weights)
    about = {"space": repr(space), "architecture": space.to_string(architecture)}
    return network, example, {**about, "weights": drawn, "image_size": side}, about


def _trained(one: Subject, image_size: int | None, given: list[str]) -> Exported:
    """The network of a checkpoint of ``nni-plugins retrain``; ``given``: options that say what it says itself."""
    if given:
        raise ConfigError(
            f"{', '.join(given)}: a checkpoint says that itself.", f"Leave {'it' if len(given) == 1 else 'them'} out."
        )
    import torch

    from nni_plugins.evaluators.retraining.checkpoints import images_of, load

    loaded = load(str(one.weights))
    side = image_size or loaded.image_size
    example = torch.zeros(2, 3, side, side, dtype=next(loaded.network.parameters()).dtype)
    about = {"space": None if one.space is None else repr(one.space), "architecture": one.text}
    shown = {**about, "weights": str(one.weights), "image_size": side}
    return loaded.network, example, shown, {"architecture": one.text, **images_of(loaded)}
