"""An experiment of numbers: every job returns a function of its place, in no time. For tests of the engine alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.base import Report
from nni_plugins.evaluators.files import write_json
from nni_plugins.experiment.base import Axes, Experiment, ExperimentSettings, choice
from nni_plugins.experiment.jobs import Job, Plan, Value


class CountingSettings(ExperimentSettings):
    """``kill``: name of a job that kills its process; ``once``: only the first time, as a file in that folder remembers."""

    jobs: int = 3
    factor: float = 1.0
    kill: str = ""
    once: str | None = None


class Counting(Experiment):
    """``squares`` jobs, from each of which a ``halves`` job follows; the squares of -n and n are one and the same."""

    name = "Counting"
    about = "numbers"
    settings_class = CountingSettings
    settings: CountingSettings

    @property
    def phases(self) -> tuple[str, ...]:
        return ("squares", "halves")

    def first_jobs(self) -> Iterable[Job]:
        for n in range(-1, self.settings.jobs - 1):
            yield Job(f"square{n:+}", "squares", n)

    def following_jobs(self, job: Job) -> Iterable[Job]:
        if job.phase == "squares":
            yield Job(f"half{job.seed:+}", "halves", job.seed, score=job.value["default"])

    def followers(self, job: Job) -> int:
        return int(job.phase == "squares")

    def identity(self, job: Job) -> dict[str, Any]:
        given = abs(job.seed) if job.phase == "squares" else job.score
        return {"phase": job.phase, "of": given, "factor": self.settings.factor}

    def run(self, job: Job, folder: Path | None, report: Report | None) -> Value:
        assert folder is not None
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "runs", "a") as file:
            file.write(f"{os.getpid()}\n")
        if job.name == self.settings.kill and not (self.settings.once and Path(self.settings.once).exists()):
            if self.settings.once:
                Path(self.settings.once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if report is not None:
            report({"epoch": 1.0, "loss": 0.5})
        value = job.seed**2 if job.phase == "squares" else (job.score or 0.0) / 2
        return {"default": self.settings.factor * value, "result": {}}

    def conclude(self, plan: Plan, folder: Path) -> dict[str, Any]:
        value = {job.name: job.value.get("default") for job in plan.jobs.values()}
        write_json(folder / "result.json", value)
        return value

    def axes(self) -> Axes:
        return {"phase": choice(self.phases)}

    def parameters(self, job: Job) -> dict[str, Any]:
        return {"phase": job.phase}
