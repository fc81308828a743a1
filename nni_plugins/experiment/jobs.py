"""Jobs and the plan of them, as a pure state machine: which comes next, and what a result means for the rest.

It knows nothing of NNI's threads and message formats (:mod:`nni_plugins.portal.tuner` does) and imports no torch. Life
cycle of a job: waiting -> running -> done, or back to waiting after a crash, at most ``retries`` times, then failed. A
job whose identity is that of a finished one takes its value over; while such a one is running, it waits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from nni_plugins.spaces.errors import ConfigError, shown

from .names import JOB

Status = Literal["waiting", "running", "done", "failed", "set aside"]
Value = dict[str, Any]
"""What a job gives: ``default`` and other numbers, and ``result`` with everything that is none."""


@dataclass
class Job:
    """One piece of work: ``name`` is unique in the experiment and survives retries and restarts.

    ``phase``: what is done, such as ``search`` or the name of an evaluation. ``seed``: of the search that it is, or that
    found its architecture; of the draw for random ones. ``source``: of an evaluation, where its architecture comes from:
    ``found``, ``random`` or a baseline's name. ``policy``: whose it is, where there are several; ``rank``: from 1, among
    those of its search or draw. ``choices``: the architecture; ``network``: a name instead of one. ``score``: what the
    search ranked it by. ``variant``: of a study's trainings, which of its conditions.
    """

    name: str
    phase: str
    seed: int
    source: str = ""
    policy: str = ""
    rank: int = 1
    choices: dict[str, str] | None = None
    network: str | None = None
    score: float | None = None
    variant: str = ""
    status: Status = "waiting"
    crashes: int = 0
    value: Value = field(default_factory=dict)

    def __post_init__(self) -> None:
        """
        Raises:
            ConfigError: the name is not one plain name of a file: whoever reaches NNI's portal may post a job.
        """
        if not isinstance(self.name, str) or JOB.fullmatch(self.name) is None:
            raise ConfigError(
                f"a job's name is made of letters, digits and _.+-#@, at most 200, but got {shown(self.name)}.",
                "Give policies and baselines such names.",
            )

    def described(self) -> dict[str, Any]:
        """What another process needs to run it."""
        return {key: value for key, value in asdict(self).items() if key not in ("status", "crashes", "value")}


class JobSource(Protocol):
    """What a plan, and who shows it, asks of an experiment; see :class:`nni_plugins.experiment.base.Experiment`."""

    @property
    def phases(self) -> tuple[str, ...]: ...
    @property
    def retries(self) -> int: ...
    def first_jobs(self) -> Iterable[Job]: ...
    def following_jobs(self, job: Job) -> Iterable[Job]: ...
    def followers(self, job: Job) -> int: ...
    def is_essential(self, job: Job) -> bool: ...
    def identity(self, job: Job) -> dict[str, Any]: ...
    def outcome(self, job: Job) -> str: ...


class Plan:
    """All jobs of one experiment, in the order in which they are handed out: by phase, what was found before what it is
    compared with, then as they were added.
    """

    def __init__(self, experiment: JobSource) -> None:
        self.experiment = experiment
        self.jobs: dict[str, Job] = {}
        self._identities: dict[str, str] = {}
        self._add(experiment.first_jobs())

    def _add(self, jobs: Iterable[Job]) -> None:
        self.jobs.update((job.name, job) for job in jobs if job.name not in self.jobs)

    def identity(self, job: Job) -> str:
        """All that the job's value depends on, as text."""
        if job.name not in self._identities:
            self._identities[job.name] = json.dumps(self.experiment.identity(job), sort_keys=True)
        return self._identities[job.name]

    def next(self) -> Job | None:
        """The next waiting job, now running. None: nothing is ready at the moment."""
        busy = {self.identity(job) for job in self.jobs.values() if job.status == "running"}
        waiting = [job for job in self.jobs.values() if job.status == "waiting"]
        order = {phase: place for place, phase in enumerate(self.experiment.phases)}
        for job in sorted(waiting, key=lambda job: (order[job.phase], job.source not in ("", "found"))):
            if not busy or self.identity(job) not in busy:
                job.status = "running"
                return job
        return None

    def known(self, job: Job) -> Value | None:
        """The value of a finished job of the same identity, marked as taken over."""
        for other in self.jobs.values():
            if other.status == "done" and other.name != job.name and self.identity(other) == self.identity(job):
                return {**other.value, "result": {**other.value.get("result", {}), "reused": True}}
        return None

    def done(self, name: str, value: Value) -> None:
        """Record a job's final result, and add the jobs that follow from it. A second result changes nothing."""
        job = self.jobs[name]
        if job.status == "done":
            return
        job.status, job.value = "done", value
        self._add(self.experiment.following_jobs(job))

    def crashed(self, name: str, again: bool) -> bool:
        """Record that a job ended without a result; True if it will be tried again, which ``again=False`` forbids."""
        job = self.jobs[name]
        if job.status != "running":
            return False
        job.crashes += 1
        job.status = "waiting" if again and job.crashes <= self.experiment.retries else "failed"
        return job.status == "waiting"

    def release(self, name: str) -> None:
        """Take back a job that was handed out but never started."""
        if self.jobs[name].status == "running":
            self.jobs[name].status = "waiting"

    @property
    def remaining(self) -> int:
        """Jobs that still have to be handed out, those that follow from unfinished ones included."""
        unfinished = [job for job in self.jobs.values() if job.status in ("waiting", "running")]
        later = sum(self.experiment.followers(job) for job in unfinished)
        return later + sum(job.status == "waiting" for job in unfinished)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do: every job is done, or has failed for good."""
        return all(job.status not in ("waiting", "running") for job in self.jobs.values())

    @property
    def fatal(self) -> Job | None:
        """A job that failed for good and without which the experiment has no result."""
        failed = (job for job in self.jobs.values() if job.status == "failed")
        return next((job for job in failed if self.experiment.is_essential(job)), None)

    def of_phase(self, phase: str) -> list[Job]:
        """Its jobs, whatever their status."""
        return [job for job in self.jobs.values() if job.phase == phase]

    def state(self) -> dict[str, Any]:
        """JSON-able, for :meth:`restore`."""
        return {"jobs": [asdict(job) for job in self.jobs.values()]}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` returned. Running jobs stay running: NNI runs interrupted trials again itself."""
        self.jobs = {}
        self._add(Job(**job) for job in state["jobs"])
