"""What methods that run one operation of each edge add to the options of a mixed supernet. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from ..errors import SpaceError, shown
from .options import MixedOptions

UPDATES = ("all", "active")
GRADIENTS = ("paper", "authors")


@dataclass(frozen=True)
class SampledOptions(MixedOptions):
    """A mixed supernet whose weight steps run one operation of each edge.

    Args:
        update: ``all``: decay and momentum move every weight at every step, as in the official code, where gradients
            are zeroed rather than absent; ``active``: only the weights that were run.
    """

    update: str = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.auxiliary_skip:
            raise SpaceError(
                "auxiliary_skip belongs to the whole mixture, not to methods that run one operation an edge."
            )
        if self.update not in UPDATES:
            raise SpaceError(f"update: must be one of {', '.join(UPDATES)}, but got {shown(self.update)}.")


@dataclass(frozen=True)
class GumbelOptions(SampledOptions):
    """GDAS (Dong & Yang, CVPR 2019).

    Args:
        first_temperature, last_temperature: of the first and of the last epoch; it falls linearly between them.
        gradient: ``paper``: only the operation that was run tells its weight something; ``authors``: as their code for
            NAS-Bench-201, which also adds the other weights, whose value is zero, as numbers to the feature map, so that
            each gets the gradient of an operation that says one everywhere.
    """

    first_temperature: float = 10.0
    last_temperature: float = 0.1
    gradient: str = "paper"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gradient not in GRADIENTS:
            raise SpaceError(f"gradient: must be one of {', '.join(GRADIENTS)}, but got {shown(self.gradient)}.")
        for name in ("first_temperature", "last_temperature"):
            value = getattr(self, name)
            if not (isfinite(value) and value > 0):
                raise SpaceError(f"{name} > 0 must hold, but got {value!r}.")
