"""Settings of diagnoses: ``study`` says which of the four it is. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.diagnostics.settings import NetworkSettings, Trainable
from nni_plugins.evaluators.training.settings import BilevelSettings, StandAloneSettings, TrainingSettings
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.errors import NNIPluginsError, shown
from nni_plugins.spaces.registry import build_space
from nni_plugins.strategies.differentiable.settings import DifferentiableSettings, check_space

from ...experiment.base import ExperimentSettings
from ...experiment.names import one_line
from ...experiment.truth import TruthSettings
from ..checks import known_objective, repeated

BOTH: tuple[Trainable, ...] = ("all", "norms")


class DiagnosisSettings(ExperimentSettings):
    """What every study has. ``training``: the papers name no settings for these networks; the defaults are
    NAS-Bench-201's 200-epoch recipe.
    """

    optimize_mode: Literal["maximize"] | None = Field(None, description="the portal reads it from the file")
    study: str = Field(description="lambda, eta, depth or options")
    data: DataSettings = DataSettings.model_validate({})
    objective: dict[str, Any] = Field(
        default={"name": "supervised"}, description="name of a registered objective, and its arguments"
    )
    training: TrainingSettings = StandAloneSettings.model_validate({})

    @field_validator("objective")
    @classmethod
    def _objective(cls, value: dict[str, Any]) -> dict[str, Any]:
        known_objective(value, predictable=False)
        return value

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.training.devices != 1:
            raise ValueError(f"training.devices: a diagnosis trains on one device, but got {self.training.devices}")
        keys = [key for key in ("trainable", "initial", "seeds", "options") if key in type(self).model_fields]
        if problems := repeated(self, *keys):
            raise ValueError("; ".join(problems))
        return self


class CurveDiagnosis(DiagnosisSettings):
    """Of one network."""

    network: NetworkSettings = NetworkSettings.model_validate({})
    trainable: tuple[Trainable, ...] = Field(
        BOTH, min_length=1, description="all: everything learns; norms: batch norms and the classifier"
    )
    training: StandAloneSettings = StandAloneSettings.model_validate({})
    seed: int = Field(0, ge=0)


class LambdaDiagnosis(CurveDiagnosis):
    """RF-DARTS, figure 3."""

    study: Literal["lambda"]
    initial: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        (0.0, 0.5, 1.0), min_length=1, description="one training for each start"
    )
    skips: Literal["block", "network"] = Field(
        "block", description="one lambda for each block, or one for the whole network"
    )


class EtaDiagnosis(CurveDiagnosis):
    """RF-DARTS, figure 4."""

    study: Literal["eta"]


class DepthDiagnosis(DiagnosisSettings):
    """RF-DARTS, figure 2."""

    study: Literal["depth"]
    networks: dict[str, NetworkSettings] = Field(
        default={
            "18 layers": NetworkSettings.model_validate({"block": "basic", "blocks": (2, 2, 2, 2)}),
            "50 layers": NetworkSettings.model_validate({}),
        },
        min_length=1,
        description="by the names that the picture shows",
    )
    skips: Literal["none", "identity"] = Field(
        "none", description="none: plain networks; identity: with ordinary skip connections"
    )
    trainable: tuple[Trainable, ...] = Field(BOTH, min_length=1)
    training: StandAloneSettings = StandAloneSettings.model_validate({})
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0,), min_length=1)

    @field_validator("networks")
    @classmethod
    def _names(cls, value: dict[str, NetworkSettings]) -> dict[str, NetworkSettings]:
        """Each training's folder is called after its network, with underscores for blanks."""
        folders = [name.replace(" ", "_") for name in value]
        wrong = [
            name
            for name in value
            if not 1 <= len(name) <= 60 or name.startswith(".") or not name.isprintable() or set(name) & set("/\\")
        ]
        if wrong:
            raise ValueError(
                f"a name is up to 60 characters without slashes, the first of them no dot, but one is {shown(wrong[0])}"
            )
        if len(set(folders)) != len(folders):
            raise ValueError(f"names must differ in more than blanks and underscores, but got {list(value)}")
        return value


class SearchOfOptions(DifferentiableSettings):
    """A search whose option stands above, for there are several."""

    option: Literal["A", "B", "C", "D"] = Field("A", exclude=True)


class OptionsDiagnosis(DiagnosisSettings):
    """RF-DARTS, figure 1."""

    study: Literal["options"]
    space: dict[str, Any] = Field(
        default={"name": "nasbench201"}, description="name of a registered space, and its arguments"
    )
    search: SearchOfOptions = SearchOfOptions.model_validate({})
    training: BilevelSettings = BilevelSettings.model_validate({})
    options: tuple[Literal["A", "B", "C", "D"], ...] = Field(("A", "B", "C", "D"), min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0, 1, 2), min_length=1)
    truth: TruthSettings | None = Field(None, description="a table in which the accuracy of what is found is looked up")
    stand_alone: StandAloneSettings | None = Field(None, description="or how it is trained from scratch")
    stand_alone_seed: int = Field(0, ge=0)

    @property
    def search_space(self) -> SearchSpace:
        """The space, built."""
        return build_space(self.space)

    @model_validator(mode="before")
    @classmethod
    def _options_above(cls, values: Any) -> Any:
        search = values.get("search") if isinstance(values, Mapping) else None
        if isinstance(search, Mapping) and "option" in search:
            raise ValueError(
                "search.option: there is a search for each of `options`, which stands beside it; leave it out"
            )
        return values

    @model_validator(mode="after")
    def _judged(self) -> Self:
        try:
            check_space(self.search_space, self.search)
        except NNIPluginsError as error:
            raise ValueError(one_line(error)) from None
        if (self.truth is None) == (self.stand_alone is None):
            given = "neither" if self.truth is None else "both"
            raise ValueError(
                f"either truth or stand_alone must say how accurate the found architectures are, but got {given}"
            )
        return self
