"""``nni-plugins retrain`` and its ``recipes``, and ``validate``: training to the end by a recipe, with timm's parts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml
from rich.markup import escape

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import read

from .console import TRAIN, AsJson, app, console, emit, grid
from .options import (
    Change,
    Job,
    OptionalArchitecture,
    Rank,
    Space,
    SpaceArgument,
    Threads,
    TrainingFolder,
    key_values,
)

if TYPE_CHECKING:
    from nni_plugins.evaluators.retraining.settings import PictureSettings

Data = Annotated[str, typer.Option(help="Folder or file of labelled images, or digits.")]
Source = Annotated[str, typer.Option(help="auto, digits, folder, cifar10, cifar100, imagenet16_120, svhn or npz.")]
Limit = Annotated[int | None, typer.Option(help="Use at most this many training images, a seeded draw.")]
TestLimit = Annotated[int | None, typer.Option(help="The same for test images.")]
Validation = Annotated[
    str,
    typer.Option(
        help="Share of the training images to hold out, such as 0.1, or own: the folder val beside train and test. The best "
        "epoch is chosen by it, and the test images are looked at once."
    ),
]


@app.command(rich_help_panel=TRAIN)
def retrain(
    data: Data,
    recipe: Annotated[str, typer.Option(help="A name that nni-plugins recipes shows, or a YAML file.")],
    architecture: OptionalArchitecture = None,
    output: TrainingFolder = None,
    change: Change = None,
    space: Space = None,
    space_argument: SpaceArgument = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of initialisation, order, augmentation and the network's own randomness.")
    ] = 0,
    rank: Rank = 1,
    job: Job = None,
    source: Source = "auto",
    limit: Limit = None,
    test_limit: TestLimit = None,
    validation: Validation = "0",
    recipe_size: Annotated[
        bool,
        typer.Option("--recipe-size", help="Of a search, take the recipe's size of network, not the searched one."),
    ] = False,
    threads: Threads = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard's files too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train an architecture from scratch by a recipe. Example: nni-plugins retrain darts_v2 --recipe digits --data
    digits --set epochs=3

    The same command again goes on where it was stopped. In an NNI trial (trialCommand) the tuner's parameters precede:
    architecture, recipe, seed, space, rank, job, and keys of the recipe.
    """
    from nni_plugins.evaluators.processes import first_process, use_threads

    from ..requests.request import in_trial, run_trial
    from ..requests.retrain import RetrainRequest

    request = RetrainRequest(
        architecture=architecture,
        recipe=recipe,
        data=pictures(data, source, limit, test_limit, validation),
        seed=seed,
        changes=key_values(change),
        space=space,
        space_arguments=key_values(space_argument, "--space-argument"),
        rank=rank,
        job=job,
        recipe_size=recipe_size,
        tensorboard=tensorboard,
    )
    use_threads(threads)
    if in_trial():
        if output is not None:
            raise ConfigError("--output: a trial of NNI keeps its files in its own output folder.", "Leave it out.")
        run_trial(request)
        return
    from .retrain_report import Bar, report

    folder = request.folder() if output is None else output
    quiet = as_json or not first_process()
    with Bar(console, request.resolved.epochs, quiet) as bar:
        result = request.train(folder, progress=bar)
    if first_process():
        value, table = report(request, result, folder)
        emit(value, as_json, table)


def pictures(
    data: str, source: str, limit: int | None, test_limit: int | None, validation: str = "0"
) -> PictureSettings:
    """The settings of the images."""
    from nni_plugins.evaluators.retraining.settings import PictureSettings

    limits = {"limit": limit, "test_limit": test_limit}
    return read(PictureSettings, {"path": data, "source": source, "validation": validation, **limits}, "data.")


@app.command("recipes", rich_help_panel=TRAIN)
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


@app.command(rich_help_panel=TRAIN)
def validate(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="A checkpoint of nni-plugins retrain or of timm's train.py, or a folder in Hugging Face's layout."
        ),
    ],
    data: Data,
    source: Source = "auto",
    test_limit: TestLimit = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images at once. \\[default: the recipe's]")] = None,
    image_size: Annotated[int | None, typer.Option(min=4, help="Pixels a side. \\[default: the recipe's]")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N. \\[default: a GPU if there is one]")] = None,
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
