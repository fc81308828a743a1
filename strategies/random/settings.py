"""Settings of random search with shared weights, and of ranking candidates by them. Free of torch.

Li & Talwalkar, "Random search and reproducibility for neural architecture search", UAI 2019; hyper-parameters on
NAS-Bench-201 from AutoDL-Projects.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import Settings
from nni_plugins.evaluators.training.settings import SupernetSettings


class RandomNASTraining(SupernetSettings):
    """Random search with weight sharing on NAS-Bench-201: one uniform path for all cells of a step."""

    gradient_clip: float | None = Field(5.0, gt=0, description="largest norm of all gradients together")
    share_cells: bool = Field(True, description="one path for all cells of a step; false draws one for each cell")


class OneShotSettings(Settings):
    """How the candidates at the end of a search are evaluated with the shared weights, all on the same held-out images."""

    candidates: int = Field(
        100, ge=1, description="how many architectures, symmetric twins left out; fewer where the space has no more"
    )
    evaluation_images: int | None = Field(
        512, ge=2, description="how many held-out images, a seeded draw; null: all of them"
    )
    evaluation_batch: int = Field(512, ge=2, description="images in a batch, whose statistics batch norms use")
    statistics: Literal["batch", "running"] = Field("batch", description="of batch norms in the evaluation")


class RandomNASSettings(OneShotSettings):
    """Random search with weight sharing: which images train the weights, and the evaluation of random architectures on
    the others.
    """

    portion: float = Field(0.5, gt=0, lt=1, description="share of the images that train the weights")
    shuffle_split: bool = Field(
        True, description="draw the two parts by the seed; otherwise the first images train the weights"
    )


def check_candidates(candidates: int, wanted: int, key: str) -> None:
    """No more architectures can be found than are evaluated.

    Raises:
        ConfigError: ``key`` asks for more.
    """
    if wanted > candidates:
        raise ConfigError(
            f"{key} <= candidates must hold, but got {wanted} and {candidates}.", "Raise search.candidates."
        )
