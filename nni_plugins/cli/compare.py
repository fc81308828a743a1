"""``nni-plugins compare``: search policies against random architectures and baselines, over several seeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.markup import escape

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces.errors import closest
from nni_plugins.strategies.base import refused

from ..experiment.file import load_yaml, objective_problems, read_experiment, resolve_paths
from ..experiment.kinds import load_experiment
from ..experiment.names import REAL_BEST
from ..experiment.store import CONFIG, read_settings
from ..studies.compare.experiment import CompareExperiment, owner
from ..studies.compare.settings import RANDOM
from .console import COMPARE, AsJson, app, console, emit, grid
from .running import Output, Processes

LISTED = 5
"""Unfinished jobs that are named."""


@app.command(rich_help_panel=COMPARE)
def compare(
    config: Annotated[
        Path | None, typer.Argument(help="An experiment file of the tuner Compare, or its settings alone.")
    ] = None,
    output: Output = Path("runs/compare"),
    only: Annotated[
        list[str] | None, typer.Option(help="Run just this policy or baseline now; may be repeated.")
    ] = None,
    report_only: Annotated[
        Path | None, typer.Option(help="Instead: report what is finished in this folder; a CONFIG changes how.")
    ] = None,
    processes: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Compare search policies with random architectures. Example: nni-plugins compare x.yml --output runs/x"""
    if config is None and report_only is None:
        raise ConfigError(
            "either CONFIG or --report-only must be given.",
            "Example: nni-plugins init x.yml --preset compare_digits_table, then nni-plugins compare x.yml",
        )
    if report_only is not None and only:
        raise ConfigError("--only runs policies, and --report-only runs nothing.", "Give one of them.")
    if report_only is not None:
        folder = report_only.resolve()
        result = _report(_experiment_in(folder) if config is None else _experiment_of(config), folder)
    else:
        assert config is not None
        result = _run(_experiment_of(config), output.resolve(), only or (), processes, as_json)
    emit(result, as_json, Group(*_lines(result)))


def _experiment_of(config: Path) -> CompareExperiment:
    """The comparison of an experiment file, or of a file that has its ``tuner.classArgs`` alone."""
    content = load_yaml(config)
    if "tuner" in content:
        return _comparison(read_experiment(config), config)
    resolved = resolve_paths(content, CompareExperiment.paths_in(content), config.parent)
    experiment = _comparison(load_experiment(CompareExperiment.name, resolved, ""), config)
    refused(objective_problems(experiment))
    experiment.check()
    return experiment


def _experiment_in(folder: Path) -> CompareExperiment:
    """The comparison that was run in ``folder``."""
    name, settings = read_settings(folder)
    return _comparison(load_experiment(name, settings, f"{folder / CONFIG}: "), folder)


def _comparison(experiment: Any, where: Path) -> CompareExperiment:
    if not isinstance(experiment, CompareExperiment):
        raise ConfigError(
            f"{where}: tuner {experiment.name} compares nothing.", f"Use nni-plugins {experiment.command}."
        )
    return experiment


def _run(
    experiment: CompareExperiment, folder: Path, only: Collection[str], processes: int | None, quiet: bool
) -> dict[str, Any]:
    from ..experiment.runner import run_experiment
    from .progress import Bars

    settings = experiment.settings
    names = (*settings.policies, RANDOM, *settings.baselines, *[REAL_BEST] * bool(settings.real_best))
    unknown = [name for name in only if name not in names]
    if unknown:
        raise ConfigError(f"--only {unknown[0]}: no such policy; {closest(unknown[0], names)}")
    with Bars(console, quiet) as progress:
        wanted = (lambda job: owner(job) in only) if only else None
        return run_experiment(experiment, folder, progress, only=wanted, processes=processes)


def _report(experiment: CompareExperiment, folder: Path) -> dict[str, Any]:
    from ..experiment.runner import report_experiment

    result = report_experiment(experiment, folder)
    if result["report"] is None:
        raise ConfigError(
            f"{folder}: too little is finished for a report; missing: {_listed(result['missing'])}.",
            "Run it further first.",
        )
    return result


def _lines(result: Mapping[str, Any]) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for name, statistics in result["statistics"].items():
        better = "larger" if statistics["larger_is_better"] else "smaller"
        lines.append(f"[bold]{escape(name)}[/]: {escape(statistics['metric'])}, {better} is better")
        table = grid("policy", "seeds", "mean", "deviation", "best")
        for policy, row in statistics["summaries"].items():
            table.add_row(escape(policy), str(row["n"]), *(f"{row[key]:.3f}" for key in ("mean", "std", "best")))
        for one in statistics["baselines"]:
            table.add_row(escape(one["name"]), "", f"{one['value']:.3f}", "", "")
        real = statistics["real_best"]
        if real is not None:
            table.add_row(REAL_BEST, str(real["n"]), *(f"{real[key]:.3f}" for key in ("mean", "std", "best")))
        lines.append(table)
        lines += [escape(difference["sentence"]) for difference in statistics["differences"]]
        lines += [escape(sentence) for sentence in statistics["standing_sentences"]]
        lines += [] if real is None else [escape(real["sentence"])]
        lines += [f"[yellow]warning:[/] {escape(warning)}" for warning in statistics["warnings"]]
    lines.append(f"measured: {result['measured']} networks; taken over from equal ones: {result['reused']}")
    if result["missing"]:
        missing = escape(_listed(result["missing"]))
        lines.append(f"not finished: {missing}; run the same command without --only to go on")
    if result["failed"]:
        lines.append(f"failed: {escape(', '.join(result['failed']))}")
    if result["report"] is not None:
        lines.append(f"report: {escape(result['report'])}")
    return lines


def _listed(jobs: list[str]) -> str:
    more = f" and {len(jobs) - LISTED} more" if len(jobs) > LISTED else ""
    return ", ".join(jobs[:LISTED]) + more
