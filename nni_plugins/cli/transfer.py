"""``nni-plugins transfer``: architectures as backbones of detectors (mmdet) and segmentation networks (mmseg)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from nni_plugins.evaluators.errors import ConfigError

from .console import TRAIN, AsJson, Commands, app, emit, grid
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
    from ..requests.transfer import TransferRequest

transfer = typer.Typer(cls=Commands, no_args_is_help=False, add_completion=False)
app.add_typer(transfer, name="transfer", rich_help_panel=TRAIN)

Data = Annotated[
    str | None, typer.Option(help="The folder of the data set; nni-plugins docs transfer has the layouts.")
]
Recipe = Annotated[str, typer.Option(help="A name that nni-plugins transfer recipes shows, or a YAML file.")]
Checkpoint = Annotated[
    str | None,
    typer.Option(
        help="Weights of the backbone in timm's format, such as retrain's last.pth.tar. \\[default: those of an "
        "architecture that is a checkpoint or a retraining, or random ones]"
    ),
]
ConfigOption = Annotated[
    list[str] | None, typer.Option("--config-option", help="A key of the written configuration file; may be repeated.")
]
Amp = Annotated[bool, typer.Option("--amp", help="Mixed precision.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of initialisation, order and augmentation.")]
Dry = Annotated[bool, typer.Option("--dry-run", help="Only check everything and write the configuration file.")]


@transfer.callback(invoke_without_command=True)
def transfer_(context: typer.Context, as_json: AsJson = False) -> None:
    """Use an architecture as backbone; alone: list the recipes. Example: nni-plugins transfer detection darts_v2 --data
    bccd_detection
    """
    if context.invoked_subcommand is None:
        recipes_(None, as_json)
    elif as_json:
        raise ConfigError(
            "--json stands before the command that it is meant for.",
            f"Write: nni-plugins transfer {context.invoked_subcommand} ... --json",
        )


def _command(task: str, default: str, about: str) -> None:
    """Both tasks take the same options."""

    def train(
        architecture: OptionalArchitecture = None,
        data: Data = None,
        recipe: Recipe = default,
        checkpoint: Checkpoint = None,
        output: TrainingFolder = None,
        change: Change = None,
        config_option: ConfigOption = None,
        space: Space = None,
        space_argument: SpaceArgument = None,
        amp: Amp = False,
        seed: Seed = 0,
        rank: Rank = 1,
        job: Job = None,
        threads: Threads = None,
        dry_run: Dry = False,
        as_json: AsJson = False,
    ) -> None:
        _transfer(task, locals())

    again = "The same command again goes on where it was stopped. In an NNI trial (trialCommand) the tuner's parameters precede."
    transfer.command(task, help=f"{about}\n\n{again}")(train)


_command(
    "detection",
    "retinanet_small",
    "Train a detector and measure its mAP. Example: nni-plugins transfer detection darts_v2 --data bccd --recipe retinanet_small",
)
_command(
    "segmentation",
    "deeplabv3_small",
    "Train a segmentation network and measure its mIoU. Example: nni-plugins transfer segmentation darts_v2 --data camvid",
)


@transfer.command("recipes")
def recipes_(
    name: Annotated[str | None, typer.Argument(help="Print this recipe as YAML.")] = None, as_json: AsJson = False
) -> None:
    """Show all recipes of detection and segmentation, or all values of one. Example: nni-plugins transfer recipes
    retinanet_small > own.yml
    """
    import yaml

    from nni_plugins.evaluators.mmlab.recipes import names, recipe

    if name is not None:
        value = recipe(name).model_dump(mode="json")
        if as_json:
            emit(value, True, "")
        else:
            print(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=130), end="")
        return
    found = {one: recipe(one) for one in names()}
    table = grid("recipe", "task", "length", "batch", "after")
    for column in table.columns[:-1]:
        column.no_wrap = True
    for one, each in found.items():
        length = f"{each.epochs:,} epochs" if each.epochs is not None else f"{each.iterations:,} iterations"
        table.add_row(
            one, each.task, length, str(each.batch_size), escape(each.source.partition(",")[0].partition(" (")[0])
        )
    emit({one: each.model_dump(mode="json") for one, each in found.items()}, as_json, table)


def _transfer(task: str, given: dict[str, Any]) -> None:
    from nni_plugins.evaluators.processes import first_process, use_threads

    from ..requests.request import in_trial, run_trial
    from ..requests.transfer import TransferRequest

    same = ["architecture", "data", "recipe", "checkpoint", "seed", "amp", "space", "rank", "job"]
    request = TransferRequest(
        task=task,  # type: ignore[arg-type]
        **{key: given[key] for key in same},
        changes=key_values(given["change"]),
        options=key_values(given["config_option"], "--config-option"),
        space_arguments=key_values(given["space_argument"], "--space-argument"),
    )
    use_threads(given["threads"])
    output: Path | None = given["output"]
    if in_trial():
        if output is not None or given["dry_run"]:
            raise ConfigError(
                "--output and --dry-run: a trial of NNI keeps its files in its own output folder, and trains.",
                "Leave them out.",
            )
        run_trial(request)
        return
    folder = request.folder() if output is None else output
    if given["dry_run"]:
        file = request.transfer.write(request.backbone, folder)
        emit(
            {"config": str(file)},
            given["as_json"],
            f"{file} written; run it: python -m nni_plugins.evaluators.mmlab.run {file}",
        )
        return
    quiet = given["as_json"] or not first_process()
    with _Bar(Console(stderr=True), quiet) as bar:
        result = request.train(folder, progress=bar)
    if first_process():
        emit({**result, "folder": str(folder)}, given["as_json"], _table(request, result, folder))


class _Bar(Progress):
    """Iteration, loss and time left; nothing at all if ``quiet``. On standard error, as OpenMMLab's output is kept from
    standard output.
    """

    def __init__(self, console: Console, quiet: bool) -> None:
        super().__init__(
            TextColumn("iteration"), BarColumn(), TextColumn("{task.fields[note]}"), console=console, disable=quiet
        )
        self.bar = self.add_task("", total=None, note="preparing")

    def __call__(self, row: dict[str, Any]) -> None:
        from .retrain_report import remaining

        note = f"{row['iteration']:,}/{row['iterations']:,}  loss {row['loss']:.3f}  {remaining(row['seconds_left'])} left without evaluation"
        self.update(self.bar, total=row["iterations"], completed=row["iteration"], note=note)


def _table(request: TransferRequest, result: dict[str, Any], folder: Path) -> RenderableType:
    table = grid("", "")
    table.add_row("backbone", escape(result["backbone"]["name"]))
    table.columns[0].no_wrap = True
    weights = result["backbone"]["checkpoint"]
    table.add_row("weights at the start", "random" if weights is None else escape(weights))
    table.add_row(
        "parameters", f"{result['parameters']['backbone']:,} of the backbone, {result['parameters']['model']:,} in all"
    )
    for note in result["backbone"].get("notes", ()):
        table.add_row("notes", escape(note))
    table.add_row("recipe", escape(request.recipe))
    table.add_row("images", ", ".join(f"{key} {count:,}" for key, count in result["data"]["images"].items()))
    for key, value in result["metrics"].items():
        table.add_row(f"{key}, {result['tested_on']}", f"{value:.2f} %")
    table.add_row("folder", escape(str(folder)))
    table.add_row("files", escape(", ".join([*result["files"], "result.json"])))
    if not result["history"]:
        return table
    shown = [key for key in result["metrics"] if not key.endswith(("_s", "_m", "_l"))]
    curve = grid("epoch", "iteration", "loss", *(f"{key}, val" for key in shown))
    for column in curve.columns:
        column.no_wrap = True
    for row in result["history"][-10:]:
        loss = f"{row['loss']:.4f}" if "loss" in row else "-"
        curve.add_row(str(row["epoch"]), f"{row['iteration']:,}", loss, *(f"{row[key]:.2f}" for key in shown))
    return Group(table, "", curve)
