"""What is learnt in a mixed supernet, and how it is computed. Free of torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import isfinite
from typing import Any

from ..errors import SpaceError, shown

TRAINED = {"A": (True, True), "B": (True, False), "C": (False, True), "D": (False, False)}
"""Option of RF-DARTS' table 1 -> whether convolutions, and scale and shift of batch norms, learn. B is DARTS, C is
RF-DARTS.
"""

INITIALISATIONS = ("torch", "kaiming", "xavier")


@dataclass(frozen=True)
class MixedOptions:
    """A mixed supernet's options.

    Args:
        option: of RF-DARTS' table 1: ``A`` convolutions and batch norms learn, ``B`` convolutions, ``C`` batch norms,
            ``D`` neither. The batch norms meant are those of candidate operations and cell inputs; others always learn,
            as in the reference networks.
        train_classifier: the linear head; the paper speaks of convolutions and batch norms only, and of neither for it.
        train_stem: the stem's convolutions; by default as the others.
        pool_affine: whether batch norms after pools have scale and shift; DARTS' have none, and RF-DARTS adds no batch
            norm.
        initialisation: of convolutions: ``torch``'s default (DARTS), or ``kaiming`` or ``xavier``, which RF-DARTS
            names.
        partial_channels: k of PC-DARTS: one k-th of the channels takes part in the mixture.
        edge_normalization: PC-DARTS' weights of a node's incoming edges.
        drop_path: probability of dropping an edge's mixture for a sample at the last epoch, growing linearly (R-DARTS).
        auxiliary_skip: beta of DARTS- in the first epoch: every edge also adds beta times a skip connection (FactorizedReduce
            where the stride is 2) that no architecture parameter weighs; it falls linearly, to beta / epochs in the last
            epoch (Chu et al., "DARTS-", ICLR 2021, section 3.2; official code).
        bar_none: on NAS-Bench-201, where the benchmark's authors let ``none`` win an edge: it takes part in the mixture,
            but is never derived, as in DARTS' space.
        track_statistics: whether batch norms keep running statistics; without, evaluation uses each batch's own.
        shared: compute what edges share once per source state; False is the plain form, one edge after the other, for
            tests and benchmarks.
    """

    option: str = "B"
    train_classifier: bool = True
    train_stem: bool | None = None
    pool_affine: bool = False
    initialisation: str = "torch"
    partial_channels: int = 1
    edge_normalization: bool = False
    drop_path: float = 0.0
    auxiliary_skip: float = 0.0
    bar_none: bool = False
    track_statistics: bool = True
    shared: bool = True

    def __post_init__(self) -> None:
        if self.option not in TRAINED:
            raise SpaceError(f"option: must be A, B, C or D, but got {shown(self.option)}.")
        if self.initialisation not in INITIALISATIONS:
            raise SpaceError(
                f"initialisation: must be one of {', '.join(INITIALISATIONS)}, but got {shown(self.initialisation)}."
            )
        if not isinstance(self.partial_channels, int) or self.partial_channels < 1:
            raise SpaceError(f"partial_channels >= 1 must hold, but got {shown(self.partial_channels)}.")
        if not 0 <= self.drop_path < 1:
            raise SpaceError(f"0 <= drop_path < 1 must hold, but got {self.drop_path!r}.")
        if not (isfinite(self.auxiliary_skip) and self.auxiliary_skip >= 0):
            raise SpaceError(f"auxiliary_skip >= 0 must hold, but got {self.auxiliary_skip!r}.")
        if self.auxiliary_skip and (self.partial_channels > 1 or self.edge_normalization):
            raise SpaceError("auxiliary_skip is defined without partial channels and edge normalization only.")

    @property
    def convolutions(self) -> bool:
        """Whether convolutions learn."""
        return TRAINED[self.option][0]

    @property
    def affine(self) -> bool:
        """Whether searched batch norms have scale and shift."""
        return TRAINED[self.option][1]

    def config(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)

    def plain(self) -> MixedOptions:
        """The same, computed edge by edge."""
        return replace(self, shared=False)
