"""``nni-plugins retrain``, ``recipes``, ``validate`` and ``width``: training to the end by a recipe, with timm's parts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.markup import escape

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import read

from .console import AsJson, app, console, emit, grid, key_value

ARCHITECTURE = "A name (ours or timm's), an architecture as text or JSON, a file, a search's folder or result.json, or an NNI experiment's id."
SPACE = "The space's registered name, for a native string. [default: nasbench201]"
Data = Annotated[str, typer.Option(help="Folder or file of labelled images, or digits.")]
Source = Annotated[str, typer.Option(help="auto, digits, folder, cifar10, cifar100, svhn or npz.")]
Limit = Annotated[int | None, typer.Option(help="Use at most so many training images, a seeded draw.")]
TestLimit = Annotated[int | None, typer.Option(help="The same for test images.")]
Argument = Annotated[
    list[str] | None, typer.Option("--argument", help="An argument of the space, such as nodes=3; may be repeated.")
]
Rank = Annotated[int, typer.Option(help="Of a search or comparison: its so manieth architecture, 1 is best.")]
Job = Annotated[
    str | None,
    typer.Option(help="Of a search: this job's architecture, such as random-1; of a comparison: this policy's."),
]


@app.command()
def retrain(
    data: Data,
    recipe: Annotated[str, typer.Option(help="A name that nni-plugins recipes shows, or a YAML file.")],
    architecture: Annotated[str | None, typer.Argument(help=ARCHITECTURE)] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of checkpoints and results. [default: one in runs/retrain for this very training]"),
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="A key of the recipe, such as optimizer.learning_rate=0.1.")
    ] = None,
    space: Annotated[str | None, typer.Option(help=SPACE)] = None,
    argument: Argument = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of initialisation, order, augmentation and the network's own randomness.")
    ] = 0,
    rank: Rank = 1,
    job: Job = None,
    source: Source = "auto",
    limit: Limit = None,
    test_limit: TestLimit = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads. [default: torch's]")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard's files too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train an architecture from scratch by a recipe. Example: nni-plugins retrain darts_v2 --recipe digits --data
    digits --set epochs=3

    The same command again goes on where it was stopped. In an NNI trial (trialCommand) the tuner's parameters precede:
    architecture, recipe, seed, rank, job, and keys of the recipe.
    """
    from ..requests.retrain import Request, first_process
    from ..requests.retrain_trial import in_trial, run_trial

    request = Request(
        architecture,
        recipe,
        pictures(data, source, limit, test_limit),
        seed,
        dict(key_value(text) for text in change or []),
        space,
        dict(key_value(text, "--argument") for text in argument or []),
        rank,
        job,
    )
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    if in_trial():
        if out is not None:
            raise ConfigError("--out: a trial of NNI keeps its files in its own output folder.", "Leave --out out.")
        run_trial(request, tensorboard)
        return
    from .retrain_report import Bar, report

    folder = request.folder() if out is None else out
    quiet = as_json or not first_process()
    with Bar(console, request.resolved.epochs, quiet) as bar:
        result = request.train(folder, progress=bar, tensorboard=tensorboard)
    if first_process():
        value, table = report(request, result, folder)
        emit(value, as_json, table)


def pictures(data: str, source: str, limit: int | None, test_limit: int | None) -> Any:
    """The settings of the images."""
    from nni_plugins.evaluators.retraining.settings import PictureSettings

    return read(PictureSettings, {"path": data, "source": source, "limit": limit, "test_limit": test_limit}, "data.")


@app.command("recipes")
def recipes_(
    name: Annotated[str | None, typer.Argument(help="Print this recipe as YAML.")] = None, as_json: AsJson = False
) -> None:
    """Show all recipes, or all values of one. Example: nni-plugins recipes digits > own.yml"""
    from nni_plugins.evaluators.retraining import recipes

    if name is not None:
        value = recipes.recipe(name).model_dump(mode="json")
        if as_json:
            emit(value, as_json, "")
        else:
            print(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=130), end="")
        return
    found = {one: recipes.recipe(one) for one in recipes.names()}
    table = grid("recipe", "pixels", "epochs", "batch", "after")
    for column in table.columns[:-1]:
        column.no_wrap = True
    for one, recipe in found.items():
        beginning = re.match(r"[^.;(]*(\([^)]*\))?", recipe.source)
        source = beginning[0].strip() if beginning else ""
        table.add_row(one, str(recipe.input.size), str(recipe.epochs), str(recipe.batch_size), escape(source))
    emit({one: recipe.model_dump(mode="json") for one, recipe in found.items()}, as_json, table)


@app.command()
def validate(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint of nni-plugins retrain: last.pth.tar or model_best.pth.tar.")
    ],
    data: Data,
    source: Source = "auto",
    test_limit: TestLimit = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images at once. [default: the recipe's]")] = None,
    image_size: Annotated[int | None, typer.Option(min=4, help="Pixels a side. [default: the recipe's]")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N. [default: a GPU if there is one]")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a checkpoint on test images. Example: nni-plugins validate runs/retrain/NAME/last.pth.tar --data digits"""
    from nni_plugins.evaluators.retraining.validation import validate as measure

    settings = pictures(data, source, None, test_limit)
    value = measure(checkpoint, settings, batch_size=batch_size, device=device, input_size=image_size)
    table = grid("", "")
    for key, entry in value.items():
        if key == "recorded":
            table.add_row(
                "in the file", ", ".join(f"{name} {number:.4f}" for name, number in entry.items() if number is not None)
            )
        else:
            table.add_row(key.replace("_", " "), f"{entry:.4f}" if isinstance(entry, float) else escape(str(entry)))
    emit(value, as_json, table)


@app.command()
def width(
    architecture: Annotated[str, typer.Argument(help=ARCHITECTURE)],
    macs: Annotated[
        tuple[float, float] | None, typer.Option(help="Least and most multiply-adds of an image, such as 500e6 600e6.")
    ] = None,
    parameters: Annotated[tuple[float, float] | None, typer.Option(help="Least and most parameters.")] = None,
    image_size: Annotated[int, typer.Option(min=4, help="Pixels a side.")] = 224,
    multiple: Annotated[int, typer.Option(min=1, help="Only widths that it divides.")] = 2,
    space: Annotated[str | None, typer.Option(help=SPACE)] = None,
    argument: Argument = None,
    rank: Rank = 1,
    job: Job = None,
    as_json: AsJson = False,
) -> None:
    """The widths at which a network's size lies in a range. Example: nni-plugins width darts_v2 --macs 500e6 600e6"""
    from nni_plugins.evaluators.retraining.settings import WidthSettings
    from nni_plugins.evaluators.retraining.widths import width as chosen
    from nni_plugins.evaluators.retraining.widths import widths

    from ..origins.origin import origin

    limits = read(WidthSettings, {"macs": macs, "parameters": parameters, "multiple": multiple}, "")
    found = origin(architecture, space, dict(key_value(text, "--argument") for text in argument or []), rank, job)
    if found.space is None or found.architecture is None:
        raise ConfigError(
            f"{found.name} is a model of timm's, whose width has no one name.",
            "Pass an architecture of one of our spaces.",
        )
    chosen(found.space, found.architecture, limits, image_size)  # which says what is nearest, where none fits
    rows = widths(found.space, found.architecture, limits, image_size)
    table = grid("channels", "parameters", "multiply-adds")
    for row in rows:
        table.add_row(str(row.channels), f"{row.parameters:,}", f"{row.macs:,}")
    value = {
        "space": repr(found.space),
        "architecture": found.text,
        "image_size": image_size,
        "widths": [row._asdict() for row in rows],
    }
    emit(value, as_json, table)
