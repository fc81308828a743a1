"""The policies of a comparison. Free of torch.

Each is a way from (seed) to ``per_search`` architectures, best first. The random policy is not among them: it is always
there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import Settings, read
from nni_plugins.spaces.errors import closest

from ... import registry


class ExperimentPolicy(Settings):
    """A search as ``nni-plugins search`` runs it, such as RLNAS, DARTS or RandomNAS; the keys are those of its
    experiment files.
    """

    searches: ClassVar[bool] = True
    kind: Literal["experiment"]
    strategy: str = Field(description="name of the tuner that runs it under nnictl")
    objective: dict[str, Any] | None = Field(None, description="default: the strategy's own")
    training: dict[str, Any] = {}
    search: dict[str, Any] = {}
    data: DataSettings | None = Field(None, description="default: the training images of the evaluation")


class QueriesPolicy(Settings):
    """A method that asks for the values of architectures, one by one, and ends with the best one by the validation
    metric.
    """

    searches: ClassVar[bool] = True
    kind: Literal["queries"]
    method: Literal["Random", "TPE", "RegularizedEvolution", "NAO"]
    queries: int = Field(ge=1)
    arguments: dict[str, Any] = {}

    KNOWN: ClassVar[dict[str, tuple[str, ...]]] = {
        "Random": (),
        "TPE": (
            "constant_liar_type",
            "n_startup_jobs",
            "n_ei_candidates",
            "linear_forgetting",
            "prior_weight",
            "gamma",
        ),
        "RegularizedEvolution": ("population_size", "sample_size", "mutation_prob", "crossover"),
        "NAO": ("initial", "controller", "proposals"),
    }

    @model_validator(mode="after")
    def _arguments(self) -> Self:
        known = self.KNOWN[self.method]
        unknown = [
            f"arguments.{key}: no such argument of {self.method}; {closest(key, known or ['(none)'])}"
            for key in self.arguments
            if key not in known
        ]
        if unknown:
            raise ValueError("; ".join(unknown))
        if self.method == "NAO":
            from ...portal.nao_tuner import NAOTunerSettings

            try:
                read(NAOTunerSettings, self.arguments, "arguments.")
            except ConfigError as error:
                raise ValueError(error.problem) from None
        if self.method == "RegularizedEvolution":
            population, sample = (
                int(self.arguments.get("population_size", 100)),
                int(self.arguments.get("sample_size", 25)),
            )
            if not 1 <= sample <= population:
                raise ValueError(f"1 <= sample_size <= population_size must hold, but got {sample} and {population}")
        return self


class EvaluatorSettings(Settings):
    """A registered evaluator and its arguments; those of its arguments that are missing are taken from the comparison
    where it has them.
    """

    name: str
    arguments: dict[str, Any] = {}

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        return _registered("evaluators", value)


class StrategyPolicy(Settings):
    """A strategy that is registered under ``nni_plugins.strategies``, ours or another package's, run by
    ``NasExperiment`` in this process.
    """

    searches: ClassVar[bool] = True
    kind: Literal["strategy"]
    name: str
    arguments: dict[str, Any] = {}
    evaluator: EvaluatorSettings
    max_trials: int | None = Field(
        None, ge=1, description="for strategies that submit models one by one: NasExperiment's max_trial_number"
    )

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        return _registered("strategies", value)


class RecurrentPolicy(Settings):
    """A search of recurrent cells on the text of the evaluation; ``settings`` are those of the method
    (docs/compare.md).
    """

    searches: ClassVar[bool] = True
    kind: Literal["recurrent"]
    method: str
    settings: dict[str, Any] = {}


class PrecomputedPolicy(Settings):
    """Architectures that were found elsewhere, for each seed of the comparison."""

    searches: ClassVar[bool] = False
    kind: Literal["precomputed"]
    file: str = Field(description="result.json of a search, or a JSON file with {seed: [architectures, best first]}")


Policy = ExperimentPolicy | QueriesPolicy | StrategyPolicy | RecurrentPolicy | PrecomputedPolicy
KINDS: dict[str, type[Policy]] = {
    "experiment": ExperimentPolicy,
    "queries": QueriesPolicy,
    "strategy": StrategyPolicy,
    "recurrent": RecurrentPolicy,
    "precomputed": PrecomputedPolicy,
}


def _registered(kind: str, name: str) -> str:
    known = registry.found(kind)
    if name not in known:
        raise ValueError(f"unknown name {name!r}; {closest(name, known)}")
    return name


def read_policy(value: Any, where: str) -> Policy:
    """One entry of ``policies``.

    Raises:
        ConfigError: every problem of it.
    """
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if kind not in KINDS:
        raise ConfigError(f"{where}kind: must be one of {', '.join(KINDS)}, but got {kind!r}")
    return read(KINDS[kind], value, where)
