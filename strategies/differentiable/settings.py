"""Settings of differentiable search, each method with its own defaults. Free of torch, so that NNI's tuner process can
check them.

Facts: Liu et al., "DARTS", ICLR 2019; Xu et al., "PC-DARTS", ICLR 2020; Zhang et al., "Differentiable Architecture
Search with Random Features" (RF-DARTS), table 1 and section 3.2; for hyper-parameters the official code of the first
two.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import Settings
from nni_plugins.evaluators.training.settings import BilevelSettings
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.cells.darts import EdgeSpace
from nni_plugins.spaces.mixed import MixedOptions
from nni_plugins.spaces.nasbench201 import NASBench201

MIXED = ("darts", "robustdarts", "nasbench201")
"""Spaces whose cells are sums over edges, so that every operation of an edge can be mixed."""


class DifferentiableSettings(Settings):
    """The mixed supernet; see :class:`nni_plugins.spaces.mixed.MixedOptions`. The defaults are DARTS'."""

    option: Literal["A", "B", "C", "D"] = Field(
        "B", description="what learns: A convolutions and batch norms, B the first, C the second, D none"
    )
    train_classifier: bool = Field(True, description="whether the linear head learns")
    train_stem: bool | None = Field(None, description="whether the stem's convolutions learn; default: as the others")
    pool_affine: bool = Field(False, description="whether batch norms after pools have scale and shift")
    initialisation: Literal["torch", "kaiming", "xavier"] = Field("torch", description="of convolutions")
    partial_channels: int = Field(1, ge=1, description="one k-th of the channels takes part in the mixture")
    edge_normalization: bool = Field(
        False, description="weights of a node's incoming edges, learnt with those of the operations"
    )
    drop_path: float = Field(0.0, ge=0, lt=1, description="probability at the last epoch, growing linearly")
    auxiliary_skip: float = Field(
        0.0, ge=0, description="DARTS-: weight of a further skip connection on every edge, falling linearly (paper: 1)"
    )
    bar_none: bool = Field(False, description="never derive none on nasbench201, as DARTS never does on its own space")
    track_statistics: bool = Field(True, description="whether batch norms keep running statistics")

    @model_validator(mode="after")
    def _auxiliary(self) -> Self:
        if self.auxiliary_skip and (self.partial_channels > 1 or self.edge_normalization):
            raise ValueError("auxiliary_skip is defined without partial_channels and edge_normalization only")
        return self

    @property
    def options(self) -> MixedOptions:
        """The same as a mixed supernet takes them."""
        return MixedOptions(**self.model_dump())


class PCDARTSSettings(DifferentiableSettings):
    """PC-DARTS on CIFAR-10: a quarter of the channels, and edge normalization."""

    partial_channels: int = Field(4, ge=1, description="one k-th of the channels takes part in the mixture")
    edge_normalization: bool = Field(
        True, description="weights of a node's incoming edges, learnt with those of the operations"
    )


class RFDARTSSettings(DifferentiableSettings):
    """RF-DARTS: convolutions stay as they were drawn. The paper names two initialisations; this is the one that keeps
    variances behind ReLU.
    """

    option: Literal["A", "B", "C", "D"] = Field(
        "C", description="what learns: A convolutions and batch norms, B the first, C the second, D none"
    )
    initialisation: Literal["torch", "kaiming", "xavier"] = Field("kaiming", description="of convolutions")


class RFPCDARTSSettings(PCDARTSSettings):
    """RF-PCDARTS: the same two changes to PC-DARTS."""

    option: Literal["A", "B", "C", "D"] = Field(
        "C", description="what learns: A convolutions and batch norms, B the first, C the second, D none"
    )
    initialisation: Literal["torch", "kaiming", "xavier"] = Field("kaiming", description="of convolutions")


class PCDARTSTraining(BilevelSettings):
    """PC-DARTS' search on CIFAR-10 where it differs from DARTS'."""

    batch_size: int = Field(256, ge=2)
    learning_rate: float = Field(0.1, gt=0)
    final_learning_rate: float = Field(
        0.0, ge=0, description="what the cosine of the learning rate, stepped by epoch, ends near"
    )
    architecture_learning_rate: float = Field(6e-4, gt=0, description="of Adam, the same in all epochs")
    warmup_epochs: int = Field(
        15, ge=0, description="the architecture parameters are not trained in the first N epochs"
    )


def check_space(space: SearchSpace, settings: DifferentiableSettings) -> None:
    """Refuse what cannot be mixed, before anything is built.

    Raises:
        ConfigError: ``space`` has no edges to mix, or ``partial_channels`` does not divide its width, or ``bar_none``
            says what is so anyway.
    """
    if not isinstance(space, EdgeSpace | NASBench201):
        raise ConfigError(
            f"{space.name} has no mixture over edges.",
            f"Differentiable search works on {', '.join(MIXED)}; RLNAS and random search on every space.",
        )
    if settings.bar_none and isinstance(space, EdgeSpace):
        raise ConfigError(f"bar_none: none is never derived on {space.name} anyway.", "Leave it out.")
    width, k = space.macro.width if isinstance(space, EdgeSpace) else space.channels, settings.partial_channels
    if width % k:
        possible = ", ".join(str(n) for n in range(1, min(width, 64) + 1) if width % n == 0)
        raise ConfigError(
            f"partial_channels={k} must divide the width of the first cells, {width}.",
            f"Use partial_channels in {possible}.",
        )
