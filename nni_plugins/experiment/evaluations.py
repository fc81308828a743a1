"""The named evaluations of an experiment: for each, what was found, random architectures and baselines, all measured
alike. Searches and comparisons share them. Free of torch.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializeAsAny, field_validator

from nni_plugins.evaluators.base import EvaluationSettings, EvaluatorPlugin, Network, Report, network_of
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.plugins import evaluator_plugin, read_evaluation
from nni_plugins.evaluators.randomness import generator
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.errors import NNIPluginsError
from nni_plugins.spaces.published import names as published_names
from nni_plugins.spaces.registry import build_space
from nni_plugins.strategies.largest import LARGEST, largest
from nni_plugins.strategies.limits import Limits

from .base import ExperimentSettings
from .jobs import Job, Value
from .names import EVERY, NAME, one_line

RESERVED = ("search", "found", "random", "all", EVERY)
"""Names that stand on the portal's axes already."""


class EvaluatedSettings(ExperimentSettings):
    """What every experiment has that chooses architectures of a space and evaluates them."""

    optimize_mode: Literal["maximize", "minimize"] | None = Field(
        None, description="the portal reads it from the file; must suit the first evaluation"
    )
    space: dict[str, Any] = Field(
        default={"name": "nasbench201"}, description="name of a registered space, and its arguments"
    )
    limits: Limits = Field(Limits(), description="what every architecture meets that is searched, drawn or a baseline")
    evaluations: dict[str, SerializeAsAny[EvaluationSettings]] = Field(
        default={"stand_alone": {"evaluator": "stand_alone"}},  # type: ignore[dict-item]
        validate_default=True,
        description="by names of yours: {evaluator: NAME, ...}; the best architecture is chosen by the validation of the first",
    )
    baselines: tuple[str, ...] = Field(
        ("largest_parameters",),
        description=f"{', '.join(LARGEST)} (within the limits), or networks by name, such as resnet18",
    )

    @field_validator("space")
    @classmethod
    def _space(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            build_space(value)
        except NNIPluginsError as error:
            raise ValueError(one_line(error)) from None
        return value

    @field_validator("evaluations", mode="before")
    @classmethod
    def _evaluations(cls, value: Any) -> Any:
        """Read one by one, so that messages name the keys that a person wrote."""
        if not isinstance(value, Mapping):
            raise ValueError("must be a mapping: name: {evaluator: ..., ...}")
        evaluations, problems = {}, []
        for name, given in value.items():
            if NAME.fullmatch(str(name)) is None or name in RESERVED:
                problems.append(f"{name}: a name is made of a-z, 0-9 and _, and is none of {', '.join(RESERVED)}")
            try:
                read = given if isinstance(given, EvaluationSettings) else read_evaluation(given, f"{name}.")
                evaluations[str(name)] = read
            except NNIPluginsError as error:
                problems.append(one_line(error, remedy=False))
        if problems:
            raise ValueError("; ".join(problem.removesuffix(".") for problem in problems))
        return evaluations

    @field_validator("baselines")
    @classmethod
    def _baselines(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value) or set(value) & set(RESERVED):
            raise ValueError(f"each may stand there once, and none of {', '.join(RESERVED)}, but got {list(value)}")
        return value

    @property
    def search_space(self) -> SearchSpace:
        """The space that is searched, built."""
        return build_space(self.space)


def evaluation_paths(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Dotted keys of the evaluations in ``arguments`` that hold paths, as their evaluators say; none of those that
    cannot be read: reading them says why.
    """
    given, places = arguments.get("evaluations"), list[str]()
    for name, one in given.items() if isinstance(given, Mapping) else ():
        evaluator = one.get("evaluator") if isinstance(one, Mapping) else None
        try:
            places += [f"evaluations.{name}.{path}" for path in evaluator_plugin(str(evaluator)).paths]
        except NNIPluginsError:
            continue
    return tuple(places)


class Evaluations:
    """The evaluations that ``settings`` name.

    Args:
        data: settings of the experiment's own data, which evaluators use that are given none.
    """

    def __init__(self, settings: EvaluatedSettings, data: Any = None) -> None:
        self.settings, self.data = settings, data

    @cached_property
    def space(self) -> SearchSpace:
        """The space that is searched."""
        return self.settings.search_space

    @cached_property
    def evaluators(self) -> dict[str, EvaluatorPlugin]:
        """By the names of the evaluations, in their order."""
        return {
            name: evaluator_plugin(one.evaluator)(one, self.space, self.data)
            for name, one in self.settings.evaluations.items()
        }

    @property
    def primary(self) -> EvaluatorPlugin | None:
        """The one by whose validation the best architecture is chosen."""
        return next(iter(self.evaluators.values()), None)

    @property
    def objectives(self) -> dict[str, dict[str, Any]]:
        """Those that evaluations are given, by their keys in the file."""
        evaluations = self.settings.evaluations.items()
        given = {f"evaluations.{name}.objective": getattr(one, "objective", None) for name, one in evaluations}
        return {key: dict(value) for key, value in given.items() if isinstance(value, Mapping)}

    # -- before anything runs --------------------------------------------------------------------------------------------
    def problems(self, found: int, random: int, keys: tuple[str, str] = ("found", "random")) -> list[str]:
        """All that is wrong with the evaluations of ``found`` architectures a search and ``random`` ones, which ``keys``
        of the file say.
        """
        problems = []
        for name, one in self.settings.evaluations.items():
            for own, key, wanted, given in (
                ("found", keys[0], one.found, found),
                ("random", keys[1], one.random, random),
            ):
                if wanted is not None and wanted > given:
                    problems.append(f"evaluations.{name}.{own}: {wanted} architectures, but {key} is {given}")
            try:
                self.evaluators[name].check()
            except NNIPluginsError as error:
                problems.append(f"evaluations.{name}: {one_line(error)}")
            if one.baselines and self._named and not self.evaluators[name].takes_names:
                problems.append(
                    f"baselines: {self._named[0]} is a network's name, which the evaluator {one.evaluator} does not take; leave "
                    f"it out, or set evaluations.{name}.baselines: false"
                )
        problems += [f"baselines: {problem}" for problem in self._unknown_baselines()]
        mode = self.primary.metric.mode if self.primary is not None else "maximize"
        if self.settings.optimize_mode not in (None, mode):
            problems.append(f"optimize_mode: must be {mode}, for that is what is better of {self._metric_name}")
        return problems

    @property
    def _metric_name(self) -> str:
        return self.primary.metric.name if self.primary is not None else "a search's score"

    @cached_property
    def _named(self) -> list[str]:
        """The baselines that are networks outside the space."""
        names = (name for name in self.settings.baselines if name not in LARGEST)
        return [name for name in names if isinstance(network_of(self.space, name), str)]

    def _unknown_baselines(self) -> list[str]:
        if not any(one.baselines for one in self.settings.evaluations.values()):
            return []
        problems = []
        for name in self.settings.baselines:
            try:
                if name in LARGEST:
                    self.architecture(name)
                elif name not in published_names() and NAME.fullmatch(name.replace(".", "_").lower()) is None:
                    problems.append(f"{name!r} is neither {' nor '.join(LARGEST)} nor the name of a network")
            except NNIPluginsError as error:
                problems.append(f"{name}: {one_line(error)}")
        return problems

    def check_files(self) -> None:
        """Read, without torch, the files without which nothing can be planned.

        Raises:
            NNIPluginsError: of the first that cannot be read.
        """
        self.settings.limits.check_files(self.space)
        for name, evaluator in self.evaluators.items():
            try:
                evaluator.check_files()
            except NNIPluginsError as error:
                raise type(error)(f"evaluations.{name}: {error.problem}", error.remedy) from None

    def prepare(self, known: Iterable[Job] = ()) -> None:
        """Try what could fail after the search.

        Args:
            known: jobs whose networks are known before it; those that cost nothing are done, for a table may lack one.

        Raises:
            NNIPluginsError: what would fail, and what mends it; MissingBackend names the line that installs it.
        """
        jobs = list(known)
        for name, evaluator in self.evaluators.items():
            try:
                evaluator.prepare(self._named if self.settings.evaluations[name].baselines else ())
                for job in jobs if evaluator.looks_up else ():
                    if job.phase == name:
                        self.run(job, None, None)
            except NNIPluginsError as error:
                raise type(error)(
                    f"evaluations.{name} would fail after the search: {error.problem}", error.remedy
                ) from None

    # -- jobs --------------------------------------------------------------------------------------------------------------
    def architecture(self, baseline: str) -> Any:
        """The largest architecture within the limits, by what its name says."""
        return largest(self.space, baseline, self.settings.limits)

    def baseline_jobs(self) -> Iterable[Job]:
        """One for each evaluation and baseline. A published architecture of this very space is evaluated as one."""
        for name, one in self.settings.evaluations.items():
            for baseline in self.settings.baselines if one.baselines else ():
                choices, network = None, None
                if baseline in LARGEST:
                    choices = self.architecture(baseline).as_dict()
                else:
                    network = baseline
                yield Job(f"{name}-{baseline}", name, one.seed, baseline, choices=choices, network=network)

    def jobs(
        self,
        source: str,
        seed: int,
        architectures: Iterable[tuple[dict[str, str], float | None]],
        policy: str = "",
    ) -> Iterable[Job]:
        """Those of (choices, score), best first or in the order of their draw, as many as each evaluation wants."""
        given = list(architectures)
        for name in self.settings.evaluations:
            for rank, (choices, score) in enumerate(given[: self.wanted(name, source, len(given))], start=1):
                parts = [name, policy or source, *([str(seed)] if policy or source == "found" else []), str(rank)]
                yield Job("-".join(parts), name, seed, source, policy, rank, dict(choices), score=score)

    def wanted(self, name: str, source: str, given: int) -> int:
        """How many of ``given`` found or random architectures an evaluation takes."""
        one = self.settings.evaluations[name]
        limit = one.found if source == "found" else one.random
        return given if limit is None else min(limit, given)

    def count(self, source: str, given: int) -> int:
        """How many jobs ``given`` found or random architectures make."""
        return sum(self.wanted(name, source, given) for name in self.settings.evaluations)

    def identity(self, job: Job) -> dict[str, Any]:
        """All that an evaluation's value depends on; who chose the architecture is not among it."""
        network = self.network(job)
        what = {"network": network} if isinstance(network, str) else {"choices": network.as_dict()}
        seed = self._training_seed(job)
        return {"space": self.settings.space, **self.evaluators[job.phase].identity(), "seed": seed, **what}

    def _training_seed(self, job: Job) -> int:
        """The evaluation's, whoever chose the architecture; of trainings of all architectures their own."""
        return job.seed if job.source == EVERY else self.settings.evaluations[job.phase].seed

    def network(self, job: Job) -> Network:
        """What a job evaluates."""
        if job.network is None:
            return self.space.architecture(job.choices or {})
        return network_of(self.space, job.network)

    def run(self, job: Job, folder: Path | None, report: Report | None) -> Value:
        """Evaluate; returns what a trial reports: ``default``, by which the best is chosen, all numbers, and ``result``
        with ``value``, which is reported, ``validation`` and the curve. Without a validation ``default`` is the value.
        """
        started = time.monotonic()
        seed = self._training_seed(job)
        measured = self.evaluators[job.phase].evaluate(self.network(job), seed, folder, report)
        numbers = {**measured.metrics, **measured.cost}
        return {
            "default": measured.value if measured.validation is None else measured.validation,
            **numbers,
            "seconds": time.monotonic() - started,
            "result": {
                "value": measured.value,
                "validation": measured.validation,
                "metrics": measured.metrics,
                "cost": measured.cost,
                "curve": measured.curve,
                "reused": False,
            },
        }

    def devices(self, job: Job) -> int:
        """How many processes an evaluation takes."""
        return self.evaluators[job.phase].devices

    # -- random architectures ------------------------------------------------------------------------------------------------
    def draw(self, n: int, seed: int, purpose: str) -> list[dict[str, str]]:
        """``n`` distinct ones within the limits, uniform, a function of seed and purpose alone."""
        from nni_plugins.strategies.drawing import draw

        drawn = draw(self.space, n, generator(seed, purpose), limits=self.settings.limits)
        return [architecture.as_dict() for architecture in drawn]


def require_evaluation(evaluations: Evaluations, strategy: str) -> EvaluatorPlugin:
    """The evaluator that answers a strategy which asks.

    Raises:
        ConfigError: there is none.
    """
    if evaluations.primary is None:
        raise ConfigError(
            f"{strategy} asks for the values of architectures, so there must be an evaluation to answer it."
        )
    return evaluations.primary
