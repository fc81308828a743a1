"""What a comparison compares: a space, policies, seeds, and evaluations of what the policies chose. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.overrides import changed_values
from nni_plugins.evaluators.settings import Settings, read
from nni_plugins.evaluators.text.settings import TextSettings
from nni_plugins.spaces import registry
from nni_plugins.spaces.errors import NNIPluginsError, closest
from nni_plugins.spaces.registry import build_space
from nni_plugins.strategies.base import refused
from nni_plugins.strategies.plugins import strategy_plugin

from ...experiment.evaluations import EvaluatedSettings, Evaluations
from ...experiment.names import LABEL, REAL_BEST, RUN, one_line
from ...experiment.search import settings_of
from ...experiment.search_settings import SearchSettings

DATA: dict[str, type[Settings]] = {"images": DataSettings, "text": TextSettings, "none": DataSettings}
"""Settings of what strategies learn from; those that learn from nothing may be answered by an evaluation that does."""


RANDOM = "random"
"""The policy that is always there: one uniformly drawn architecture a seed, no selection."""
MOST_REAL = 1000
"""So many architectures of a space can all be trained, at most."""
CHANGED = ("training", "search", "data")
"""Keys of a policy below which its runs may differ."""


class ReportSettings(Settings):
    """How the runs are judged; see :mod:`nni_plugins.evaluators.reports.comparison`. A finished comparison may be
    reported anew with others.
    """

    baseline: tuple[str, ...] = Field(
        (RANDOM,),
        description="the policies that all others are compared with: random, which is always there, one of policies, such "
        "as the best of so many random queries, or several; the first is shown last, in grey",
    )
    paired: bool = Field(
        False, description="compare seed by seed, which is right where one seed means the same draw for all policies"
    )
    resamples: int = Field(
        10_000, ge=1000, description="of bootstrap and permutations, where these are not counted exactly"
    )
    seed: int = Field(0, ge=0, description="of both")

    @field_validator("baseline", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("baseline")
    @classmethod
    def _baselines(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError("must be one or several policies, each once")
        return value


class PolicySettings(Settings):
    """One way to choose architectures: a registered strategy, with the keys of its experiment files."""

    strategy: str = Field(description="name of a registered strategy")
    space: dict[str, Any] = Field(
        default={},
        description="arguments of the space that differ in its searches, such as hidden: 300, sharing: edge_op; only sizes, for all "
        "policies choose from the same architectures",
    )
    objective: dict[str, Any] | None = Field(None, description="default: the strategy's own")
    training: dict[str, Any] = {}
    search: dict[str, Any] = {}
    data: dict[str, Any] | None = Field(None, description="default: the images or texts of the first evaluation")
    runs: tuple[dict[str, Any], ...] = Field(
        (),
        description="as many searches a seed, each with these values of its keys, such as {search.drop_path: 0.2}; the one "
        "whose architecture has the best validation in the first evaluation counts (R-DARTS)",
    )

    def variant(self, run: int) -> PolicySettings:
        """The policy of one of :attr:`runs`, from 1.

        Raises:
            ConfigError: a key is not below training, search or data.
        """
        values = self.model_dump(exclude={"runs"})
        changed = changed_values({key: values.pop(key) for key in CHANGED}, self.runs[run - 1])
        return PolicySettings(**values, **changed)


def read_policy(value: Any, where: str) -> PolicySettings:
    """One entry of ``policies``, whose parts are read by the settings of its strategy.

    Args:
        where: what stands before its keys in messages.

    Raises:
        ConfigError: every problem of it; RegistryError: the strategy cannot be imported.
    """
    policy, known = read(PolicySettings, value, where), registry.found("strategies")
    if policy.strategy.lower() not in known:
        raise ConfigError(f"{where}strategy: unknown {policy.strategy!r}; {closest(policy.strategy.lower(), known)}")
    plugin, problems = strategy_plugin(policy.strategy.lower()), []
    if not plugin.searches:
        problems.append(f"{where}strategy: {plugin.name} searches nothing, and every comparison has a random policy")
    parts = {"training": plugin.training_settings, "search": plugin.search_settings, "data": DATA[plugin.data]}
    for key, model in parts.items():
        given = getattr(policy, key)
        try:
            if given is not None:
                read(model, given, f"{where}{key}.")
        except ConfigError as error:
            problems.append(error.problem)
    refused(problems)
    return policy


class CompareSettings(EvaluatedSettings):
    """``tuner.classArgs`` of the tuner ``Compare``, and the file that ``nni-plugins compare`` reads."""

    title: str = "Search policies and random architectures"
    seeds: tuple[int, ...] = Field(description="one search of every policy for each; at least two, better ten")
    per_search: int = Field(
        1, ge=1, le=100, description="how many of each search's architectures are evaluated; statistics use the first"
    )
    policies: dict[str, PolicySettings]
    connected: bool = Field(
        False,
        description="random architectures have a path from input to output without none: uniform over those, instead of "
        "over all",
    )
    real_best: tuple[int, ...] = Field(
        (),
        description="seeds of trainings, at least two: every architecture of the space is trained with each of them by the "
        "first evaluation, and the one with the best mean validation is shown beside the policies",
    )
    report: ReportSettings = ReportSettings.model_validate({})

    @field_validator("real_best")
    @classmethod
    def _training_seeds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value and (len(set(value)) < max(2, len(value)) or min(value) < 0):
            raise ValueError("must be none, or at least two distinct seeds that are not negative")
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
            raise ValueError("must be a mapping of at least one policy: name: {strategy: ..., ...}")
        policies, problems = {}, []
        for name, given in value.items():
            if not LABEL.fullmatch(str(name)):
                problems.append(f"{name!r} must consist of letters, digits and . _ + - : files are named after it")
            try:
                policies[str(name)] = given if isinstance(given, PolicySettings) else read_policy(given, f"{name}.")
            except NNIPluginsError as error:
                problems.append(one_line(error, remedy=False))
        if problems:
            raise ValueError("; ".join(problems))
        return policies

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems = []
        if RANDOM in self.policies:
            problems.append(f"policies.{RANDOM}: the policy that draws at random is called so, and is always there")
        if REAL_BEST in self.policies:
            problems.append(f"policies.{REAL_BEST}: what real_best trains is called so; choose another name")
        known = (*self.policies, RANDOM)
        problems += [
            f"report.baseline: no policy {name!r}; {closest(name, known)}"
            for name in self.report.baseline
            if name not in known
        ]
        problems += [
            f"policies.{name}: a baseline is called so; choose another name" for name in known if name in self.baselines
        ]
        if not self.evaluations:
            problems.append("evaluations: at least one is needed, or there is nothing to compare by")
        problems += [
            f"evaluations.{name}.{key}: a comparison needs at least one"
            for name, one in self.evaluations.items()
            for key in ("found", "random")
            if getattr(one, key) == 0
        ]
        chosen = [name for name, policy in self.policies.items() if policy.runs]
        first, judge = next(iter(self.named_evaluations().evaluators.items()), ("", None))
        if chosen and judge is not None and not judge.holds_out:
            problems.append(
                f"policies.{chosen[0]}.runs: the best run is chosen by held-out data, but evaluations.{first} holds none out"
            )
        if self.real_best and self.search_space.size > MOST_REAL:
            problems.append(
                f"real_best: at most {MOST_REAL:,} architectures can all be trained, but the space has {self.search_space.size:,}"
            )
        if self.real_best and judge is not None and not judge.holds_out:
            problems.append(
                f"real_best: the best architecture is chosen by held-out data, but evaluations.{first} holds none out"
            )
        keys = ("per_search", "per_search")
        unfit = self.named_evaluations().problems(self.per_search, self.per_search, keys)
        problems += unfit
        for name, policy in self.policies.items():
            if unfit and strategy_plugin(policy.strategy.lower()).asks:
                continue  # it would say the same of the evaluation that answers it
            for run in self.runs(name):
                try:
                    self.search_settings(run)
                except NNIPluginsError as error:
                    problems.append(one_line(error, remedy=False))
        if problems:
            raise ValueError("; ".join(problems))
        return self

    # -- what follows from the settings --------------------------------------------------------------------------------
    def named_evaluations(self) -> Evaluations:
        """The evaluations; those without images or texts of their own have those of the first that has some."""
        return Evaluations(self, self.data_of_evaluations(DATA["images" if self.search_space.takes_images else "text"]))

    def data_of_evaluations(self, kind: type[Settings]) -> Settings | None:
        """The first settings of this kind that an evaluation has, such as its images."""
        values = (value for one in self.evaluations.values() for _, value in one)
        return next((value for value in values if isinstance(value, kind)), None)

    def runs(self, policy: str) -> tuple[str, ...]:
        """What the searches of a policy are called: after it, or after its runs."""
        own = self.policies[policy].runs
        return tuple(f"{policy}{RUN}{number}" for number in range(1, len(own) + 1)) or (policy,)

    def search_settings(self, name: str) -> SearchSettings:
        """The searches of a policy, or of one of its runs, as an experiment of their own, which is asked about them.

        Raises:
            ConfigError: settings that do not suit the strategy, the space or one another.
        """
        label, _, run = name.partition(RUN)
        policy = self.policies[label].variant(int(run)) if run else self.policies[label]
        plugin = strategy_plugin(policy.strategy.lower())
        space = {**self.space, **policy.space}
        if policy.space and plugin.asks:
            raise ConfigError(
                f"policies.{name}.space: {plugin.name} trains nothing itself, so nothing has another size"
            )
        if policy.space and self.limits.given:
            raise ConfigError(
                f"policies.{name}.space: the limits are of networks in the size of space; leave one of them out"
            )
        if policy.space and build_space(space).decisions != self.search_space.decisions:
            words = ", ".join(policy.space)
            raise ConfigError(
                f"policies.{name}.space: {words} change which architectures there are; only sizes may differ"
            )
        data = self.data_of_evaluations(DATA[plugin.data]) if policy.data is None else policy.data
        if data is None and plugin.data != "none":
            raise ConfigError(
                f"policies.{name}.data: must be given, for no evaluation has {plugin.data} that the search could use"
            )
        answers = list(self.evaluations.items())[:1] if plugin.asks else []
        arguments = {
            "space": space,
            "limits": self.limits,
            "evaluations": {key: one.model_copy(update={"found": None, "random": None}) for key, one in answers},
            "baselines": (),
            "data": data,
            "training": policy.training,
            "search": policy.search,
            "seeds": self.seeds,
            "found": self.per_search,
            "random": 0,
            **({} if policy.objective is None else {"objective": policy.objective}),
        }
        return settings_of(policy.strategy, arguments, f"policies.{name}.")
