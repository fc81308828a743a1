"""Progress bars of an experiment in this process."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..experiment.jobs import Job, Plan


class Bars:
    """A line for all jobs, with what the last one gave, and one for the job at work; nothing at all if ``quiet``.

    Calls are a :data:`nni_plugins.experiment.runner.Progress`.
    """

    def __init__(self, console: Console, quiet: bool) -> None:
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            disable=quiet,
        )
        self.jobs = self.progress.add_task("jobs", total=None, visible=False, note="")
        self.epochs = self.progress.add_task("", total=None, visible=False, note="")
        self.at_work = ""

    def __enter__(self) -> Bars:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def __call__(self, job: Job, row: dict[str, float] | None, plan: Plan) -> None:
        """``row`` of the job's curve, or None when it is finished."""
        done = sum(other.status == "done" for other in plan.jobs.values())
        waiting = sum(other.status == "waiting" for other in plan.jobs.values())
        total = len(plan.jobs) - waiting + plan.remaining
        self.progress.update(self.jobs, completed=done, total=total, visible=True)
        if row is None:
            self._finished(job, plan)
            return
        if job.name != self.at_work:
            self.at_work = job.name
            self.progress.reset(self.epochs, description=job.name, visible=True, note="")
        note = f"loss {row['loss']:.3f}" if "loss" in row else ""
        self.progress.update(self.epochs, completed=row["epoch"], note=note)

    def _finished(self, job: Job, plan: Plan) -> None:
        self.progress.update(self.jobs, note=f"{job.name}: {plan.experiment.outcome(job)}")
        if job.name == self.at_work:
            self.at_work = ""
            self.progress.update(self.epochs, visible=False)
