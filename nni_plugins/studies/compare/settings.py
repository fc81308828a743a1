"""What a comparison compares: a space, policies, seeds, and one way to measure what the policies chose. Free of torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import Settings
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.errors import NNIPluginsError, closest

from ...experiment.settings import EXPERIMENTS, SearchExperiment, build_space, check
from .evaluation_settings import Evaluation, LanguageEvaluation, StandAloneEvaluation
from .policy_settings import (
    KINDS,
    ExperimentPolicy,
    Policy,
    PrecomputedPolicy,
    QueriesPolicy,
    RecurrentPolicy,
    read_policy,
)
from .recurrent_settings import read_recurrent

NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")


class ReportSettings(Settings):
    """How the runs are judged; see :mod:`nni_plugins.evaluators.reports.comparison`. A finished comparison may be
    reported anew with others.
    """

    paired: bool = Field(
        False, description="compare seed by seed, which is right where one seed means the same draw for all policies"
    )
    resamples: int = Field(
        10_000, ge=1000, description="of bootstrap and permutations, where these are not counted exactly"
    )
    seed: int = Field(0, ge=0, description="of both")


class CompareSettings(Settings):
    """``tuner.classArgs`` of the tuner ``Compare``, and the file that ``nni-plugins compare`` reads."""

    title: str = "Search policies and random architectures"
    optimize_mode: Literal["maximize", "minimize"] | None = Field(
        None, description="the portal reads it from the YAML; must suit the evaluation"
    )
    space: dict[str, Any] = Field(description="name of a registered space, and its arguments")
    seeds: tuple[int, ...] = Field(description="one search of every policy for each; at least two, better ten")
    per_search: int = Field(
        1, ge=1, le=100, description="how many of each search's architectures are measured; statistics use the first"
    )
    evaluation: Evaluation
    policies: dict[str, Policy]
    baseline: str = Field(
        "random", description="name of the random policy: one uniformly drawn architecture a seed, no selection"
    )
    connected: bool = Field(
        False,
        description="random architectures have a path from input to output without none: uniform over those, instead of over all",
    )
    report: ReportSettings = ReportSettings.model_validate({})
    retries: int = Field(2, ge=0, description="under nnictl: how often a trial that crashed is tried again")
    threads: int | None = Field(None, ge=1, le=1024, description="CPU threads; default: torch's")
    run_folder: str | None = Field(
        None, description="under nnictl: where everything goes; default: the NNI experiment's folder"
    )

    KINDS: ClassVar[dict[str, type[Policy]]] = KINDS

    @field_validator("space")
    @classmethod
    def _space(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            build_space(value)
        except NNIPluginsError as error:
            raise ValueError(_one_line(error)) from None
        return value

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(value) < 2:
            raise ValueError(
                "at least two are needed, or nothing is known of the deviation between searches (ten are usual)"
            )
        if len(set(value)) != len(value) or min(value) < 0:
            raise ValueError("seeds must be distinct and not negative")
        return value

    @field_validator("policies", mode="before")
    @classmethod
    def _policies(cls, value: Any) -> Any:
        """Read one by one, so that messages name the keys that a person wrote."""
        if not isinstance(value, Mapping) or not value:
            raise ValueError("must be a mapping of at least one policy: name: {kind: ..., ...}")
        policies, problems = {}, []
        for name, given in value.items():
            if not NAME.fullmatch(str(name)):
                problems.append(f"{name!r} must consist of letters, digits and . _ + - : files are named after it")
            try:
                policies[str(name)] = (
                    given if isinstance(given, tuple(KINDS.values())) else read_policy(given, f"{name}.")
                )
            except ConfigError as error:
                problems.append(error.problem)
        if problems:
            raise ValueError("; ".join(problems))
        return policies

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems, space = [], self.search_space
        if self.baseline in self.policies or not NAME.fullmatch(self.baseline):
            problems.append(
                f"baseline: {self.baseline!r} must be a name of its own for the random policy, which is always there"
            )
        mode = "maximize" if self.evaluation.larger_is_better else "minimize"
        if self.optimize_mode not in (None, mode):
            problems.append(
                f"optimize_mode: must be {mode}, for that is what is better of {self.evaluation.metric_name}"
            )
        if isinstance(self.evaluation, LanguageEvaluation) and space.takes_images:
            problems.append(
                f"evaluation: networks of {space.name} take images, and language_model trains recurrent cells; use stand_alone"
            )
        if isinstance(self.evaluation, StandAloneEvaluation) and not space.takes_images:
            problems.append(f"evaluation: networks of {space.name} take no images; use language_model, or a table")
        try:
            _ = self.network_space
        except NNIPluginsError as error:
            problems.append(f"evaluation.network: {_one_line(error)}")
        for name in self.policies:
            problems += [f"policies.{name}.{problem}" for problem in self._policy_problems(name)]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _policy_problems(self, name: str) -> list[str]:
        policy = self.policies[name]
        try:
            if isinstance(policy, ExperimentPolicy):
                self.experiment(name, self.seeds[0])
            elif isinstance(policy, QueriesPolicy) and policy.queries < self.per_search:
                return [f"queries: {policy.queries} give no {self.per_search} different architectures (per_search)"]
            elif isinstance(policy, RecurrentPolicy):
                if not isinstance(self.evaluation, LanguageEvaluation):
                    return [
                        "kind: recurrent searches the text of an evaluation of kind language_model, and there is none"
                    ]
                read_recurrent(policy)
        except NNIPluginsError as error:
            return [error.problem.removesuffix(".")]
        return []

    # -- what follows from the settings --------------------------------------------------------------------------------
    @property
    def search_space(self) -> SearchSpace:
        """The space that is searched, built."""
        return build_space(self.space)

    @property
    def network_space(self) -> SearchSpace:
        """The space that builds the networks which are trained: the same decisions, perhaps another size."""
        return build_space({**self.space, **getattr(self.evaluation, "network", {})})

    def experiment(self, name: str, seed: int) -> SearchExperiment:
        """The experiment that a policy of kind ``experiment`` is, with one search.

        Raises:
            ConfigError: no such strategy, or settings that do not suit it.
        """
        policy = self.policies[name]
        assert isinstance(policy, ExperimentPolicy)
        searches = {key: model for key, model in EXPERIMENTS.items() if issubclass(model, SearchExperiment)}
        model = searches.get(policy.strategy.lower())
        if model is None:
            raise ConfigError(
                f"strategy: unknown {policy.strategy!r}; {closest(policy.strategy, [m.strategy for m in searches.values()])}"
            )
        data = policy.data or (self.evaluation.data if isinstance(self.evaluation, StandAloneEvaluation) else None)
        if data is None:
            raise ConfigError("data: must be given, for the evaluation has no images that the search could use")
        given = {key: value for key in ("objective", "training", "search") if (value := getattr(policy, key))}
        fixed = {
            "space": self.space,
            "data": data.model_dump(),
            "seeds": [seed],
            "found": self.per_search,
            "stand_alone": None,
        }
        return check(model, {**fixed, **given}, "")

    @property
    def expected_trials(self) -> int:
        """``maxTrialNumber``: searches, and for each ``per_search`` measurements, and as many of random architectures."""
        searches = sum(not isinstance(policy, PrecomputedPolicy) for policy in self.policies.values())
        return len(self.seeds) * (searches + (len(self.policies) + 1) * self.per_search)


def _one_line(error: NNIPluginsError) -> str:
    return str(error).replace("\n", " ")
