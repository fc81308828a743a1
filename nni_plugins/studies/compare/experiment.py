"""Search policies against random architectures and baselines: searches for every policy and seed, then evaluations of
what they found. Free of torch until it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.base import EvaluatorPlugin, Report
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.randomness import generator
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.errors import NNIPluginsError
from nni_plugins.strategies.base import refused

from ...experiment.base import WHOLE_SPACE, Axes, Experiment, choice
from ...experiment.evaluations import Evaluations, evaluation_paths
from ...experiment.jobs import Job, Plan, Value
from ...experiment.names import EVERY, REAL_BEST, RUN, one_line
from ...experiment.search import decision_axes
from ...experiment.search_settings import SearchSettings
from ...experiment.searching import require_found, run_search, search_devices, search_identity
from .result import write_result
from .settings import RANDOM, CompareSettings

MOST_DRAWS = 1000
"""So often connected architectures are looked for."""
SEARCH, PER_SEARCH = "search", "per_search"


class CompareExperiment(Experiment):
    """``tuner.name: Compare``. An architecture that several searches chose is evaluated once."""

    name = "Compare"
    about = "search policies against random architectures and baselines, over several seeds"
    command = "compare"
    settings_class = CompareSettings
    paths = ("limits.latency_table", "policies.*.search.file", "policies.*.data.path")
    settings: CompareSettings

    @classmethod
    def paths_in(cls, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """Those of the evaluations too."""
        return (*cls.paths, *evaluation_paths(arguments))

    # -- jobs ----------------------------------------------------------------------------------------------------------
    @cached_property
    def evaluations(self) -> Evaluations:
        """The named evaluations."""
        return self.settings.named_evaluations()

    @property
    def evaluators(self) -> Mapping[str, EvaluatorPlugin]:
        """Of the named evaluations."""
        return self.evaluations.evaluators

    @cached_property
    def searches(self) -> dict[str, SearchSettings]:
        """The searches of each policy, or of each of its runs, as an experiment of their own."""
        names = (run for policy in self.settings.policies for run in self.settings.runs(policy))
        return {name: self.settings.search_settings(name) for name in names}

    @property
    def phases(self) -> tuple[str, ...]:
        """The searches, then the evaluations in their order."""
        return (SEARCH, *self.settings.evaluations)

    def first_jobs(self) -> Iterable[Job]:
        """The searches, random architectures and baselines."""
        for name in self.searches:
            for seed in self.settings.seeds:
                yield Job(f"{SEARCH}-{name}-{seed}", SEARCH, seed, policy=name)
        for seed, drawn in self.random_architectures.items():
            random = [(architecture.as_dict(), None) for architecture in drawn]
            yield from self.evaluations.jobs("random", seed, random, RANDOM)
        yield from self.evaluations.baseline_jobs()
        yield from self._jobs_of_every()

    def _jobs_of_every(self) -> Iterable[Job]:
        """Every architecture by the first evaluation, with each of the training seeds of ``real_best``."""
        first = next(iter(self.settings.evaluations))
        for seed in self.settings.real_best:
            for rank, architecture in enumerate(self.every, start=1):
                name, choices = f"{first}-{EVERY}-{seed}-{rank}", architecture.as_dict()
                yield Job(name, first, seed, EVERY, REAL_BEST, rank, choices)

    @cached_property
    def every(self) -> list[Architecture]:
        """The architectures of the space within the limits, of symmetric twins the first."""
        space = self.settings.search_space
        rows, found = space.enumerate(), dict[str, Architecture]()
        for architecture in space.decode(rows[self.settings.limits.mask(space, rows)]):
            found.setdefault(space.canonical(architecture), architecture)
        return list(found.values())

    @cached_property
    def random_architectures(self) -> dict[int, list[Architecture]]:
        """Of the random policy, by seed: see :func:`random_architectures`."""
        return {seed: random_architectures(self.settings, seed) for seed in self.settings.seeds}

    def following_jobs(self, job: Job) -> Iterable[Job]:
        """The evaluations of what a search found."""
        if job.phase != SEARCH:
            return ()
        found = [(dict(one["choices"]), one["score"]) for one in job.value["result"]["found"]]
        return self.evaluations.jobs("found", job.seed, found, job.policy)

    def followers(self, job: Job) -> int:
        """Of a search, the evaluations of what it will find."""
        return self.evaluations.count("found", self.settings.per_search) if job.phase == SEARCH else 0

    def is_essential(self, job: Job) -> bool:
        """Without one of its searches a comparison is not the one that was asked for."""
        return job.phase == SEARCH

    @property
    def counted(self) -> str:
        """What the trials are."""
        every = " + every architecture with each seed of real_best" if self.settings.real_best else ""
        return f"searches + what they find + random ones + baselines, for each seed and evaluation{every}"

    def identity(self, job: Job) -> dict[str, Any]:
        """Of a search all that decides what it finds; of evaluations see :meth:`Evaluations.identity`."""
        if job.phase != SEARCH:
            return self.evaluations.identity(job)
        described = search_identity(self.searches[job.policy], self.evaluations, job.seed)
        return {PER_SEARCH: described.pop("found"), **described}  # as a person wrote it, for messages

    # -- work ----------------------------------------------------------------------------------------------------------
    def check(self) -> None:
        """The files of policies and evaluations, and how many architectures there are."""
        problems = []
        for name, searched in self.searches.items():
            try:
                searched.strategy.check_files(searched.setup())
            except NNIPluginsError as error:
                problems.append(f"policies.{name}: {one_line(error)}")
        refused(problems)
        self.evaluations.check_files()
        require_found(next(iter(self.searches.values())), PER_SEARCH)

    @property
    def objectives(self) -> dict[str, dict[str, Any]]:
        """What is searched and evaluated with."""
        given = {f"policies.{name}.objective": searched.objective for name, searched in self.searches.items()}
        own = {key: objective for key, objective in given.items() if objective is not None}
        return {**own, **self.evaluations.objectives}

    def prepare(self) -> None:
        """What could fail after the searches is tried before them."""
        self.check()
        self.evaluations.prepare(self.first_jobs())

    def run(self, job: Job, folder: Path | None, report: Report | None) -> Value:
        """One search, or one evaluation."""
        if job.phase != SEARCH:
            return self.evaluations.run(job, folder, report)
        searched = self.searches[job.policy]
        return run_search(searched, self.evaluations, job.seed, folder, report, [], PER_SEARCH)

    def devices(self, job: Job) -> int:
        """As the search's training or the evaluation says."""
        if job.phase != SEARCH:
            return self.evaluations.devices(job)
        return search_devices(self.searches[job.policy], self.evaluations)

    def conclude(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """``result.json``, and the reports of what is finished."""
        return write_result(self.settings, self.evaluations, plan, folder)

    # -- what people see -----------------------------------------------------------------------------------------------
    @property
    def optimize_mode(self) -> str:
        """Of the first evaluation."""
        return next(iter(self.evaluators.values())).metric.mode

    def axes(self) -> Axes:
        """Phase, policy, where architectures come from, and one for each decision."""
        settings = self.settings
        return {
            "phase": choice(self.phases),
            "policy": choice(
                [*settings.policies, RANDOM, *settings.baselines, *[REAL_BEST] * bool(settings.real_best)]
            ),
            "source": choice([SEARCH, "found", "random", *settings.baselines, *[EVERY] * bool(settings.real_best)]),
            **decision_axes(settings, True),
        }

    def parameters(self, job: Job) -> dict[str, Any]:
        """The choices, or :data:`WHOLE_SPACE` on every axis; a baseline is its own policy."""
        chosen = job.choices or dict.fromkeys(self.settings.search_space.labels, WHOLE_SPACE)
        return {"phase": job.phase, "policy": owner(job), "source": job.source or SEARCH, **chosen}

    def curve_point(self, job: Job, row: Mapping[str, Any]) -> dict[str, Any]:
        """As strategy or evaluator say."""
        if job.phase == SEARCH:
            return self.searches[job.policy].strategy.curve_point(row)
        return self.evaluators[job.phase].curve_point(row)

    def curve_file(self, job: Job) -> str | None:
        """As the evaluator says."""
        return "metrics.jsonl" if job.phase == SEARCH else self.evaluators[job.phase].curve_file

    def outcome(self, job: Job) -> str:
        """The best score of a search, or the metric of an evaluation."""
        if job.phase == SEARCH:
            return f"largest {self.searches[job.policy].strategy.score.text(job.value['default'])}"
        return self.evaluators[job.phase].metric.text(job.value["result"]["value"])


def owner(job: Job) -> str:
    """The policy whose a job is, or the baseline that it evaluates."""
    return job.policy.partition(RUN)[0] or job.source


def random_architectures(settings: CompareSettings, seed: int) -> list[Architecture]:
    """What the random policy chooses: uniform draws within the limits, different ones within a seed, independent of all
    other seeds and purposes.

    Raises:
        ConfigError: the space has fewer than ``per_search``, or hardly any connected ones.
    """
    from nni_plugins.strategies.drawing import draw

    space, rng, count = settings.search_space, generator(seed, "random policy"), settings.per_search
    if not settings.connected:
        return draw(space, count, rng, limits=settings.limits)
    drawn: dict[Architecture, None] = {}
    for _ in range(MOST_DRAWS):
        rows = space.sample(rng, count)
        rows = rows[(space.complete_paths(rows) > 0) & settings.limits.mask(space, rows)]
        drawn.update(dict.fromkeys(space.decode(rows)))
        if len(drawn) >= count:
            return list(drawn)[:count]
    raise ConfigError(
        f"connected: {MOST_DRAWS * count:,} draws from {space!r} gave only {len(drawn)} connected architectures"
        f"{' within the limits' if settings.limits.given else ''}."
    )
