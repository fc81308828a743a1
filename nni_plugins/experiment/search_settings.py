"""What an experiment of one strategy consists of. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.objectives.registered import check_objective_name
from nni_plugins.spaces.errors import NNIPluginsError
from nni_plugins.strategies.base import Setup, StrategyPlugin

from .evaluations import EvaluatedSettings, Evaluations
from .names import one_line
from .truth import ListedTruthSettings


class SearchSettings(EvaluatedSettings):
    """An experiment with searches: one a seed, then its best architectures beside random ones and baselines.

    ``evaluations: {}`` leaves it at the searches, for images without labels: what they find is listed with its score.
    """

    strategy: ClassVar[StrategyPlugin]

    data: Any = None
    objective: dict[str, Any] | None = Field(None, description="name of a registered objective, and its arguments")
    training: Any = None
    search: Any = None
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="one search for each")
    found: int = Field(5, ge=1, le=10_000, description="how many architectures of each search are listed")
    random: int = Field(5, ge=0, description="how many random architectures stand beside them")
    random_seed: int = Field(0, ge=0)
    search_limit: int | None = Field(
        None,
        ge=2,
        description="a search uses at most this many of the training images, a draw seeded by data.limit_seed; evaluations "
        "use all of them",
    )
    truth: ListedTruthSettings | None = None

    @model_validator(mode="before")
    @classmethod
    def _nothing_to_compare_with(cls, values: Any) -> Any:
        """Without evaluations, ``random`` is 0 unless it is given."""
        without = isinstance(values, Mapping) and "evaluations" in values and not values["evaluations"]
        return {"random": 0, **values} if without and cls.strategy.searches else values

    @field_validator("objective")
    @classmethod
    def _objective(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and cls.strategy.objective is None:
            raise ValueError(f"leave it out, for {cls.strategy.name} has no objective")
        if value is not None:
            try:
                check_objective_name(value)
            except NNIPluginsError as error:
                raise ValueError(one_line(error)) from None
        return value

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value) or min(value) < 0:
            raise ValueError("seeds must be distinct and not negative")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems, space, strategy = [], self.search_space, self.strategy
        if not self.evaluations and self.random:
            problems.append(
                f"random: {self.random} architectures are evaluated by nothing; leave random out, or set it to 0"
            )
        if not self.evaluations and not strategy.searches:
            problems.append(f"evaluations: {strategy.name} has nothing to do without one")
        if strategy.data == "images" and strategy.searches and not space.takes_images:
            problems.append(f"space: networks of {space.name} take no images, and {strategy.name} searches on images")
        if strategy.data == "text" and space.takes_images:
            problems.append(f"space: networks of {space.name} take images, and {strategy.name} searches on text")
        if self.search_limit is not None and (strategy.data != "images" or not strategy.searches):
            problems.append(f"search_limit: {strategy.name} searches on no images")
        try:
            strategy.check(self.setup())
        except NNIPluginsError as error:
            problems.append(one_line(error))
        evaluations = Evaluations(self, self.data)
        problems += evaluations.problems(self.found, self.random)
        if strategy.asks and not self.evaluations:
            problems.append(f"evaluations: {strategy.name} asks for the values of architectures, and nothing answers")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def setup(self) -> Setup:
        """What the strategy is asked."""
        space, objective = self.search_space, self.objective
        return Setup(space, self.search, self.training, objective, self.limits, self.found, self.seeds)
