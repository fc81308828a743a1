"""Settings of the searches that train sampled architectures, each with its own defaults. Free of torch.

Facts: Dong & Yang, GDAS, CVPR 2019, and SETN, ICCV 2019; Li & Talwalkar, "Random search and reproducibility for neural
architecture search", UAI 2019; hyper-parameters on NAS-Bench-201 from AutoDL-Projects, which is the first authors' own
code for all three.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.training.settings import BilevelSettings
from nni_plugins.spaces.mixed import GumbelOptions, SampledOptions

from ..random.settings import OneShotSettings
from .settings import DifferentiableSettings

_UPDATE = "all: decay and momentum move every weight at every weight step, as in the official code; active: only those of the operations that were run"


class SampledTraining(BilevelSettings):
    """GDAS' search on NAS-Bench-201: weights before the architecture, Nesterov momentum, images split at random."""

    epochs: int = Field(250, ge=1)
    nesterov: bool = True
    weight_decay: float = Field(5e-4, ge=0)
    first: Literal["architecture", "weights"] = Field("weights", description="which step comes first in an iteration")
    shuffle_split: bool = Field(
        True, description="draw the two halves by the seed; otherwise the first images train the weights, as in DARTS"
    )


class SETNTraining(SampledTraining):
    """SETN's: the same without gradient clipping."""

    gradient_clip: float | None = Field(None, gt=0, description="largest norm of the weights' gradients together")


class GDASSettings(DifferentiableSettings):
    """GDAS' supernet: a mixture of which each forward pass runs one operation an edge, drawn by Gumbel noise."""

    first_temperature: float = Field(10.0, gt=0, description="of the Gumbel softmax in the first epoch")
    last_temperature: float = Field(0.1, gt=0, description="in the last; it falls linearly")
    gradient: Literal["paper", "authors"] = Field(
        "paper",
        description="authors: as their code for NAS-Bench-201, where operations that are not run tell their weights "
        "something, too",
    )
    update: Literal["all", "active"] = Field("all", description=_UPDATE)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        _no_auxiliary(self)
        return self

    @property
    def options(self) -> GumbelOptions:
        """The same as a supernet takes them."""
        return GumbelOptions(**self.model_dump())


class SETNSettings(DifferentiableSettings, OneShotSettings):
    """SETN's supernet and the evaluation of its most probable architectures."""

    update: Literal["all", "active"] = Field("all", description=_UPDATE)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        _no_auxiliary(self)
        if self.statistics == "running" and not self.track_statistics:
            raise ValueError("statistics: running needs track_statistics: true, or there are none to use")
        if self.partial_channels > 1 or self.edge_normalization:
            raise ValueError(
                "partial_channels and edge_normalization have no meaning for single architectures, which SETN trains; leave them out"
            )
        return self

    @property
    def options(self) -> SampledOptions:
        """The same as a supernet takes them."""
        return SampledOptions(**self.model_dump(exclude=set(OneShotSettings.model_fields)))


def _no_auxiliary(settings: DifferentiableSettings) -> None:
    if settings.auxiliary_skip:
        raise ValueError("auxiliary_skip belongs to the whole mixture, not to methods that run one operation an edge")


def check_training(method: str, training: BilevelSettings) -> None:
    """Refuse ways of training that make no sense with forward passes that differ.

    Raises:
        ConfigError: second order, torch.compile, or eigenvalues of a Hessian.
    """
    problems = []
    if training.order == 2:
        problems.append(
            f"order 2 differentiates through a step of other operations than those that the next step of {method} runs"
        )
    if training.compile:
        problems.append(
            f"compile needs a graph that is the same at every step, but each step of {method} runs other operations"
        )
    if training.hessian_every or training.stability is not None:
        problems.append(
            f"hessian_every and stability look at the curvature of one loss, but each step of {method} has another one"
        )
    if problems:
        raise ConfigError(f"{'; '.join(problems)}.", "Use order 1, compile false, and no hessian_every.")
