"""Settings of a sample study: objectives, each with its own training, and how the results are compared.

UnNAS (Liu et al., ECCV 2020). The defaults are the official configurations for CIFAR-10. Free of torch.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.settings import Settings
from nni_plugins.evaluators.training.settings import StandAloneSettings
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.errors import NNIPluginsError, closest
from nni_plugins.spaces.registry import build_space

from ...experiment.base import ExperimentSettings
from ...experiment.truth import TruthSettings
from ..checks import image_space, known_objective, repeated

TABLE = "table"
"""How a figure calls the metric of ``truth``."""


class SampleTraining(StandAloneSettings):
    """Training of one architecture on one objective: SGD, cosine by epoch, no warm-up (UnNAS' official configurations)."""

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(
        128, ge=2, description="images, of which rotation makes four inputs each and the jigsaw grid * grid"
    )
    learning_rate: float = Field(0.1, gt=0)
    devices: Literal[1] = Field(1, description="an architecture is trained on one device; trials run side by side")
    precise_batch_norm: int = Field(
        1024,
        ge=0,
        description="before each measurement batch norms' statistics are computed anew from so many images; 0: never",
    )


class SampleObjective(Settings):
    """One training of every architecture: on which images, on what, how, and in which size of network."""

    objective: dict[str, Any] = Field(
        default={},
        description="name of a registered objective, and its arguments; default: the name under which it stands",
    )
    data: DataSettings | None = Field(
        None, description="its own images, or other crops of the same ones; default: the study's"
    )
    network: dict[str, Any] = Field(
        default={},
        description="arguments of the space that differ in its networks, such as channels: 32, stem: imagenet",
    )
    training: SampleTraining = SampleTraining.model_validate({})
    limit: int | None = Field(
        None, ge=2, description="train on at most this many of the training images, the first of a seeded order"
    )
    test_limit: int | None = Field(
        None, ge=1, description="measure on at most this many of the held-out images, the first of a seeded order"
    )


class SampleLimits(Settings):
    """Bounds of what is drawn, in parameters of the study's space. UnNAS' sample of the DARTS space has 0.685 to 0.906 M."""

    min_parameters: int | None = Field(None, ge=1)
    max_parameters: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if (
            self.min_parameters is not None
            and self.max_parameters is not None
            and self.min_parameters > self.max_parameters
        ):
            raise ValueError(
                f"min_parameters <= max_parameters must hold, but got {self.min_parameters:,} and "
                f"{self.max_parameters:,}"
            )
        return self


class AnalysisSettings(Settings):
    """How the accuracies are compared; see :mod:`nni_plugins.evaluators.reports.sample_study.measurements`."""

    resamples: int = Field(1000, ge=1000, description="bootstrap samples of the architectures, for 95 % intervals")
    seed: int = Field(0, ge=0, description="of the bootstrap and of the random experiments")


class FigureSettings(Settings):
    """One figure: what is compared with what. Its architectures are those that have all of its accuracies."""

    truth: str = Field(description="one of objectives, or table: the metric of truth")
    scores: tuple[str, ...] = Field(min_length=1, description="objectives that rank")


LEAST = 3
"""Architectures that a correlation needs."""


def _small(name: str, **arguments: Any) -> SampleObjective:
    return SampleObjective(
        objective={"name": name, **arguments}, training=SampleTraining(batch_size=32, learning_rate=0.025)
    )


class SampleStudySettings(ExperimentSettings):
    """Every architecture is trained on each of ``objectives``, once for each of ``seeds``."""

    optimize_mode: Literal["maximize"] | None = Field(None, description="the portal reads it from the file")
    space: dict[str, Any] = Field(
        default={"name": "nasbench201"}, description="name of a registered space, and its arguments"
    )
    data: DataSettings = DataSettings.model_validate({})
    objectives: dict[str, SampleObjective] = Field(
        default={
            "supervised": SampleObjective(objective={"name": "supervised"}),
            "rotation": _small("rotation"),
            "colorization": SampleObjective(objective={"name": "colorization"}),
            "jigsaw": _small("jigsaw", grid=2),
        },
        description="what every architecture is trained on, by the names that tables and figures show",
    )
    reference: str = Field("supervised", description="the one of objectives that the others are compared with")
    figures: dict[str, FigureSettings] = Field(
        default={},
        description="what is compared, by names; default: all others with reference, and all with the table of truth",
    )
    architectures: str | None = Field(
        None, description="a file of architectures, one a line or a JSON list, instead of a draw"
    )
    random: int = Field(500, ge=LEAST, description="how many architectures are drawn; a correlation needs three")
    random_seed: int = Field(0, ge=0)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (0,), min_length=1, description="one training for each; their accuracies are averaged"
    )
    limits: SampleLimits = SampleLimits.model_validate({})
    measure: Literal["last", "best"] = Field(
        "last", description="the accuracy after the last epoch, or the best of all epochs (the paper)"
    )
    truth: TruthSettings | None = Field(None, description="a table that is compared with, too")
    analysis: AnalysisSettings = AnalysisSettings.model_validate({})

    @field_validator("space")
    @classmethod
    def _space(cls, value: dict[str, Any]) -> dict[str, Any]:
        return image_space(value)

    @field_validator("objectives")
    @classmethod
    def _objectives(cls, value: dict[str, SampleObjective]) -> dict[str, SampleObjective]:
        if len(value) < 2:
            raise ValueError(
                f"at least two must be given, one of them the reference, but got {', '.join(value) or 'none'}"
            )
        complete = {}
        for name, one in value.items():
            if not re.fullmatch(r"\w+", name):
                raise ValueError(
                    f"{name!r} must consist of letters, digits and underscores: trials and columns are named after it"
                )
            described = {"name": name, **one.objective}
            known_objective(described, predictable=True)
            complete[name] = one.model_copy(update={"objective": described})
        return complete

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.reference not in self.objectives:
            raise ValueError(
                f"reference: {self.reference!r} is none of objectives; {closest(self.reference, self.objectives)}"
            )
        problems = [*repeated(self, "seeds"), *self._wrong_figures()]
        drawn = [key for key in ("random", "random_seed", "limits") if key in self.model_fields_set]
        if self.architectures is not None and drawn:
            problems.append(f"architectures: a file takes the place of a draw; leave out {', '.join(drawn)}")
        for name, one in self.objectives.items():
            limit = self.data_of(name).limit
            if limit is not None and one.limit is not None and one.limit > limit:
                problems.append(f"objectives.{name}.limit <= data.limit = {limit} must hold, but got {one.limit}")
            try:
                changed = self.space_of(name)
            except NNIPluginsError as error:
                problems.append(f"objectives.{name}.network: {error.problem}")
                continue
            if changed.decisions != self.search_space.decisions:
                words = ", ".join(one.network)
                problems.append(
                    f"objectives.{name}.network: {words} change which architectures there are; only sizes may differ"
                )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _wrong_figures(self) -> list[str]:
        problems = []
        for name, figure in self.figures.items():
            if not re.fullmatch(r"\w+", name):
                problems.append(f"figures.{name}: must consist of letters, digits and underscores")
            unknown = [one for one in figure.scores if one not in self.objectives]
            if figure.truth not in self.objectives and (figure.truth != TABLE or self.truth is None):
                unknown.append(figure.truth)
            problems += [f"figures.{name}: no objective {one!r}; {closest(one, self.objectives)}" for one in unknown]
            if figure.truth in figure.scores or len(set(figure.scores)) < len(figure.scores):
                problems.append(f"figures.{name}: scores must differ from one another and from truth")
        return problems

    def data_of(self, name: str) -> DataSettings:
        """The images of an objective."""
        return self.objectives[name].data or self.data

    def space_of(self, name: str) -> SearchSpace:
        """The space whose networks an objective trains: the same decisions, perhaps another size."""
        return build_space({**self.space, **self.objectives[name].network})

    @property
    def search_space(self) -> SearchSpace:
        """The space that is drawn from, built."""
        return build_space(self.space)
