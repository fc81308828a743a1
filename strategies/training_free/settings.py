"""Settings of the training-free scores, and of the searches that rank by them. Free of torch. The defaults are the
papers'; a smaller example says so in its own file.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from nni_plugins.evaluators.settings import Settings

from ..evolution import EvolutionSettings

Count = Annotated[int, Field(ge=1)]


# -- scores ------------------------------------------------------------------------------------------------------------
class NetworkSettings(Settings):
    """What every score of a network has."""

    repeats: int = Field(1, ge=1, description="draws of initial weights, over which scores are averaged")
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"


class NASWOTSettings(NetworkSettings):
    """Binary codes of rectified linear units (Mellor et al., ICML 2021: 128 images)."""

    batch_size: int = Field(128, ge=2, description="images, no two alike")


class SynFlowSettings(NetworkSettings):
    """Synaptic flow, which sees no images."""


class JacobianSettings(NetworkSettings):
    """Correlations of gradients (Mellor et al., 2020; Abdelfattah et al., ICLR 2021: 64 images)."""

    batch_size: int = Field(64, ge=2, description="images, no two alike")


class ZenSettings(NetworkSettings):
    """Zen-score (Lin et al., ICCV 2021), which sees no images but noise of their shape."""

    batch_size: int = Field(64, ge=2, description="noise images")
    alpha: float = Field(0.01, gt=0, description="how far they are moved")
    variant: Literal["paper", "official"] = Field(
        "paper", description="official: the sums of absolute differences and running variances of the released code"
    )


class ZiCoSettings(NetworkSettings):
    """Gradients' inverse coefficient of variation (Li et al., ICLR 2023: two batches of 128)."""

    batch_size: int = Field(128, ge=2, description="images of each batch, no two alike")
    batches: int = Field(2, ge=2, description="whose gradients are compared")
    variant: Literal["paper", "official"] = Field(
        "paper", description="deviations of absolute gradients; official: of signed ones, as in the released code"
    )


class AZSettings(NetworkSettings):
    """AZ-NAS (Lee & Ham, CVPR 2024: 64 noise images)."""

    batch_size: int = Field(64, ge=2, description="inputs")
    inputs: Literal["noise", "images"] = Field("noise", description="Gaussian noise of the images' shape, or images")


# -- searches ----------------------------------------------------------------------------------------------------------
class CostSearch(Settings):
    """A search by a cost, which takes no network: the whole space, or an evolution that ends with its largest network."""

    evolution: EvolutionSettings | None = Field(
        None, description="null: exhaustive where the space has at most 10 million architectures"
    )


class CandidateSettings(Settings):
    """Which architectures a search builds and scores."""

    candidates: Count | Literal["all"] = Field(
        1000, description="how many distinct architectures are drawn; fewer where the space has no more"
    )
    evolution: EvolutionSettings | None = Field(None, description="in place of candidates: an evolution by the score")


class NASWOTSearch(CandidateSettings, NASWOTSettings):
    """A search by NASWOT."""


class SynFlowSearch(CandidateSettings, SynFlowSettings):
    """A search by SynFlow."""


class JacobianSearch(CandidateSettings, JacobianSettings):
    """A search by the Jacobian's correlations."""


class ZenSearch(CandidateSettings, ZenSettings):
    """A search by Zen-score."""


class ZiCoSearch(CandidateSettings, ZiCoSettings):
    """A search by ZiCo."""


class AZSearch(CandidateSettings, AZSettings):
    """A search by AZ-NAS' four scores together."""


class Component(Settings):
    """One of several scores that are ranked together."""

    score: str = Field(
        description="a training-free score; angle or one_shot, for which a supernet is trained; or another strategy that "
        "scores any architecture, in lower case"
    )
    settings: dict[str, Any] = Field({}, description="of the score, or of the strategy's search")
    training: dict[str, Any] = Field({}, description="of the strategy's supernet")
    objective: dict[str, Any] | None = Field(None, description="in place of the experiment's")

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"score": value} if isinstance(value, str) else value


class CombineSearch(CandidateSettings):
    """A search by several scores together."""

    scores: tuple[Component, ...] = Field(
        (Component(score="naswot"), Component(score="synflow"), Component(score="macs")),
        min_length=2,
        description="names, or mappings with score, settings, training and objective",
    )
    rule: Literal["log_rank", "mean_rank"] = Field(
        "log_rank", description="AZ-NAS' sum of the logarithms of ranks, or their mean"
    )

    @field_validator("scores")
    @classmethod
    def _once(cls, value: tuple[Component, ...]) -> tuple[Component, ...]:
        names = [one.score for one in value]
        if len(set(names)) < len(names):
            raise ValueError(f"each score may stand there once, but got {names}")
        return value
