"""``nni-plugins compare``: search policies against random architectures, over several seeds."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from nni_plugins.evaluators.errors import ConfigError

from ..studies.compare.plan import CompareJob, ComparePlan
from .console import AsJson, app, console, emit, grid

OUTPUT = Path("runs/compare")


@app.command()
def compare(
    config: Annotated[
        Path | None, typer.Argument(help="A comparison, or an experiment file of the tuner Compare.")
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder of the comparison; finished runs in it are not repeated.")
    ] = OUTPUT,
    only: Annotated[list[str] | None, typer.Option(help="Run just this policy now; may be repeated.")] = None,
    report_only: Annotated[
        Path | None, typer.Option(help="Instead: report what is finished in this folder; a CONFIG changes how.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare search policies with random architectures. Example: nni-plugins compare examples/compare_digits_table.yml"""
    from ..studies.compare.config_file import read_compare

    if config is None and report_only is None:
        raise ConfigError(
            "either CONFIG or --report-only must be given.",
            "Example: nni-plugins compare examples/compare_digits_table.yml",
        )
    if report_only is not None and only:
        raise ConfigError("--only runs policies, and --report-only runs nothing.", "Give one of them.")
    settings = None if config is None else read_compare(config)
    from ..studies.compare.runner import report_only as report_again
    from ..studies.compare.runner import run_comparison

    if report_only is not None:
        outcome = report_again(report_only.resolve(), settings)
    else:
        assert settings is not None
        with Bars(console, quiet=as_json) as progress:
            outcome = run_comparison(settings, output.resolve(), progress, only or ())
    value = outcome.to_json()
    emit(value, as_json, Group(*_tables(value)))


def _tables(value: dict[str, Any]) -> list[RenderableType]:
    lines: list[RenderableType] = []
    statistics = value["statistics"]
    if statistics is not None:
        table = grid("policy", "seeds", "mean", "deviation", "best")
        for name, row in statistics["summaries"].items():
            table.add_row(escape(name), str(row["n"]), *(f"{row[key]:.3f}" for key in ("mean", "std", "best")))
        lines += [
            f"[bold]{escape(statistics['metric'])}[/], {'larger' if statistics['larger_is_better'] else 'smaller'} is better",
            table,
        ]
        lines += [escape(difference["sentence"]) for difference in statistics["differences"]]
        lines += [f"[yellow]warning:[/] {escape(warning)}" for warning in statistics["warnings"]]
    lines.append(f"measured: {value['measured']} architectures; taken over from equal ones: {value['reused']}")
    if value["missing"]:
        more = f" and {len(value['missing']) - 5} more" if len(value["missing"]) > 5 else ""
        lines.append(
            f"not finished: {escape(', '.join(value['missing'][:5]))}{more}; run the same command without --only to go on"
        )
    if value["failed"]:
        lines.append(f"failed: {escape(', '.join(value['failed']))}")
    if value["files"]:
        lines.append(f"report: {escape(value['files']['report.html'])}")
    return lines


class Bars:
    """A line for all jobs, and one for the job at work; nothing at all if ``quiet``."""

    def __init__(self, console: Console, quiet: bool) -> None:
        columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn()
        self.progress = Progress(TextColumn("{task.description:24}"), *columns, console=console, disable=quiet)
        self.all = self.progress.add_task("comparison", total=None, note="")
        self.now = self.progress.add_task("", total=None, note="", visible=False)

    def __enter__(self) -> Bars:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def __call__(self, job: CompareJob, row: dict[str, float] | None, plan: ComparePlan) -> None:
        """See :data:`nni_plugins.studies.compare.runner.Progress`."""
        done = sum(one.status == "done" for one in plan.jobs.values())
        running = sum(one.status == "running" for one in plan.jobs.values())
        self.progress.update(self.all, completed=done, total=done + running + plan.remaining)
        if row is not None:
            note = f"loss {row['loss']:.3f}" if "loss" in row else ""
            self.progress.update(self.now, description=job.name, completed=int(row["epoch"]), note=note, visible=True)
        else:
            self.progress.update(
                self.now, description=job.name, visible=job.phase == "search", note=f"{job.value['default']:.4g}"
            )
