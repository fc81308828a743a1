"""What every experiment's configuration has, and those of searches. Free of torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, cast

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import Settings
from nni_plugins.evaluators.training.settings import StandAloneSettings
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.errors import NNIPluginsError, closest

from .. import registry
from .follow_up_settings import FollowUpSettings, check_names
from .scores import ANGLE, Score


class TruthSettings(Settings):
    """A table of known accuracies, used to judge what a search found and never by the search: ``digits``, or a CSV or
    NPZ file.
    """

    table: str = "digits"
    metric: str = "accuracy"


class StudySettings(Settings):
    """What every experiment has: a space, images, stand-alone training, and random architectures to compare with."""

    strategy: ClassVar[str] = ""
    score: ClassVar[Score] = ANGLE
    may_change: ClassVar[frozenset[str]] = frozenset()
    """Settings that a run in this process may change when it is resumed: its trainings do not depend on them."""

    optimize_mode: Literal["maximize"] = Field(
        "maximize", description="the portal reads it from the YAML; accuracies and scores are maximised"
    )
    space: dict[str, Any] = Field(
        default={"name": "nasbench201"}, description="name of a registered space, and its arguments"
    )
    data: DataSettings = DataSettings.model_validate({})
    stand_alone: StandAloneSettings | None = StandAloneSettings.model_validate({})
    stand_alone_seed: int = Field(0, ge=0)
    stand_alone_objective: dict[str, Any] | None = Field(
        None,
        description="what is trained stand-alone, by name and arguments; default: segmentation where the images are for it, else supervised",
    )
    random: int = Field(5, ge=0, description="how many random architectures are trained stand-alone")
    random_seed: int = Field(0, ge=0)
    truth: TruthSettings | None = None
    retries: int = Field(2, ge=0, description="how often a trial that crashed is tried again")
    threads: int | None = Field(None, ge=1, le=1024, description="CPU threads of each trial; default: torch's")
    run_folder: str | None = Field(
        None, description="where checkpoints and results go; default: the NNI experiment's folder"
    )

    @field_validator("space")
    @classmethod
    def _space(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            built = build_space(value)
        except NNIPluginsError as error:
            raise ValueError(str(error).replace("\n", " ")) from None
        if not built.takes_images:
            raise ValueError(
                f"networks of {built.name} take no images, and experiments train on images; use this space from Python"
            )
        return value

    @field_validator("stand_alone_objective")
    @classmethod
    def _stand_alone_objective(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if value is None else registered(value)

    @property
    def target(self) -> dict[str, Any]:
        """The objective of stand-alone trainings."""
        if self.stand_alone_objective is not None:
            return self.stand_alone_objective
        searched: dict[str, Any] = getattr(self, "objective", {})
        if searched.get("name") == "segmentation":
            return searched
        return {"name": "segmentation" if self.data.source == "segmentation" else "supervised"}

    @property
    def metric(self) -> str:
        """What says how good a stand-alone network is: ``accuracy``, or for segmentation ``miou``; both in percent,
        larger is better.
        """
        return "miou" if self.target["name"] == "segmentation" else "accuracy"

    @property
    def search_space(self) -> SearchSpace:
        """The space, built."""
        return build_space(self.space)


class SearchExperiment(StudySettings):
    """An experiment with searches: one a seed, then its best architectures beside random ones.

    ``stand_alone: null`` leaves it at the searches, for images without labels: what they find is listed with its score,
    and not trained.
    """

    objective: dict[str, Any] = Field(description="name of a registered objective, and its arguments")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="one search for each")
    found: int = Field(
        5, ge=1, le=10_000, description="how many architectures of each search are listed, and trained stand-alone"
    )
    follow_ups: dict[str, FollowUpSettings] = Field(
        default_factory=dict,
        description="trainings of the best found and of random architectures, by names of yours such as detection",
    )

    @model_validator(mode="before")
    @classmethod
    def _nothing_to_compare_with(cls, values: Any) -> Any:
        """Without stand-alone training, ``random`` is 0 unless it is given."""
        without = isinstance(values, Mapping) and "stand_alone" in values and values["stand_alone"] is None
        return {"random": 0, **values} if without else values

    @model_validator(mode="after")
    def _no_random(self) -> Self:
        if self.stand_alone is None and self.random:
            raise ValueError(
                f"random: {self.random} architectures cannot be trained with stand_alone: null; leave random out, or set it to 0"
            )
        return self

    @model_validator(mode="after")
    def _follow_ups(self) -> Self:
        check_names(self.follow_ups, self.found, self.random)
        return self

    @field_validator("objective")
    @classmethod
    def _objective(cls, value: dict[str, Any]) -> dict[str, Any]:
        return registered(value)

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value) or min(value) < 0:
            raise ValueError("seeds must be distinct and not negative")
        return value

    def curve_point(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What the portal gets of an epoch of a search: ``default``, and every other number."""
        return {"default": row["loss"], **row}


def registered(value: dict[str, Any]) -> dict[str, Any]:
    """``value``, whose name must be that of an objective."""
    name, known = value.get("name"), registry.found("objectives")
    if name not in known:
        raise ValueError(f"unknown objective {name!r}; {closest(str(name), known)}")
    return value


def checked(check: Callable[..., None], *arguments: Any) -> None:
    """``check``, whose errors pydantic is to collect."""
    try:
        check(*arguments)
    except ConfigError as error:
        raise ValueError(str(error).replace("\n", " ")) from None


def predictable(experiment: SearchExperiment) -> None:
    if experiment.objective.get("name") == "random_labels":
        raise ValueError(
            f"random labels of held-out images cannot be predicted, and {experiment.strategy} ranks by accuracy on them; choose supervised, or "
            "a pretext task such as rotation"
        )


def build_space(value: Mapping[str, Any]) -> SearchSpace:
    """``{"name": ..., **arguments}`` -> the space; ``classes`` is not asked for, it follows from data or objective."""
    arguments = dict(value)
    factory = registry.get("spaces", str(arguments.pop("name", "(no name)")))
    known = [name for name in inspect.signature(factory).parameters if name != "classes"]
    unknown = [f"{key}: no such argument of the space; {closest(key, known)}" for key in arguments if key not in known]
    if unknown:
        raise ConfigError("; ".join(unknown))
    return cast(SearchSpace, factory(**arguments))
