"""What methods that run one operation of each edge add to the options of a mixed supernet. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from ..errors import SpaceError, shown
from .options import MixedOptions

UPDATES = ("all", "active")


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
        if self.update not in UPDATES:
            raise SpaceError(f"update: must be one of {', '.join(UPDATES)}, but got {shown(self.update)}.")


@dataclass(frozen=True)
class GumbelOptions(SampledOptions):
    """GDAS. The temperature of the first and of the last epoch; it falls linearly between them (Dong & Yang, CVPR
    2019).
    """

    first_temperature: float = 10.0
    last_temperature: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("first_temperature", "last_temperature"):
            value = getattr(self, name)
            if not (isfinite(value) and value > 0):
                raise SpaceError(f"{name} > 0 must hold, but got {value!r}.")
