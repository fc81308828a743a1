"""The plan of an experiment in phases, as a pure state machine: which trial comes next, and what a result means for the
rest.

It knows nothing of NNI's threads and message formats (:mod:`nni_plugins.portal.tuner` does) and imports no torch.
Life cycle of a job: waiting -> running -> done, or back to waiting after a crash, at most ``retries`` times, then
failed. What a search found is listed instead, and never handed out, if nothing is to be trained stand-alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from nni_plugins.evaluators.randomness import generator
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.strategies.drawing import draw

from ..portal.axes import WHOLE_SPACE
from ..studies.sample.draw import draw_samples
from .follow_up_settings import FollowUpSettings
from .settings import SampleStudyExperiment, SearchExperiment, StudySettings

Phase = Literal["search", "found", "random", "sample", "follow_up"]
Status = Literal["waiting", "running", "done", "failed", "listed"]


@dataclass
class Job:
    """One trial: ``name`` is unique in the experiment and survives retries and restarts.

    ``seed``: of the search that it is, or that found its architecture; of the random draw for random ones. ``score``:
    what the search ranked it by, in the unit of the experiment's. ``value``: what it reported. ``objective``: of a
    sample study's training, by its name there. ``follow_up``: which of the experiment's follow-ups it is; ``of``: the
    phase that its architecture comes from.
    """

    name: str
    phase: Phase
    seed: int
    choices: dict[str, str] | None = None
    score: float | None = None
    status: Status = "waiting"
    crashes: int = 0
    value: dict[str, Any] = field(default_factory=dict)
    objective: str | None = None
    follow_up: str | None = None
    of: Literal["found", "random"] | None = None

    @property
    def angle(self) -> float | None:
        """The score, by the name that it has in RLNAS."""
        return self.score


def random_architectures(settings: StudySettings) -> list[Architecture]:
    """The experiment's random architectures: distinct, uniform, a function of ``random_seed`` and their number alone."""
    return draw(settings.search_space, settings.random, generator(settings.random_seed, "random search"))


class Plan:
    """All jobs of one experiment, in the order in which they are handed out."""

    def __init__(self, settings: StudySettings) -> None:
        self.settings = settings
        self.jobs: dict[str, Job] = {}
        if isinstance(settings, SearchExperiment):
            self._add(Job(f"search-{seed}", "search", seed) for seed in settings.seeds)
        if isinstance(settings, SampleStudyExperiment):
            self._add(_samples(settings))
            return
        random = random_architectures(settings)
        self._add(
            Job(f"random-{i}", "random", settings.random_seed, a.as_dict()) for i, a in enumerate(random, start=1)
        )
        for name, follow in self._follow_ups.items():
            chosen = enumerate(random[: follow.random], start=1)
            self._add(
                Job(f"{name}-random-{i}", "follow_up", settings.random_seed, a.as_dict(), follow_up=name, of="random")
                for i, a in chosen
            )

    @property
    def _follow_ups(self) -> dict[str, FollowUpSettings]:
        return self.settings.follow_ups if isinstance(self.settings, SearchExperiment) else {}

    def _add(self, jobs: Iterable[Job]) -> None:
        self.jobs.update((job.name, job) for job in jobs)

    def next(self) -> Job | None:
        """The next waiting job, now running; searches first, then what they found, follow-ups last. None: nothing is
        ready at the moment.
        """
        order = {"search": 0, "found": 1, "random": 2, "sample": 3, "follow_up": 4}
        waiting = sorted(
            (job for job in self.jobs.values() if job.status == "waiting"), key=lambda job: order[job.phase]
        )
        if not waiting:
            return None
        waiting[0].status = "running"
        return waiting[0]

    def done(self, name: str, value: dict[str, Any]) -> None:
        """Record a job's final result; the result of a search adds the jobs of what it found. A second result changes
        nothing.
        """
        job = self.jobs[name]
        if job.status == "done":
            return
        job.status, job.value = "done", value
        if job.phase == "search" and isinstance(self.settings, SearchExperiment):
            status: Status = "listed" if self.settings.stand_alone is None else "waiting"
            self._add(
                Job(f"found-{job.seed}-{rank}", "found", job.seed, dict(found["choices"]), _score(found), status)
                for rank, found in enumerate(value["result"]["found"], start=1)
            )
            for name, follow in self._follow_ups.items():
                self._add(
                    Job(
                        f"{name}-found-{job.seed}-{rank}",
                        "follow_up",
                        job.seed,
                        dict(found["choices"]),
                        _score(found),
                        follow_up=name,
                        of="found",
                    )
                    for rank, found in enumerate(value["result"]["found"][: follow.found], start=1)
                )

    def crashed(self, name: str, again: bool) -> bool:
        """Record that a job ended without a result; True if it will be tried again, which ``again=False`` forbids."""
        job = self.jobs[name]
        if job.status != "running":
            return False
        job.crashes += 1
        job.status = "waiting" if again and job.crashes <= self.settings.retries else "failed"
        return job.status == "waiting"

    def release(self, name: str) -> None:
        """Take back a job that was handed out but never started."""
        if self.jobs[name].status == "running":
            self.jobs[name].status = "waiting"

    @property
    def remaining(self) -> int:
        """Jobs that still have to be handed out, those of unfinished searches included."""
        unknown = sum(job.phase == "search" and job.status in ("waiting", "running") for job in self.jobs.values())
        found = (
            self.settings.found
            if isinstance(self.settings, SearchExperiment) and self.settings.stand_alone is not None
            else 0
        )
        found += sum(follow.found for follow in self._follow_ups.values())
        return unknown * found + sum(job.status == "waiting" for job in self.jobs.values())

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do: every job is done or listed, or has failed for good."""
        return all(job.status not in ("waiting", "running") for job in self.jobs.values())

    @property
    def failed_search(self) -> Job | None:
        """A search that failed for good: then the experiment has no result."""
        return next((job for job in self.jobs.values() if job.phase == "search" and job.status == "failed"), None)

    def parameters(self, job: Job) -> dict[str, Any]:
        """What the trial gets: one key an axis of the portal's graph, and ``trial``, whose ``job`` names it for ever."""
        labels = self.settings.search_space.labels
        axes = job.choices or dict.fromkeys(labels, WHOLE_SPACE)
        objective = {} if job.objective is None else {"objective": job.objective}
        return {"phase": job.follow_up or job.phase, **objective, **axes, "trial": {"job": job.name, "seed": job.seed}}

    def state(self) -> dict[str, Any]:
        """JSON-able, for :meth:`restore`."""
        return {"jobs": [asdict(job) for job in self.jobs.values()]}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` returned. Running jobs stay running: NNI runs interrupted trials again by
        itself.
        """
        self.jobs = {}
        self._add(
            Job(**{"score" if key == "angle" else key: value for key, value in job.items()}) for job in state["jobs"]
        )


def _samples(settings: SampleStudyExperiment) -> Iterable[Job]:
    """One training for each seed, architecture and objective, in this order: a study that is stopped early has whole
    architectures.
    """
    for seed in settings.seeds:
        for i, architecture in enumerate(draw_samples(settings), start=1):
            for objective in settings.objectives:
                yield Job(f"sample-{i}-{objective}-{seed}", "sample", seed, architecture.as_dict(), objective=objective)


def _score(found: dict[str, Any]) -> float:
    """Of a row of a search's result; searches of before there were other scores said ``angle``."""
    return float(found["score"] if "score" in found else found["angle"])
