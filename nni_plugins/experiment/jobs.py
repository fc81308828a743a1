"""Jobs and the plan of them, as a pure state machine: which comes next, and what a result means for the rest.

It knows nothing of NNI's threads and message formats (:mod:`nni_plugins.portal.tuner` does) and imports no torch. Life
cycle of a job: waiting -> running -> done, or back to waiting after a crash, at most ``retries`` times, then failed. A
job whose identity is that of a finished one takes its value over; while such a one is running, it waits.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from heapq import heappop, heappush
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

    What an event costs does not grow with the number of jobs, but for the logarithm of a heap; only :attr:`fatal` and
    :meth:`of_phase` look at all of them.
    """

    def __init__(self, experiment: JobSource) -> None:
        self.experiment = experiment
        self.jobs: dict[str, Job] = {}
        self._identities: dict[str, str] = {}
        self._order = {phase: place for place, phase in enumerate(experiment.phases)}
        self._places: dict[str, tuple[int, bool, int]] = {}
        self._ready: list[tuple[tuple[int, bool, int], str]] = []  # a heap; a job may stand in it twice
        self._busy: dict[str, dict[str, None]] = {}  # identity -> names of running jobs
        self._parked: dict[str, list[str]] = {}  # identity -> waiting jobs, while one of that identity runs
        self._first_done: dict[str, str] = {}  # identity -> the first job that was done
        self._counts: Counter[Status] = Counter()
        self._followers = 0  # of unfinished jobs
        self._add(experiment.first_jobs())

    def _add(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            if job.name not in self.jobs:
                self.jobs[job.name] = job
                self._places[job.name] = self._order[job.phase], job.source not in ("", "found"), len(self.jobs)
                self._enter(job)

    def _enter(self, job: Job) -> None:
        """Count ``job`` under its status."""
        self._counts[job.status] += 1
        if job.status in ("waiting", "running"):
            self._followers += self.experiment.followers(job)
        if job.status == "waiting":
            heappush(self._ready, (self._places[job.name], job.name))
        elif job.status == "running":
            self._busy.setdefault(self.identity(job), {})[job.name] = None
        elif job.status == "done":
            self._first_done.setdefault(self.identity(job), job.name)

    def _leave(self, job: Job) -> None:
        self._counts[job.status] -= 1
        if job.status in ("waiting", "running"):
            self._followers -= self.experiment.followers(job)
        if job.status == "running":
            identity = self.identity(job)
            del self._busy[identity][job.name]
            if not self._busy[identity]:
                del self._busy[identity]
                for name in self._parked.pop(identity, ()):
                    heappush(self._ready, (self._places[name], name))

    def _turn(self, job: Job, status: Status) -> None:
        self._leave(job)
        job.status = status
        self._enter(job)

    def identity(self, job: Job) -> str:
        """All that the job's value depends on, as text."""
        if job.name not in self._identities:
            self._identities[job.name] = json.dumps(self.experiment.identity(job), sort_keys=True)
        return self._identities[job.name]

    def next(self) -> Job | None:
        """The next waiting job, now running. None: nothing is ready at the moment."""
        job = self._peek()
        if job is not None:
            heappop(self._ready)
            self._turn(job, "running")
        return job

    @property
    def ready(self) -> bool:
        """Whether :meth:`next` has a job."""
        return self._peek() is not None

    def _peek(self) -> Job | None:
        while self._ready:
            job = self.jobs[self._ready[0][1]]
            if job.status == "waiting" and (not self._busy or self.identity(job) not in self._busy):
                return job
            heappop(self._ready)
            if job.status == "waiting":
                self._parked.setdefault(self.identity(job), []).append(job.name)
        return None

    def known(self, job: Job) -> Value | None:
        """The value of a finished job of the same identity, marked as taken over."""
        name = self._first_done.get(self.identity(job)) if self._first_done else None
        if name in (None, job.name):
            return None
        value = self.jobs[str(name)].value
        return {**value, "result": {**value.get("result", {}), "reused": True}}

    def done(self, name: str, value: Value) -> None:
        """Record a job's final result, and add the jobs that follow from it. A second result changes nothing."""
        job = self.jobs[name]
        if job.status == "done":
            return
        following = list(self.experiment.following_jobs(replace(job, value=value)))
        job.value = value
        self._turn(job, "done")
        self._add(following)

    def crashed(self, name: str, again: bool) -> bool:
        """Record that a job ended without a result; True if it will be tried again, which ``again=False`` forbids."""
        job = self.jobs[name]
        if job.status != "running":
            return False
        job.crashes += again  # the user's cancelling is no crash
        waits = again and job.crashes <= self.experiment.retries
        self._turn(job, "waiting" if waits else "failed")
        return waits

    def release(self, name: str) -> None:
        """Take back a job that was handed out but never started."""
        if self.jobs[name].status == "running":
            self._turn(self.jobs[name], "waiting")

    def set_aside(self, job: Job) -> None:
        """It was handed out, but is not wanted now."""
        self._turn(job, "set aside")

    def take_back(self, job: Job) -> None:
        """It was set aside, and waits again."""
        self._turn(job, "waiting")

    def try_again(self) -> list[Job]:
        """Let the failed jobs wait once more whose failure may be mended by now: those that crashed too often, and
        those without which there is no result. What the user cancelled otherwise stays out.
        """
        revived = [
            job
            for job in self.jobs.values()
            if job.status == "failed" and (job.crashes > self.experiment.retries or self.experiment.is_essential(job))
        ]
        for job in revived:
            job.crashes = 0
            self._turn(job, "waiting")
        return revived

    @property
    def remaining(self) -> int:
        """Jobs that still have to be handed out, those that follow from unfinished ones included."""
        return self._followers + self._counts["waiting"]

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do: every job is done, or has failed for good."""
        return not self._counts["waiting"] and not self._counts["running"]

    @property
    def fatal(self) -> Job | None:
        """A job that failed for good and without which the experiment has no result."""
        if not self._counts["failed"]:
            return None
        failed = (job for job in self.jobs.values() if job.status == "failed")
        return next((job for job in failed if self.experiment.is_essential(job)), None)

    @property
    def running(self) -> list[str]:
        """The names of the running jobs."""
        return [name for names in self._busy.values() for name in names]

    def of_status(self, status: Status) -> list[Job]:
        """The jobs with this status."""
        return [job for job in self.jobs.values() if job.status == status]

    def of_phase(self, phase: str) -> list[Job]:
        """Its jobs, whatever their status."""
        return [job for job in self.jobs.values() if job.phase == phase]

    def entry(self, name: str) -> dict[str, Any]:
        """What a journal says of a job that has changed, as JSON: for :meth:`replay`."""
        job = self.jobs[name]
        value = {"value": job.value} if job.status == "done" else {}
        return {"job": name, "status": job.status, "crashes": job.crashes, **value}

    def replay(self, entry: Mapping[str, Any]) -> None:
        """Take over what :meth:`entry` said, in the order in which it was said. Running jobs stay running: NNI runs
        interrupted trials again itself.

        Raises:
            KeyError: there is no such job, or part of the entry is missing.
        """
        job = self.jobs[entry["job"]]
        if entry["status"] == "done":
            self.done(job.name, entry["value"])
        elif job.status != "done":
            self._turn(job, entry["status"])
        job.crashes = entry["crashes"]
