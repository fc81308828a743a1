"""Settings of a ranking study. The defaults are NAO-V2's (section 3). Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.reports.rank_study.rows import Condition, Schedule, Sizes
from nni_plugins.evaluators.settings import Settings
from nni_plugins.evaluators.training.settings import StandAloneSettings
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.errors import NNIPluginsError
from nni_plugins.spaces.registry import build_space
from nni_plugins.strategies.naov2.settings import EvaluationSettings, NAOV2Training

from ...experiment.base import ExperimentSettings
from ...experiment.names import one_line
from ...experiment.truth import TruthSettings
from ..checks import image_space, known_objective, repeated

Count = Annotated[int, Field(ge=1)]


class SupernetOfStudy(NAOV2Training):
    """NAO-V2's supernet."""

    epochs: int = Field(1, exclude=True, description="stands above, for there are several")
    devices: Literal[1] = Field(1, description="a supernet is trained on one device")


class EvaluationOfStudy(EvaluationSettings):
    """All architectures of all supernets are evaluated on the same held-out part of the training images, the paper's 10
    %.
    """

    evaluation_images: int | None = Field(
        None, ge=2, description="how many held-out images, a draw by the supernet's seed; null: all of them"
    )


class StandAloneTruth(Settings):
    """``training``: of each architecture from scratch, once for each of ``seeds``; accuracies are averaged."""

    training: StandAloneSettings = StandAloneSettings.model_validate({})
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0,), min_length=1)
    space: dict[str, Any] = Field(
        default={}, description="arguments of the space that differ from the supernet's, such as channels: 36"
    )


class AnalysisOfStudy(Settings):
    """How scores and truth are compared; see :mod:`nni_plugins.evaluators.statistics.ranking_metrics`."""

    resamples: int = Field(1000, ge=100, description="bootstrap samples and permutations")
    seed: int = Field(0, ge=0)
    bin: float = Field(0.1, gt=0, description="of true accuracies, in points, for the sparse tau")
    top: tuple[Count, ...] = Field(
        (3, 5, 10, 20), description="how many of the best are looked at; those below architectures are used"
    )


class RankStudySettings(ExperimentSettings):
    """A ranking study: one truth for each architecture; a supernet for each of sizes, epochs, schedules and seeds."""

    optimize_mode: Literal["maximize"] | None = Field(None, description="the portal reads it from the file")
    space: dict[str, Any] = Field(default={"name": "nao"}, description="name of a registered space, and its arguments")
    data: DataSettings = DataSettings.model_validate({})
    objective: dict[str, Any] = Field(
        default={"name": "supervised"}, description="what supernets are trained and evaluated on"
    )
    architectures: int = Field(50, ge=3, description="how many, for each of sizes")
    sizes: tuple[Sizes, ...] = Field(
        ("random",),
        min_length=1,
        description="random draw; similar: nearest to the median parameter count; diverse: even over its quantiles",
    )
    pool: int | None = Field(
        None,
        ge=3,
        description="distinct random architectures that similar and diverse choose from; default: 20 * architectures",
    )
    random_seed: int = Field(0, ge=0)
    epochs: tuple[Count, ...] = Field((5, 10, 20, 30, 50), min_length=1, description="one supernet for each")
    schedules: tuple[Schedule, ...] = Field(
        ("independent",),
        min_length=1,
        description="the cosine takes as long as the training; dependent: three times as long",
    )
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0,), min_length=1, description="one supernet for each")
    sampling: Literal["uniform", "proportional"] = Field(
        "uniform", description="proportional: with probabilities like parameter counts"
    )
    training: SupernetOfStudy = SupernetOfStudy.model_validate({})
    evaluation: EvaluationOfStudy = EvaluationOfStudy.model_validate({})
    truth: TruthSettings | None = Field(None, description="a table of true accuracies")
    stand_alone: StandAloneTruth | None = Field(None, description="or how architectures are trained from scratch")
    analysis: AnalysisOfStudy = AnalysisOfStudy.model_validate({})

    @field_validator("space")
    @classmethod
    def _space(cls, value: dict[str, Any]) -> dict[str, Any]:
        return image_space(value)

    @field_validator("objective")
    @classmethod
    def _objective(cls, value: dict[str, Any]) -> dict[str, Any]:
        known_objective(value, predictable=True)
        return value

    @model_validator(mode="before")
    @classmethod
    def _epochs_above(cls, values: Any) -> Any:
        training = values.get("training") if isinstance(values, Mapping) else None
        if isinstance(training, Mapping) and "epochs" in training:
            raise ValueError(
                "training.epochs: supernets are trained for each of `epochs`, which stands beside training; leave "
                "it out"
            )
        return values

    @model_validator(mode="after")
    def _possible(self) -> Self:
        problems = repeated(self, "sizes", "epochs", "schedules", "seeds")
        if (self.truth is None) == (self.stand_alone is None):
            given = "neither" if self.truth is None else "both"
            problems.append(
                f"either truth or stand_alone must say how accurate architectures truly are, but got {given}"
            )
        if self.pool is not None and self.pool < self.architectures:
            problems.append(f"pool >= architectures must hold, but got {self.pool} and {self.architectures}")
        if self.stand_alone is not None:
            problems += self._truth_problems(self.stand_alone)
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _truth_problems(self, stand_alone: StandAloneTruth) -> list[str]:
        if len(set(stand_alone.seeds)) != len(stand_alone.seeds):
            return [f"stand_alone.seeds: each may stand there once, but got {list(stand_alone.seeds)}"]
        try:
            other = build_space({**self.space, **stand_alone.space})
        except NNIPluginsError as error:
            return [f"stand_alone.space: {one_line(error)}"]
        space = self.search_space
        if (other.name, other.decisions) != (space.name, space.decisions):
            return [f"stand_alone.space: its architectures must be those of space, but got {other!r} for {space!r}"]
        return []

    @property
    def search_space(self) -> SearchSpace:
        """The supernets' space, built."""
        return build_space(self.space)

    @property
    def target(self) -> dict[str, Any]:
        """The objective of stand-alone trainings."""
        if self.objective.get("name") == "segmentation":
            return self.objective
        return {"name": "segmentation" if self.data.source == "segmentation" else "supervised"}

    @property
    def conditions(self) -> list[Condition]:
        """All supernets, in the order of their training."""
        return [
            Condition(s, e, c, seed)
            for s in self.sizes
            for c in self.schedules
            for e in self.epochs
            for seed in self.seeds
        ]
