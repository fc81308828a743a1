"""Settings of the strategies that ask. Free of torch. Defaults are NNI's own, and NAO's as its tuner has them."""

from __future__ import annotations

from pydantic import Field, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.settings import Settings

from ..nao.settings import TrialsSettings


class QueriesSettings(Settings):
    """What they have in common."""

    queries: int = Field(
        50, ge=1, description="how many architectures are asked for; fewer only where there are no more to suggest"
    )


class TPESearchSettings(QueriesSettings):
    """NNI's tree-structured Parzen estimator, whose arguments have the same names."""

    n_startup_jobs: int = Field(20, ge=1, description="random architectures before the first estimate")
    n_ei_candidates: int = Field(24, ge=1, description="draws of which the one with the best ratio is asked for")
    linear_forgetting: int = Field(25, ge=1, description="the weight of all but the latest so many answers is lowered")
    prior_weight: float = Field(1.0, gt=0, description="of the uniform distribution beside the answers")
    gamma: float = Field(0.25, gt=0, description="of N answers gamma times the root of N are good ones")


class EvolutionSearchSettings(QueriesSettings):
    """NNI's regularised evolution, whose arguments have the same names."""

    population_size: int = Field(100, ge=1, description="that many random ones first, then the latest so many")
    sample_size: int = Field(25, ge=1, description="of the population, whose best one is the parent")
    mutation_prob: float = Field(0.05, gt=0, le=1, description="of a decision to be drawn anew")
    crossover: bool = Field(False, description="two parents, of each of which a child has about half its decisions")

    @model_validator(mode="after")
    def _sample(self) -> Self:
        if self.sample_size > self.population_size:
            raise ValueError(
                f"sample_size <= population_size must hold, but got {self.sample_size} and {self.population_size}"
            )
        return self


class NAOSearchSettings(QueriesSettings, TrialsSettings):
    """NAO on trials."""
