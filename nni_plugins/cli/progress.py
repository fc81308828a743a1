"""Progress bars of an experiment in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..experiment.plan import Job
from ..experiment.scores import outcome


class Bars:
    """A line a job with its epoch, loss and time; nothing at all if ``quiet``."""

    def __init__(self, console: Console, quiet: bool) -> None:
        self.progress = Progress(
            TextColumn("{task.description:14}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=quiet,
        )
        self.tasks: dict[str, int] = {}

    def __enter__(self) -> Bars:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def __call__(self, job: Job, row: dict[str, float] | None) -> None:
        """See :data:`nni_plugins.experiment.run.Progress`."""
        if job.name not in self.tasks:
            self.tasks[job.name] = self.progress.add_task(job.name, total=None, note="")
        task = self.progress.tasks[self.tasks[job.name]]
        if row is not None:
            self.progress.update(task.id, completed=row["epoch"], note=f"loss {row['loss']:.3f}")
        else:
            self.progress.update(task.id, total=task.completed, note=outcome(job.value))


def followed(study: Callable[..., dict[str, Any]], settings: Any, folder: Path, quiet: bool) -> dict[str, Any]:
    """``study(settings, folder, progress)`` with a bar for each of its trainings, by their names."""
    from .console import console

    with Bars(console, quiet=quiet) as bars:
        return study(settings, folder.resolve(), lambda name, row: bars(Job(name, "search", 0), row))
