"""Upper bounds of what is searched. Free of torch."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from pydantic import Field

from nni_plugins.evaluators.settings import Settings
from nni_plugins.spaces.base import CostModel, Indices, SearchSpace


class Limits(Settings):
    """Upper bounds that every architecture meets which is found, drawn or taken as the largest one."""

    max_parameters: int | None = Field(None, ge=1)
    max_macs: int | None = Field(None, ge=1, description="multiply-adds for one image of image_size pixels a side")
    image_size: int = Field(32, ge=1)

    @property
    def given(self) -> bool:
        """Whether there is any."""
        return self.max_parameters is not None or self.max_macs is not None

    def mask(self, space: SearchSpace, indices: Indices) -> npt.NDArray[np.bool_]:
        """Which of ``indices: (n, D)`` meet the limits: (n,) bool."""
        mask: npt.NDArray[np.bool_] = np.ones(len(indices), dtype=bool)
        if self.given and len(indices):
            costs = cost_model(space, self.image_size)(indices)
            mask &= costs.parameters <= (self.max_parameters or np.inf)
            mask &= costs.macs <= (self.max_macs or np.inf)
        return mask


@lru_cache(maxsize=8)
def cost_model(space: SearchSpace, image_size: int) -> CostModel:
    """``space.cost_table(image_size)``, built once: searches ask for it in every step."""
    return space.cost_table(image_size)
