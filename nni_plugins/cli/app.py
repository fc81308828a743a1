"""The commands. Each prints tables for people, or with ``--json`` one JSON document for programs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces.errors import closest, shown

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Label-free architecture search for NNI.",
)
console = Console()
PRESET_HELP = (
    "A preset, such as rlnas_digits or rfdarts_digits for a try on a CPU; nni-plugins list --presets shows all."
)
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


@app.command("list")
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
    from .. import registry

    value = {
        kind: {name: entry.value for name, entry in sorted(registry.found(kind).items())} for kind in registry.KINDS
    }
    table = grid("kind", "name", "class")
    for kind, plugins in value.items():
        for name, origin in plugins.items():
            table.add_row(kind, name, origin)
    emit(value, as_json, table)


def list_presets(as_json: bool) -> None:
    """What ``init`` can write, with the beginning of each file's comment."""
    from ..presets import PRESETS

    value = {name: {"tuner": preset.tuner, "comment": preset.comment} for name, preset in PRESETS.items()}
    table = grid("preset", "tuner", "what")
    table.columns[0].no_wrap = True
    for name, preset in PRESETS.items():
        table.add_row(
            name,
            preset.tuner,
            re.split(r"\s\(|(?<=[.:;])\s", preset.comment, maxsplit=1)[0].rstrip(":;").replace("\n", " "),
        )
    emit(value, as_json, table)


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


@app.command()
def register(as_json: AsJson = False) -> None:
    """Make our tuners known to nnictl in this Python environment; again does no harm. Example: nni-plugins register"""
    from ..portal import registration

    names = registration.register()
    emit({"tuners": names, "meta": str(registration.meta_path())}, as_json, f"registered tuners: {', '.join(names)}")


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="The experiment file to write.")],
    preset: Annotated[str, typer.Option(help=PRESET_HELP)] = "rlnas_digits",
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write an experiment file for nnictl create. Example: nni-plugins init search.yml --preset rlnas_nasbench201"""
    from nni_plugins.evaluators.files import atomic_write

    from ..presets import PRESETS, render

    if preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset!r}; {closest(preset, PRESETS)}")
    if file.exists() and not force:
        raise ConfigError(f"{file} exists.", "Choose another name, or pass --force to overwrite it.")
    atomic_write(file.resolve(), render(preset).encode())
    emit(
        {"file": str(file), "preset": preset},
        as_json,
        f"{file} written; start it with: nnictl create --config {file} --port 8080",
    )


@app.command()
def search(
    config: Annotated[Path, typer.Argument(help="An experiment file, as nnictl create takes it.")],
    output: Annotated[Path, typer.Option(help="Folder of the run; an interrupted run in it continues.")] = Path(
        "runs/search"
    ),
    as_json: AsJson = False,
) -> None:
    """Run an experiment in this process, without NNI's manager. Example: nni-plugins search examples/rlnas_digits.yml"""
    from ..experiment.file import from_yaml
    from ..experiment.settings import SampleStudyExperiment
    from .progress import Bars

    _, settings = from_yaml(config)
    if isinstance(settings, SampleStudyExperiment):
        raise ConfigError(f"{config} is a sample study, not a search.", f"nni-plugins sample-study {config}")
    from ..experiment.run import run_experiment
    from .report import draw_best, result_table

    with Bars(console, quiet=as_json) as progress:
        result = run_experiment(settings, output.resolve(), progress)
    draw_best(result, output)
    emit(result, as_json, result_table(result))


@app.command()
def score(
    config: Annotated[Path, typer.Argument(help="The experiment file of the search.")],
    architectures: Annotated[list[str], typer.Argument(help="Architectures as native strings or JSON.")],
    supernet: Annotated[Path, typer.Option(help="The search's folder of checkpoints.")] = Path("runs/search/search-0"),
    as_json: AsJson = False,
) -> None:
    """Scores of given architectures on a trained supernet. Example: nni-plugins score x.yml
    '|nor_conv_3x3~0|+|skip_connect~0|none~1|'
    """
    from ..experiment.file import from_yaml
    from ..experiment.settings import SearchExperiment

    tuner, settings = from_yaml(config)
    if not isinstance(settings, SearchExperiment):
        raise ConfigError(
            f"{config}: tuner {tuner} trains no supernet.", "Pass the experiment file of a search with a supernet."
        )
    from ..experiment import score as scoring

    rows = scoring.score(settings, supernet, architectures)
    table = grid(settings.score.heading, "architecture")
    for row in rows:
        table.add_row(f"{row[settings.score.key]:.6f}", row["architecture"])
    emit(rows, as_json, table)


def _argument(text: str, option: str = "--set") -> tuple[str, Any]:
    """``key=value`` with the value read as YAML."""
    key, sign, value = text.partition("=")
    if not sign:
        raise ConfigError(f"{option} {text}: must be key=value, such as nodes=3.")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{option} {text}: {shown(value)} is not YAML: {' '.join(str(error).split())[:120]}."
        ) from None


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

    arguments = dict(_argument(text) for text in argument or [])
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


@app.command()
def doctor(
    config: Annotated[Path | None, typer.Argument(help="An experiment file to check too.")] = None,
    port: Annotated[int | None, typer.Option(help="A port that must be free.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check this installation, and an experiment file. Example: nni-plugins doctor examples/rlnas_digits.yml --port
    8080
    """
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


from . import compare as compare  # noqa: E402  (registers its command on app)
from . import diagnose as diagnose  # noqa: E402  (registers its commands on app)
from . import export as export  # noqa: E402  (registers its command on app)
from . import rank_study as rank_study  # noqa: E402  (registers its command on app)
from . import retrain as retrain  # noqa: E402  (registers its commands on app)
from . import sample_study as sample_study  # noqa: E402  (registers its command on app)
from . import sharing_study as sharing_study  # noqa: E402  (registers its command on app)
from . import transfer as transfer  # noqa: E402  (registers its commands on app)
