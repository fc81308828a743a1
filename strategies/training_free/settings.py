"""Settings of the training-free scores, and of the searches that rank by them. Free of torch. The defaults are the
papers'; a smaller example says so in its own file.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

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
