"""``nni-plugins sample-study``: how well accuracies on pretext tasks rank architectures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.markup import escape

from nni_plugins.evaluators.errors import ConfigError

from .console import COMPARE, AsJson, app, emit
from .running import Output, Processes, run_file
from .study import document_table, report_line


@app.command("sample-study", rich_help_panel=COMPARE)
def sample_study(
    config: Annotated[
        Path | None, typer.Argument(help="An experiment file of the tuner SampleStudy, as nnictl create takes it.")
    ] = None,
    summaries: Annotated[
        Path | None, typer.Option(help="Instead: a folder of UnNAS' sweep_summary.json files.")
    ] = None,
    output: Output = Path("runs/sample-study"),
    seed: Annotated[
        int,
        typer.Option(min=0, help="With --summaries: of bootstrap and random experiments; a CONFIG has analysis.seed."),
    ] = 0,
    processes: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Compare how objectives rank random architectures. Example: nni-plugins sample-study x.yml --output runs/x"""
    if config is not None and summaries is None:
        if seed:
            raise ConfigError("--seed goes with --summaries.", "Set tuner.classArgs.analysis.seed in the file.")
        value = run_file(config, "sample-study", output, processes, as_json)
        emit(value, as_json, Group(*_shown(value, output)))
        return
    if summaries is None or config is not None:
        raise ConfigError(
            "either CONFIG or --summaries must be given.",
            "Write a CONFIG: nni-plugins init sample.yml --preset sample_study_digits",
        )
    from ..studies.sample.settings import AnalysisSettings
    from ..studies.sample.summaries import analyse

    studies = analyse(summaries, output.resolve(), AnalysisSettings(seed=seed))
    parts = [part for space, value in studies.items() for part in _shown(value, output / space)]
    emit(studies, as_json, Group(*parts))


def _shown(value: Mapping[str, Any], folder: Path) -> list[RenderableType]:
    from nni_plugins.evaluators.reports.sample_study.report import correlation_table, sentences

    parts: list[RenderableType] = [f"[bold]{escape(value['title'])}[/]"]
    for name, figure in value["figures"].items():
        parts.append(f"[bold]{escape(name)}[/]")
        if figure["correlations"]:
            parts += [document_table(correlation_table(figure)), "in brackets: 95 % bootstrap intervals"]
        parts += map(escape, sentences(figure, len(value["accuracies"])))
    if value["failed"]:
        parts.append(f"failed: {escape(', '.join(value['failed']))}")
    return [*parts, report_line(folder, "study.json", "study.csv")]
