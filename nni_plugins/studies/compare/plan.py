"""The plan of a comparison: searches, then what they found and random architectures, all measured alike. Free of torch.

The same plan serves NNI's tuner and ``nni-plugins compare``. An architecture that two searches chose is measured once:
the second job waits for the first, and takes its value over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.randomness import generator
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.strategies.drawing import draw

from ...experiment.plan import Job, Plan
from ...portal.axes import WHOLE_SPACE
from .evaluation_settings import TableEvaluation
from .policy_settings import PrecomputedPolicy
from .precomputed import read_file
from .settings import CompareSettings

MOST_DRAWS = 1000
"""So often connected architectures are looked for."""


@dataclass
class CompareJob(Job):
    """``policy``: whose; ``rank``: from 0, of an architecture among those of its search. ``phase`` is that of the other
    experiments.
    """

    policy: str = ""
    rank: int = 0


def random_architectures(settings: CompareSettings, seed: int) -> list[Architecture]:
    """The random policy: uniform draws, different ones within a seed, independent of all other seeds and purposes.

    Raises:
        ConfigError: the space has fewer than ``per_search``, or hardly any connected ones.
    """
    space, rng = settings.search_space, generator(seed, "random policy")
    if not settings.connected:
        return draw(space, settings.per_search, rng)
    drawn: dict[Architecture, None] = {}
    for _ in range(MOST_DRAWS):
        indices = space.sample(rng, settings.per_search)
        drawn.update(dict.fromkeys(space.decode(indices[space.complete_paths(indices) > 0])))
        if len(drawn) >= settings.per_search:
            return list(drawn)[: settings.per_search]
    raise ConfigError(
        f"connected: {MOST_DRAWS * settings.per_search:,} draws from {space!r} gave only {len(drawn)} connected architectures."
    )


class ComparePlan(Plan):
    """All jobs of one comparison.

    Raises:
        ConfigError: a file of precomputed architectures does not fit; TableError: the table lacks an architecture that
            is known beforehand.
    """

    settings: CompareSettings  # type: ignore[assignment]
    jobs: dict[str, CompareJob]  # type: ignore[assignment]

    def __init__(self, settings: CompareSettings) -> None:
        self.settings, self.jobs = settings, {}
        for name, policy in settings.policies.items():
            if isinstance(policy, PrecomputedPolicy):
                for seed, architectures in read_file(settings, name, policy.file).items():
                    self._measure(name, seed, [(choices, None) for choices in architectures])
            else:
                self._add(CompareJob(f"search-{name}-{seed}", "search", seed, policy=name) for seed in settings.seeds)
        for seed in settings.seeds:
            self._measure(settings.baseline, seed, [(a.as_dict(), None) for a in random_architectures(settings, seed)])
        if isinstance(settings.evaluation, TableEvaluation):
            from .measure import open_table

            known = [
                settings.search_space.architecture(job.choices) for job in self.jobs.values() if job.choices is not None
            ]
            open_table(settings).values(known, settings.evaluation.metric_name)

    def _measure(self, policy: str, seed: int, found: list[tuple[dict[str, str], float | None]]) -> None:
        phase: Any = "random" if policy == self.settings.baseline else "found"
        self._add(
            CompareJob(f"train-{policy}-{seed}-{rank + 1}", phase, seed, choices, score, policy=policy, rank=rank)
            for rank, (choices, score) in enumerate(found)
        )

    def next(self) -> CompareJob | None:
        """The next waiting job, now running. Of equal architectures only one is measured at a time."""
        busy = [job.choices for job in self.jobs.values() if job.status == "running" and job.choices is not None]
        order = {"search": 0, "found": 1, "random": 2}
        waiting = [job for job in self.jobs.values() if job.status == "waiting" and job.choices not in busy]
        if not waiting:
            return None
        job = min(waiting, key=lambda job: order[job.phase])
        job.status = "running"
        return job

    def known(self, job: CompareJob) -> dict[str, Any] | None:
        """The value of a job that measured the same architecture; searches have none."""
        if job.choices is None:
            return None
        return next(
            (
                o.value
                for o in self.jobs.values()
                if o.status == "done" and o.choices == job.choices and o.name != job.name
            ),
            None,
        )

    def done(self, name: str, value: dict[str, Any]) -> None:
        """Record a result; that of a search adds the jobs that measure what it found. A second result changes nothing."""
        job = self.jobs[name]
        if job.status == "done":
            return
        job.status, job.value = "done", value
        if job.phase == "search":
            self._measure(
                job.policy, job.seed, [(entry["choices"], entry["score"]) for entry in value["result"]["found"]]
            )

    @property
    def remaining(self) -> int:
        """Jobs that still have to be handed out, those of unfinished searches included."""
        unknown = sum(job.phase == "search" and job.status in ("waiting", "running") for job in self.jobs.values())
        return unknown * self.settings.per_search + sum(job.status == "waiting" for job in self.jobs.values())

    def parameters(self, job: Job) -> dict[str, Any]:
        """What the trial gets; ``known`` is the value of an architecture that has been measured before."""
        assert isinstance(job, CompareJob)
        axes = job.choices or dict.fromkeys(self.settings.search_space.labels, WHOLE_SPACE)
        trial = {"job": job.name, "seed": job.seed, "known": self.known(job)}
        return {"phase": job.phase, "policy": job.policy, **axes, "trial": trial}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` returned. Running jobs stay running: NNI runs interrupted trials again by
        itself.
        """
        self.jobs = {}
        self._add(CompareJob(**job) for job in state["jobs"])

    def of_policy(self, name: str) -> Iterator[CompareJob]:
        """Its measurements, whatever their status."""
        return (job for job in self.jobs.values() if job.policy == name and job.phase != "search")


def portal_space(settings: CompareSettings) -> dict[str, dict[str, Any]]:
    """The axes of the portal's graph: phase, policy, and one for each decision."""
    axes = settings.search_space.nni_search_space()
    searched = any(policy.searches for policy in settings.policies.values())
    phases = [*(["search"] if searched else []), "found", "random"]
    return {
        "phase": {"_type": "choice", "_value": phases},
        "policy": {"_type": "choice", "_value": [*settings.policies, settings.baseline]},
        **{
            label: {**axis, "_value": [*axis["_value"], *([WHOLE_SPACE] if searched else [])]}
            for label, axis in axes.items()
        },
    }
