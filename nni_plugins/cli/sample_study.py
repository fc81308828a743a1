"""``nni-plugins sample-study``: how well accuracies on pretext tasks rank architectures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Group, RenderableType
from rich.markup import escape

from nni_plugins.evaluators.errors import ConfigError

from .console import AsJson, app, console, emit, grid

OUTPUT = Path("runs/sample-study")


@app.command("sample-study")
def sample_study(
    config: Annotated[
        Path | None, typer.Argument(help="An experiment file of the tuner SampleStudy, as nnictl create takes it.")
    ] = None,
    summaries: Annotated[
        Path | None, typer.Option(help="Instead: a folder of UnNAS' sweep_summary.json files.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of the study; an interrupted one in it continues.")] = OUTPUT,
    pictures: Annotated[
        Literal["png", "svg"], typer.Option(help="With --summaries; a CONFIG says it in analysis.pictures.")
    ] = "png",
    seed: Annotated[
        int,
        typer.Option(min=0, help="With --summaries: of bootstrap and random experiments; a CONFIG has analysis.seed."),
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Compare how objectives rank random architectures. Example: nni-plugins sample-study
    examples/sample_study_digits.yml
    """
    if (config is None) == (summaries is None):
        raise ConfigError(
            "either CONFIG or --summaries must be given.",
            "Example: nni-plugins sample-study examples/sample_study_digits.yml",
        )
    folder = output.resolve()
    if summaries is not None:
        from ..studies.sample.settings import AnalysisSettings
        from ..studies.sample.summaries import analyse

        studies = analyse(summaries, folder, AnalysisSettings(seed=seed, pictures=pictures))
        parts = [part for space, value in studies.items() for part in _tables(value, output / space)]
        emit(studies, as_json, Group(*parts))
        return
    assert config is not None
    if pictures != "png" or seed != 0:
        raise ConfigError("--pictures and --seed go with --summaries.", "Set tuner.classArgs.analysis in the file.")
    value = _run(config, folder, as_json)
    emit(value, as_json, Group(*_tables(value, output)))


def _run(config: Path, folder: Path, quiet: bool) -> dict[str, Any]:
    from ..experiment.file import from_yaml
    from ..experiment.settings import SampleStudyExperiment
    from .progress import Bars

    tuner, settings = from_yaml(config)
    if not isinstance(settings, SampleStudyExperiment):
        raise ConfigError(f"{config}: tuner {tuner} is no sample study.", f"nni-plugins search {config}")
    from ..experiment.run import run_experiment

    with Bars(console, quiet=quiet) as progress:
        return run_experiment(settings, folder, progress)


def _tables(value: dict[str, Any], folder: Path) -> list[RenderableType]:
    from ..studies.sample.report import shown

    table = grid("ranked by", "compared with", "Spearman", "Kendall tau-b", "pairs in order")
    for row in value["correlations"]:
        table.add_row(
            escape(row["score"]),
            escape(row["truth"]),
            *(escape(shown(row[key])) for key in ("spearman", "kendall", "pairwise")),
        )
    lines: list[RenderableType] = [
        f"[bold]{escape(value['title'])}[/]",
        *([escape(value["note"])] if value["note"] else [table]),
    ]
    lines.append(
        f"{value['compared']} of {len(value['accuracies'])} architectures compared; in brackets: 95 % bootstrap intervals"
    )
    if value["failed"]:
        lines.append(f"failed: {', '.join(value['failed'])}")
    written = ("study.json", "study.csv", "report.md", *value["pictures"])
    return [*lines, f"written: {escape(', '.join(str(folder / name) for name in written))}"]
